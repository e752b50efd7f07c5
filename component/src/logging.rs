//! Logs on standard error: klog-like text or JSON, as verbose as `--v` says.

use tracing_subscriber::{filter::LevelFilter, fmt, prelude::*};

use crate::flags::Values;

/// `--logging-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// How to log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    pub format: Format,
    /// `--v`: 0 to 3 is information, 4 and 5 debugging, from 6 on everything.
    pub verbosity: i64,
}

/// `--logging-format` is neither text nor json.
#[derive(Debug, thiserror::Error)]
#[error("unsupported log format: {0}")]
pub struct FormatError(String);

impl Settings {
    /// From the flags of [`crate::flags::logging`].
    pub fn from_flags(values: &Values) -> Result<Self, FormatError> {
        let format = match values.str("logging-format") {
            "" | "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(FormatError(other.to_owned())),
        };
        Ok(Self { format, verbosity: values.int("v") })
    }

    fn level(self) -> LevelFilter {
        match self.verbosity {
            ..4 => LevelFilter::INFO,
            4..6 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

/// Starts logging for the process; later calls change nothing, so that all parts of one process may call it.
pub fn start(settings: Settings) {
    let base = tracing_subscriber::registry().with(settings.level());
    let _ = match settings.format {
        Format::Text => base.with(fmt::layer().with_writer(std::io::stderr).with_ansi(false)).try_init(),
        Format::Json => base.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
}
