//! SPDY/3.1 as frames and bytes: what carries exec, attach and port-forward to a kubelet.
//!
//! Enter at [`Encoder`] and [`Decoder`]; each direction of a connection has one, for the header blocks of a direction are
//! one compressed stream. The rule's source is SPDY protocol draft 3.1. Flow control is read and left to the connection
//! below, as the peers do; neither sockets nor streams' states are known here.

mod decode;
mod encode;
mod header;
#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoder;

/// Names in lower case; several values of one name are parted by NUL.
pub type Headers = Vec<(String, String)>;

/// A stream ends abruptly because its creator wants no more of it.
pub const RST_CANCEL: u32 = 5;

/// Most bytes of one frame's payload: its length has 24 bits.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 24) - 1;

/// Most bytes of a control frame's payload, and of a header block when it is inflated.
const CONTROL_BYTES_MAX: usize = 1 << 20;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;

/// One frame. `fin` tells that the sender sends nothing more on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream { stream: u32, associated: u32, priority: u8, fin: bool, headers: Headers },
    SynReply { stream: u32, fin: bool, headers: Headers },
    RstStream { stream: u32, status: u32 },
    Settings { clear: bool, values: Vec<Setting> },
    Ping { id: u32 },
    GoAway { last_good: u32, status: u32 },
    Headers { stream: u32, fin: bool, headers: Headers },
    WindowUpdate { stream: u32, delta: u32 },
    Data { stream: u32, fin: bool, data: Vec<u8> },
}

/// One value of a SETTINGS frame; `id` has 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub flags: u8,
    pub id: u32,
    pub value: u32,
}

/// Why bytes are no SPDY/3.1, or a frame cannot be told in it. The connection is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("spdy: version {0} is not spoken here")]
    Version(u16),
    #[error("spdy: unknown control frame {0}")]
    UnknownFrame(u16),
    #[error("spdy: {length} bytes do not make a control frame {kind}")]
    Length { kind: u16, length: usize },
    #[error("spdy: a frame of {0} bytes is too large")]
    TooLarge(usize),
    #[error("spdy: a header block is broken: {0}")]
    HeaderBlock(&'static str),
}

/// Numbers of the control frames.
mod kind {
    pub const SYN_STREAM: u16 = 1;
    pub const SYN_REPLY: u16 = 2;
    pub const RST_STREAM: u16 = 3;
    pub const SETTINGS: u16 = 4;
    pub const PING: u16 = 6;
    pub const GO_AWAY: u16 = 7;
    pub const HEADERS: u16 = 8;
    pub const WINDOW_UPDATE: u16 = 9;
}
