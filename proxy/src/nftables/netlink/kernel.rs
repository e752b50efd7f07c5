//! What is told to the kernel's nf_tables, and asked of it.

use std::collections::HashMap;
use std::io;

use nix::errno::Errno;

use super::{Batch, SUBSYSTEM, message};
use crate::model::Family;
use crate::netlink::{self, Answer, Refusal, exchange, flag};
use crate::nftables::operation::{Operation, Step};
use crate::nftables::{Place, word};

/// Why the kernel does not have what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    #[error("{step}: {source}")]
    Refused { step: String, source: io::Error },
}

impl Error {
    /// This kernel has no nf_tables, or not the family's.
    pub(crate) fn is_no_support(&self) -> bool {
        let (Error::Socket(source) | Error::Refused { source, .. }) = self;
        let missing = [Errno::EOPNOTSUPP, Errno::EAFNOSUPPORT, Errno::EPROTONOSUPPORT];
        source.raw_os_error().is_some_and(|number| missing.contains(&Errno::from_raw(number)))
    }
}

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

/// How many transactions the kernel has done in this network namespace, whoever asked for them.
pub(crate) fn generation(family: Family) -> Result<u32, Error> {
    let mut generation = None;
    let question = netlink::message(kind(message::GETGEN), 0, family, |_| {});
    let asked = exchange(&question, |answer| {
        if answer.kind == kind(message::NEWGEN) {
            generation = answer.attributes().number(1);
            return Some(Ok(()));
        }
        answer.ended()
    })?;
    refused("ask for the generation", asked)?;
    generation.ok_or_else(|| Error::Socket(io::ErrorKind::InvalidData.into()))
}

/// The rules in a chain, and the rules and elements that lead to it, together.
pub(crate) type Uses = HashMap<Place, HashMap<String, u32>>;

/// The chains of all our tables; `None` when they changed while they were listed.
///
/// A list of rules would be ten times as long. The kernel counts a chain's rules and what leads to it itself, so what
/// was taken away shows there.
pub(crate) fn chain_uses(family: Family) -> Result<Option<Uses>, Error> {
    let places: HashMap<String, Place> = Place::all().map(|place| (place.name(), place)).collect();
    let mut uses = Uses::new();
    let mut is_interrupted = false;
    let question = netlink::message(kind(message::GETCHAIN), flag::DUMP, family, |_| {});
    let asked = exchange(&question, |answer| {
        is_interrupted |= answer.flags & flag::DUMP_INTERRUPTED != 0;
        let chain = (answer.kind == kind(message::NEWCHAIN)).then(|| chain_of(answer, &places)).flatten();
        if let Some((place, name, count)) = chain {
            uses.entry(place).or_default().insert(name.to_owned(), count);
        }
        answer.ended()
    })?;
    match asked {
        Err((_, Errno::EINTR)) => return Ok(None),
        asked => refused("list chains", asked)?,
    }
    Ok((!is_interrupted).then_some(uses))
}

/// The same count of one chain, of any table of the family; `None` when it is not there.
pub(crate) fn uses_of(family: Family, table: &str, chain: &str) -> Result<Option<u32>, Error> {
    let mut uses = None;
    let question = netlink::message(kind(message::GETCHAIN), 0, family, |attributes| {
        attributes.string(1, table);
        attributes.string(3, chain);
    });
    let asked = exchange(&question, |answer| {
        if answer.kind == kind(message::NEWCHAIN) {
            uses = answer.attributes().number(6);
            return Some(Ok(()));
        }
        answer.ended()
    })?;
    match asked {
        Err((_, Errno::ENOENT)) => Ok(None),
        asked => refused("ask for a chain", asked).map(|()| uses),
    }
}

fn chain_of<'a>(answer: &Answer<'a>, places: &HashMap<String, Place>) -> Option<(Place, &'a str, u32)> {
    let attributes = answer.attributes();
    let place = places.get(attributes.string(1)?)?;
    Some((*place, attributes.string(3)?, attributes.number(6)?))
}

fn kind(message: u16) -> u16 {
    SUBSYSTEM << 8 | message
}

fn refused(what: &str, asked: Result<(), Refusal>) -> Result<(), Error> {
    asked.map_err(|(_, errno)| Error::Refused { step: what.to_owned(), source: errno.into() })
}
