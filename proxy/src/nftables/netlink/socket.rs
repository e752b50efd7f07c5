//! The way to the kernel and back. It works while it is being told, so its answer lies ready when sending returns.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};

use super::attributes::Attributes;
use super::{Batch, SUBSYSTEM, begin, end, flag, message, protocol_family};
use crate::model::Family;
use crate::nftables::operation::{Operation, Step};
use crate::nftables::{Place, table, word};

/// Why the kernel does not have what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("netlink: {0}")]
    Socket(io::Error),
    #[error("{step}: {source}")]
    Refused { step: String, source: io::Error },
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Error::Socket(errno.into())
    }
}

impl Error {
    /// This kernel has no nf_tables, or not the family's.
    pub(crate) fn is_no_support(&self) -> bool {
        let (Error::Socket(source) | Error::Refused { source, .. }) = self;
        let missing = [Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT, Errno::EPROTONOSUPPORT];
        source.raw_os_error().is_some_and(|number| missing.contains(&Errno::from_raw(number)))
    }
}

/// Headers of netlink's answers.
const HEADER_BYTES: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The largest that the kernel makes.
const ANSWER_BYTES: usize = 64 << 10;
/// What the kernel counts beside the bytes of a message.
const SPARE_BYTES: usize = 64 << 10;

/// Does all steps, or none. Blocks while the kernel works: with many thousands of steps for seconds.
pub(crate) fn apply(family: Family, steps: &[Step]) -> Result<(), Error> {
    let batch = Batch::new(family, steps);
    let Err((sequence, errno)) = exchange(batch.bytes(), |answer| answer.acknowledged(batch.last_sequence()))? else {
        return Ok(());
    };
    let step = (sequence as usize).checked_sub(1).and_then(|at| steps.get(at));
    let step = step.map_or_else(|| format!("transaction on tables {}", word(family)), |step| step.text(family));
    Err(Error::Refused { step, source: errno.into() })
}

/// Whether tables of the family can be made here: one of ours is, without anything in it; fine when it is there.
pub(crate) fn is_usable(family: Family) -> Result<(), Error> {
    apply(family, &[Operation::AddTable.at(Place::Main)])
}

/// How many rules a chain has; a chain that is not there has none.
pub(crate) fn rule_count(family: Family, place: Place, chain: &str) -> Result<usize, Error> {
    let mut question = Vec::new();
    let at = begin(&mut question, SUBSYSTEM << 8 | message::GETRULE, flag::DUMP, 1, protocol_family(family), 0);
    let mut attributes = Attributes(&mut question);
    attributes.string(1, &place.name());
    attributes.string(2, chain);
    end(&mut question, at);
    let mut count = 0;
    let result = exchange(&question, |answer| {
        count += usize::from(answer.kind == SUBSYSTEM << 8 | message::NEWRULE);
        (answer.kind == DONE || answer.error().is_some()).then(|| answer.result())
    })?;
    match result {
        Ok(()) => Ok(count),
        Err((_, Errno::ENOENT)) => Ok(0),
        Err((_, errno)) => {
            Err(Error::Refused { step: format!("list chain {} {chain}", table(family, place)), source: errno.into() })
        }
    }
}

/// A step's number, and why the kernel did not do it.
type Refusal = (u32, Errno);

/// Sends a message and reads answers until one ends it.
fn exchange(
    message: &[u8],
    mut end: impl FnMut(&Answer) -> Option<Result<(), Refusal>>,
) -> Result<Result<(), Refusal>, Error> {
    let socket = open(message.len())?;
    sendto(socket.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
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

/// A socket for one exchange, that takes a message of this size.
fn open(bytes: usize) -> Result<OwnedFd, Error> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    setsockopt(&socket, sockopt::SndBufForce, &(bytes + SPARE_BYTES))?;
    Ok(socket)
}

/// One of the kernel's messages.
struct Answer<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Answer<'_> {
    /// The number with which errors begin, also the one that says "done": 0.
    fn error(&self) -> Option<i32> {
        let bytes = self.body.first_chunk().filter(|_| self.kind == ERROR || self.kind == DONE)?;
        Some(i32::from_ne_bytes(*bytes))
    }

    fn result(&self) -> Result<(), Refusal> {
        match self.error() {
            Some(number) if number < 0 => Err((self.sequence, Errno::from_raw(-number))),
            _ => Ok(()),
        }
    }

    /// Of a transaction: a refusal ends it, and so does the word that the last step is done.
    fn acknowledged(&self, last: u32) -> Option<Result<(), Refusal>> {
        self.error()?;
        let result = self.result();
        (result.is_err() || self.sequence == last).then_some(result)
    }
}

/// The messages in what was received.
struct Answers<'a>(&'a [u8]);

impl<'a> Iterator for Answers<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        let (header, rest) = self.0.split_first_chunk::<HEADER_BYTES>()?;
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *header;
        let length = (u32::from_ne_bytes([l0, l1, l2, l3]) as usize).checked_sub(HEADER_BYTES)?;
        let body = rest.get(..length)?;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer { kind: u16::from_ne_bytes([k0, k1]), sequence: u32::from_ne_bytes([s0, s1, s2, s3]), body })
    }
}
