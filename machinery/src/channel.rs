//! Channels in WebSocket messages: several streams of bytes over one WebSocket (Kubernetes' `channel.k8s.io` protocols).
//!
//! Enter at [`Protocol::of`]. A message's first byte is its channel's number; version 5 adds a message that ends one
//! channel. Which channel carries what is the caller's business, and so is the WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The numbers that exec and attach give to their streams.
pub const STDIN: u8 = 0;
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const ERROR: u8 = 3;
pub const RESIZE: u8 = 4;

/// Version 5's pseudo-channel: the next byte is the channel that ends.
const CLOSE: u8 = 255;

/// One of the sub-protocols, by what tells it from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: &'static str,
    /// The error channel carries a `Status` at the end, success too; plain text of a failure otherwise.
    pub tells_status: bool,
    /// A client can end one channel and keep the others.
    pub half_close: bool,
    base64: bool,
}

const PROTOCOLS: [Protocol; 5] = [
    Protocol { name: "v5.channel.k8s.io", tells_status: true, half_close: true, base64: false },
    Protocol { name: "v4.channel.k8s.io", tells_status: true, half_close: false, base64: false },
    Protocol { name: "v4.base64.channel.k8s.io", tells_status: true, half_close: false, base64: true },
    Protocol { name: "channel.k8s.io", tells_status: false, half_close: false, base64: false },
    Protocol { name: "base64.channel.k8s.io", tells_status: false, half_close: false, base64: true },
];

/// What a client's message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Data { channel: u8, data: Vec<u8> },
    Close { channel: u8 },
}

/// Why a message cannot be taken; the WebSocket is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a channel's end is told by one byte, not {0}")]
    Close(usize),
    #[error("the message is not base64")]
    Base64,
}

impl Protocol {
    /// The protocol of a name in `Sec-WebSocket-Protocol`.
    pub fn of(name: &str) -> Option<Self> {
        PROTOCOLS.into_iter().find(|protocol| protocol.name == name)
    }

    /// Reads a message; an empty one says nothing.
    pub fn decode(&self, message: &[u8]) -> Result<Option<Message>, Error> {
        let Some((&channel, data)) = message.split_first() else { return Ok(None) };
        if self.half_close && channel == CLOSE {
            let &[channel] = data else { return Err(Error::Close(data.len())) };
            return Ok(Some(Message::Close { channel }));
        }
        if !self.base64 {
            return Ok(Some(Message::Data { channel, data: data.to_vec() }));
        }
        let data = STANDARD.decode(data).map_err(|_| Error::Base64)?;
        Ok(Some(Message::Data { channel: channel.wrapping_sub(b'0'), data }))
    }

    /// Writes a message. Those in base64 are sent as text, the others as binary.
    pub fn encode(&self, channel: u8, data: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(data.len() + 1);
        if self.base64 {
            message.push(b'0' + channel);
            message.extend(STANDARD.encode(data).into_bytes());
        } else {
            message.push(channel);
            message.extend(data);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: &str, message: &[u8], expected: Result<Option<Message>, Error>) {
        assert_eq!(Protocol::of(protocol).unwrap().decode(message), expected, "{protocol} {message:?}");
    }

    fn data(channel: u8, data: &[u8]) -> Result<Option<Message>, Error> {
        Ok(Some(Message::Data { channel, data: data.to_vec() }))
    }

    #[test]
    fn messages_are_read() {
        check("v5.channel.k8s.io", b"\0hi", data(0, b"hi"));
        check("v5.channel.k8s.io", &[255, 0], Ok(Some(Message::Close { channel: 0 })));
        check("v5.channel.k8s.io", &[255], Err(Error::Close(0)));
        check("v5.channel.k8s.io", &[], Ok(None));
        check("v4.channel.k8s.io", &[255, 0], data(255, &[0]));
        check("base64.channel.k8s.io", b"0Zm9vCg==", data(0, b"foo\n"));
        check("base64.channel.k8s.io", b"0!", Err(Error::Base64));
        assert_eq!(Protocol::of("v6.channel.k8s.io"), None);
    }

    #[test]
    fn messages_are_written() {
        let write = |name: &str| Protocol::of(name).unwrap().encode(STDOUT, b"\n");
        assert_eq!(write("v5.channel.k8s.io"), b"\x01\n");
        assert_eq!(write("base64.channel.k8s.io"), b"1Cg==");
    }
}
