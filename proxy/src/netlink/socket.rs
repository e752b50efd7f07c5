//! The way to the kernel and back. It works while it is being told, so its answer lies ready when sending returns.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};

use super::attributes::Parsed;

/// Netlink's own header of an answer; netfilter's four bytes follow.
const HEADER_BYTES: usize = 16;
const NETFILTER_HEADER_BYTES: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The largest that the kernel makes.
const ANSWER_BYTES: usize = 64 << 10;
/// What the kernel counts beside the bytes of a message.
const SPARE_BYTES: usize = 64 << 10;

/// A message's number, and why the kernel did not do it.
pub(crate) type Refusal = (u32, Errno);

/// Sends messages and reads answers until one ends it. Blocks while the kernel works.
pub(crate) fn exchange(
    messages: &[u8],
    mut end: impl FnMut(&Answer) -> Option<Result<(), Refusal>>,
) -> io::Result<Result<(), Refusal>> {
    let socket = open(messages.len())?;
    sendto(socket.as_raw_fd(), messages, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; ANSWER_BYTES];
    loop {
        // What is not there by now never comes.
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        let ended = Answers(&buffer[..length]).find_map(|answer| end(&answer));
        if let Some(result) = ended {
            return Ok(result);
        }
    }
}

/// A socket for one exchange, that takes messages of this size.
fn open(bytes: usize) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    setsockopt(&socket, sockopt::SndBufForce, &(bytes + SPARE_BYTES))?;
    Ok(socket)
}

/// One of the kernel's messages.
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    pub(crate) fn attributes(&self) -> Parsed<'a> {
        Parsed(self.body.get(NETFILTER_HEADER_BYTES..).unwrap_or_default())
    }

    /// The number with which errors begin, also the one that says "done": 0.
    fn error(&self) -> Option<i32> {
        let bytes = self.body.first_chunk().filter(|_| self.kind == ERROR || self.kind == DONE)?;
        Some(i32::from_ne_bytes(*bytes))
    }

    /// How a list or a single question ends.
    pub(crate) fn ended(&self) -> Option<Result<(), Refusal>> {
        match self.error()? {
            number if number < 0 => Some(Err((self.sequence, Errno::from_raw(-number)))),
            _ => Some(Ok(())),
        }
    }

    /// Of a transaction: a refusal ends it, and so does the word that the last step is done.
    pub(crate) fn acknowledged(&self, last: u32) -> Option<Result<(), Refusal>> {
        self.ended().filter(|result| result.is_err() || self.sequence == last)
    }
}

/// The messages in what was received.
struct Answers<'a>(&'a [u8]);

impl<'a> Iterator for Answers<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        let (header, rest) = self.0.split_first_chunk::<HEADER_BYTES>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = (u32::from_ne_bytes([l0, l1, l2, l3]) as usize).checked_sub(HEADER_BYTES)?;
        let body = rest.get(..length)?;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let [kind, flags] = [[k0, k1], [f0, f1]].map(u16::from_ne_bytes);
        Some(Answer { kind, flags, sequence: u32::from_ne_bytes([s0, s1, s2, s3]), body })
    }
}
