//! Why a command line does not start the program.

use std::io::{self, Write as _};

/// The end of parsing: an error of the user's, or a question answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `--help` was given; the text goes to standard output, exit code 0.
    #[error("{0}")]
    Help(String),
    /// `--version` was given; likewise.
    #[error("{0}")]
    Version(String),
    #[error("unknown flag: --{flag}{hint}")]
    Unknown { flag: String, hint: String },
    #[error("unknown shorthand flag: '{letter}' in {argument}")]
    UnknownShort { letter: char, argument: String },
    #[error("unknown flag: --{flag} ({hint})")]
    Retired { flag: String, hint: &'static str },
    #[error("flag needs an argument: --{flag}")]
    NoValue { flag: String },
    #[error("invalid argument {value:?} for \"--{flag}\" flag: {problem}")]
    Invalid { flag: String, value: String, problem: String },
    #[error("{program:?} does not take any arguments, got [{argument:?}]")]
    Positional { argument: String, program: String },
}

impl Error {
    /// 0 for an answered question, 1 for an error, as upstream's programs.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Help(_) | Self::Version(_) => 0,
            _ => 1,
        }
    }

    /// Prints what the user must see: answers to standard output, errors to standard error as `Error: …`. Who has closed
    /// the pipe, as `head` does, has seen enough.
    pub fn print(&self) {
        let _ = match self {
            Self::Help(text) | Self::Version(text) => writeln!(io::stdout(), "{}", text.trim_end()),
            error => writeln!(io::stderr(), "Error: {error}"),
        };
    }
}
