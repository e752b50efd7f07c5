//! One event as one line.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::clock::Clock;

/// klog's text: `I0708 23:59:59.123456   12345 file.rs:123] "message" key="value"`.
pub(super) struct Klog {
    pub(super) clock: Clock,
}

/// component-base's JSON: `{"ts":…,"caller":"file.rs:123","msg":"…","v":0,…}`.
pub(super) struct Json {
    pub(super) clock: Clock,
}

impl<S, N> FormatEvent<S, N> for Klog
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let time = self.clock.now().to_zoned(TimeZone::UTC);
        let (letter, pid) = (letter(*metadata.level()), std::process::id());
        write!(writer, "{letter}{} {pid:>7} {}] ", time.strftime("%m%d %H:%M:%S.%6f"), caller(metadata))?;
        let fields = Fields::of(event);
        if !fields.message.is_empty() {
            write!(writer, "{:?}", fields.message)?;
        }
        for (name, value) in &fields.rest {
            match value {
                Value::String(text) => write!(writer, " {name}={text:?}")?,
                other => write!(writer, " {name}={other}")?,
            }
        }
        writer.write_char('\n')
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let fields = Fields::of(event);
        let mut line = json!({
            "ts": milliseconds(self.clock.now()), "caller": caller(metadata), "msg": fields.message,
        });
        // Upstream's errors have no verbosity.
        if *metadata.level() != Level::ERROR {
            line["v"] = json!(verbosity(*metadata.level()));
        }
        if let Value::Object(members) = &mut line {
            members.extend(fields.rest);
        }
        writeln!(writer, "{line}")
    }
}

fn letter(level: Level) -> char {
    match level {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    }
}

fn verbosity(level: Level) -> i64 {
    match level {
        Level::ERROR | Level::WARN | Level::INFO => 0,
        Level::DEBUG => 4,
        Level::TRACE => 6,
    }
}

fn milliseconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1000.0
}

/// File and line; the file with its folder where it is called `mod.rs`, as so many are.
fn caller(metadata: &Metadata<'_>) -> String {
    let path = metadata.file().unwrap_or("unknown");
    let mut slashes = path.rmatch_indices('/').map(|(at, _)| at + 1);
    let (file, folder) = (slashes.next().unwrap_or(0), slashes.next().unwrap_or(0));
    let start = if &path[file..] == "mod.rs" { folder } else { file };
    format!("{}:{}", &path[start..], metadata.line().unwrap_or_default())
}

/// An event's fields, in order; the error by upstream's name.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, Value)>,
}

impl Fields {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("error", value) => self.rest.push(("err".to_owned(), value)),
            (name, value) => self.rest.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, json!(value));
    }
}
