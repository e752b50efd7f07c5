//! Logs on standard error: klog's text or component-base's JSON, as verbose as `--v` says.
//!
//! [`start`] is the entry. Messages and their fields come from `tracing`; rotating and shipping logs is not ours.

mod format;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    filter::Targets,
    fmt::{Layer, MakeWriter},
    prelude::*,
};

use self::format::{Json, Klog};
use crate::{clock::Clock, flags::Values};

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
    /// `--v`: up to 3 is information, 4 and 5 debugging, 6 and 7 everything of ours, from 8 on also the libraries'.
    /// Release builds tell nothing below debugging.
    pub verbosity: i64,
}

/// `--logging-format` is neither text nor json.
#[derive(Debug, thiserror::Error)]
#[error("logging-format: Invalid value: {0:?}: Unsupported log format")]
pub struct FormatError(String);

/// Libraries whose chatter tells nothing about the cluster, and whose warnings we repeat with more to them.
const LIBRARIES: [&str; 9] =
    ["h2", "hyper", "hyper_util", "kube_client", "kube_runtime", "rustls", "tower", "tonic", "tokio_util"];

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

    fn filter(self) -> Targets {
        let (ours, libraries) = match self.verbosity {
            ..4 => (LevelFilter::INFO, LevelFilter::ERROR),
            4..6 => (LevelFilter::DEBUG, LevelFilter::ERROR),
            6..8 => (LevelFilter::TRACE, LevelFilter::WARN),
            8.. => (LevelFilter::TRACE, LevelFilter::DEBUG),
        };
        Targets::new().with_default(ours).with_targets(LIBRARIES.map(|target| (target, libraries)))
    }
}

/// Starts logging for the process; later calls change nothing, so that all parts of one process may call it.
pub fn start(settings: Settings) {
    let _ = tracing::subscriber::set_global_default(subscriber(settings, Clock::system(), std::io::stderr));
}

fn subscriber<W>(settings: Settings, clock: Clock, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let base = tracing_subscriber::registry();
    let layer = Layer::new().with_ansi(false).with_writer(writer);
    let filter = settings.filter();
    match settings.format {
        Format::Text => Box::new(base.with(layer.event_format(Klog { clock }).with_filter(filter))),
        Format::Json => Box::new(base.with(layer.event_format(Json { clock }).with_filter(filter))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged at the last instant of a summer's day.
    fn logged(format: Format, verbosity: i64, log: impl FnOnce()) -> String {
        let (buffer, settings) = (Buffer::default(), Settings { format, verbosity });
        let writer = buffer.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let clock = Clock::simulated("2026-07-08T23:59:59.123456Z".parse().unwrap());
            let subscriber = subscriber(settings, clock, move || writer.clone());
            tracing::subscriber::with_default(subscriber, log);
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_looks_like_klogs() {
        let text = logged(Format::Text, 0, || {
            tracing::warn!(node = "node-1", count = 3, error = %"no \"way\"", "node not ready");
        });
        let (head, rest) = text.split_once("] ").unwrap();
        assert!(head.starts_with("W0708 23:59:59.123456"), "{head}");
        assert!(head.contains(" logging/mod.rs:"), "{head}");
        assert_eq!(rest, "\"node not ready\" node=\"node-1\" count=3 err=\"no \\\"way\\\"\"\n");
    }

    #[test]
    fn json_has_upstreams_members() {
        let text = logged(Format::Json, 4, || tracing::debug!(node = "node-1", count = 3, "seen"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["msg"], &value["v"], &value["node"], &value["count"]),
            (&"seen".into(), &4.into(), &"node-1".into(), &3.into())
        );
        assert_eq!(value["ts"], 1_783_555_199_123.456);
        assert!(value["caller"].as_str().unwrap().starts_with("logging/mod.rs:"));
    }

    #[test]
    fn verbosity_chooses_what_is_said() {
        let say = || {
            tracing::info!("info");
            tracing::debug!("debug");
            tracing::trace!("trace");
            tracing::warn!(target: "hyper::proto", "library");
        };
        let lines = |verbosity| logged(Format::Text, verbosity, say).lines().count();
        let traced = usize::from(tracing::level_filters::STATIC_MAX_LEVEL >= LevelFilter::TRACE);
        assert_eq!((lines(0), lines(4), lines(6), lines(8)), (1, 2, 3 + traced, 3 + traced));
    }
}
