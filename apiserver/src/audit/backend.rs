//! A place that events go to, and whether a request may go on that could not be written there.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use component::clock::Clock;
use component::flags::Values;
use component::random::Random;

use super::ERRORS;
use super::event::Event;
use super::log::{Keep, Log};
use super::truncate::Limits;
use super::webhook::{Pace, Webhook};

/// When a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At once.
    Batch,
    /// When its event has been written, or could not be.
    Blocking,
    /// Only when its event has been written.
    Strict,
}

impl Mode {
    fn from_flags(values: &Values, plugin: &str) -> Result<Self, String> {
        match values.str(&format!("audit-{plugin}-mode")) {
            "batch" => Ok(Self::Batch),
            "blocking" => Ok(Self::Blocking),
            "blocking-strict" => Ok(Self::Strict),
            other => Err(format!(
                "invalid audit {plugin} mode {other}, allowed modes are \"batch,blocking,blocking-strict\""
            )),
        }
    }
}

pub struct Backend {
    plugin: &'static str,
    mode: Mode,
    limits: Option<Limits>,
    pub sink: Sink,
}

pub enum Sink {
    Log { log: Mutex<Log>, is_legacy: bool },
    Webhook(Webhook),
}

impl Backend {
    /// The log of `--audit-log-path`, which is given.
    pub fn log(values: &Values, path: &str, clock: Clock) -> Result<Self, String> {
        let (mode, limits) = common(values, "log")?;
        if mode == Mode::Batch {
            tracing::warn!("--audit-log-mode=batch: events are written one by one all the same");
        }
        let is_legacy = match values.str("audit-log-format") {
            "json" => false,
            "legacy" => true,
            other => return Err(format!("invalid audit log format {other}, allowed formats are \"legacy,json\"")),
        };
        let number = |flag: &str| {
            let given = values.int(flag);
            u64::try_from(given).map_err(|_| format!("--{flag} {given} can't be a negative number"))
        };
        let keep = Keep {
            age_days_max: number("audit-log-maxage")?,
            backups_max: usize::try_from(number("audit-log-maxbackup")?).unwrap_or(usize::MAX),
            size_mb_max: number("audit-log-maxsize")?,
        };
        let log = Log::open(path, keep, clock).map_err(|error| format!("--audit-log-path {path}: {error}"))?;
        Ok(Self { plugin: "log", mode, limits, sink: Sink::Log { log: Mutex::new(log), is_legacy } })
    }

    /// The webhook of `--audit-webhook-config-file`, which is given.
    pub fn webhook(values: &Values, config: &str, random: Random) -> Result<Self, String> {
        let (mode, limits) = common(values, "webhook")?;
        let pace = Pace::from_flags(values, mode, limits)?;
        let webhook = Webhook::new(Path::new(config), pace, mode, random);
        let webhook = webhook.map_err(|error| format!("initializing audit webhook: {error}"))?;
        Ok(Self { plugin: "webhook", mode, limits, sink: Sink::Webhook(webhook) })
    }

    /// Whether the request may go on.
    pub fn write(&self, event: &Event) -> bool {
        let event = match self.limits.map(|limits| limits.cut(event)) {
            None => std::borrow::Cow::Borrowed(event),
            Some(Ok(event)) => event,
            Some(Err(error)) => {
                failed("truncate", &error);
                return true;
            }
        };
        let written = match &self.sink {
            Sink::Log { log, is_legacy } => line(&event, *is_legacy)
                .and_then(|line| log.lock().unwrap_or_else(PoisonError::into_inner).write_line(&line)),
            Sink::Webhook(webhook) => webhook.write(&event),
        };
        if let Err(error) = &written {
            failed(self.plugin, error);
        }
        written.is_ok() || self.mode != Mode::Strict
    }
}

fn common(values: &Values, plugin: &str) -> Result<(Mode, Option<Limits>), String> {
    let version = values.str(&format!("audit-{plugin}-version"));
    if version != "audit.k8s.io/v1" {
        return Err(format!(
            "--audit-{plugin}-version {version}: invalid group version, allowed versions are [\"audit.k8s.io/v1\"]"
        ));
    }
    Ok((Mode::from_flags(values, plugin)?, Limits::from_flags(values, plugin)?))
}

/// An event is lost.
pub fn failed(plugin: &str, error: &dyn std::fmt::Display) {
    ERRORS.with_label_values(&[plugin]).inc();
    tracing::error!(plugin, %error, "an audit event is lost");
}

fn line(event: &Event, is_legacy: bool) -> io::Result<Vec<u8>> {
    let mut line = if is_legacy { event.legacy().into_bytes() } else { serde_json::to_vec(event)? };
    line.push(b'\n');
    Ok(line)
}
