//! The parts by their upstream names, and how each is started: alone with its own process, or with others in one.

use std::process::ExitCode;

use anyhow::{Result, bail};
use component::flags::{FlagSet, Values};
use component::logging;
use component::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::part::Part;

/// The part that this program is called as, with its arguments: by the name of a link, or by the first argument.
pub(crate) fn called(arguments: &[String]) -> Option<(Part, &[String])> {
    let (program, rest) = arguments.split_first()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    if let Some(part) = Part::by_name(name) {
        return Some((part, rest));
    }
    let (first, rest) = rest.split_first()?;
    Part::by_name(first).map(|part| (part, rest))
}

pub(crate) fn main(_part: Part, _arguments: &[String]) -> ExitCode {
    ExitCode::FAILURE
}

pub(crate) fn start_logging() -> Result<()> {
    logging::start(logging::Settings::default());
    Ok(())
}

pub(crate) fn spawn(tasks: &mut JoinSet<()>, part: Part, arguments: Vec<String>, shutdown: &Shutdown) {
    let _ = (tasks, part, arguments, shutdown);
}
