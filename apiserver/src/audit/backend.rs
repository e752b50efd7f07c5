//! A place that events go to, and whether a request may go on that could not be written there.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use component::clock::Clock;
use component::flags::Values;
use component::random::Random;
use tokio::sync::oneshot;

use super::ERRORS;
use super::batch::{Deliver, Pace, Queue};
use super::event::Event;
use super::log::{Keep, Log};
use super::truncate::Limits;
use super::webhook::Webhook;
use crate::go_json;

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

/// What becomes of an event, as far as its request has to wait for that. Who drops it does not wait.
#[derive(Default)]
#[must_use]
pub struct Receipt {
    is_refused: bool,
    waits: Vec<(Mode, oneshot::Receiver<bool>)>,
}

impl Receipt {
    /// The error is for those who must not go on without their event.
    pub async fn settled(self) -> Result<(), ()> {
        let mut is_refused = self.is_refused;
        for (mode, arrived) in self.waits {
            is_refused |= !arrived.await.unwrap_or(false) && mode == Mode::Strict;
        }
        if is_refused { Err(()) } else { Ok(()) }
    }
}

pub struct Backend {
    plugin: &'static str,
    mode: Mode,
    limits: Option<Limits>,
    form: Form,
    way: Way,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    JsonLine,
    LegacyLine,
    ListItem,
}

enum Way {
    /// At once, by who brings the event: a line in a file costs less than to hand it on.
    Direct(Mutex<Log>),
    Queued(Queue),
}

impl Backend {
    /// The log of `--audit-log-path`, which is given.
    pub fn log(values: &Values, path: &str, clock: Clock) -> Result<Self, String> {
        let (mode, limits) = common(values, "log")?;
        let form = match values.str("audit-log-format") {
            "json" => Form::JsonLine,
            "legacy" => Form::LegacyLine,
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
            is_compressed: values.bool("audit-log-compress"),
        };
        let log = Log::open(path, keep, clock).map_err(|error| format!("--audit-log-path {path}: {error}"))?;
        let way = match mode {
            Mode::Batch => Way::Queued(Queue::new(Pace::from_flags(values, "log", mode, limits)?, into_log(log))),
            Mode::Blocking | Mode::Strict => Way::Direct(Mutex::new(log)),
        };
        Ok(Self { plugin: "log", mode, limits, form, way })
    }

    /// The webhook of `--audit-webhook-config-file`, which is given.
    pub fn webhook(values: &Values, config: &str, random: Random) -> Result<Self, String> {
        let (mode, limits) = common(values, "webhook")?;
        let webhook = Webhook::from_flags(values, Path::new(config), random);
        let webhook = Arc::new(webhook.map_err(|error| format!("initializing audit webhook: {error}"))?);
        let deliver: Deliver = Box::new(move |events| {
            let webhook = webhook.clone();
            Box::pin(async move { webhook.deliver(&events).await })
        });
        let queue = Queue::new(Pace::from_flags(values, "webhook", mode, limits)?, deliver);
        Ok(Self { plugin: "webhook", mode, limits, form: Form::ListItem, way: Way::Queued(queue) })
    }

    /// What waits for others, or goes on beside its request.
    pub fn queue(&self) -> Option<&Queue> {
        match &self.way {
            Way::Direct(_) => None,
            Way::Queued(queue) => Some(queue),
        }
    }

    /// Writes the event or sets out to, and adds to the receipt what its request waits for.
    pub fn write(&self, event: &Event, receipt: &mut Receipt) {
        let event = match self.limits.map(|limits| limits.cut(event)) {
            None => std::borrow::Cow::Borrowed(event),
            Some(Ok(event)) => event,
            Some(Err(error)) => return failed("truncate", &error),
        };
        let written = self.form.encode(&event).and_then(|event| match &self.way {
            Way::Direct(log) => log.lock().unwrap_or_else(PoisonError::into_inner).write_line(&event),
            Way::Queued(queue) => {
                let (sender, arrived) = oneshot::channel();
                let waits = (self.mode != Mode::Batch).then(|| {
                    receipt.waits.push((self.mode, arrived));
                    sender
                });
                // A sender that finds no place is dropped: nobody waits for it.
                queue.push(event, waits).unwrap_or_else(|error| failed("buffered", &error));
                Ok(())
            }
        });
        if let Err(error) = written {
            failed(self.plugin, &error);
            receipt.is_refused |= self.mode == Mode::Strict;
        }
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

/// Batches of lines, on a thread that may wait for the disk.
fn into_log(log: Log) -> Deliver {
    let log = Arc::new(Mutex::new(log));
    Box::new(move |lines| {
        let log = log.clone();
        let write = move || {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let failures = lines.iter().filter_map(|line| log.write_line(line).err());
            failures.inspect(|error| failed("log", error)).count() == 0
        };
        let written = crate::blocking::run(write);
        Box::pin(async move { written.await.unwrap_or(false) })
    })
}

impl Form {
    fn encode(self, event: &Event) -> io::Result<Vec<u8>> {
        let mut text = match self {
            Self::ListItem => return Ok(go_json::text(serde_json::to_vec(&event.of_a_list())?)),
            Self::LegacyLine => event.legacy().into_bytes(),
            Self::JsonLine => go_json::text(serde_json::to_vec(event)?),
        };
        text.push(b'\n');
        Ok(text)
    }
}
