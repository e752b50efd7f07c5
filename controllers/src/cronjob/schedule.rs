//! Cron schedules: what the five fields and the `@` words mean, and when they come round next.
//!
//! Pure. The grammar is that of the cron library upstream uses (Concepts: "CronJob", "Schedule syntax"), with its sentences
//! for what it refuses. A schedule without a zone is in the zone of the controller: UTC.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// No time is found for dates such as February 31: the search ends after so many years.
const YEARS: i16 = 5;

/// When to run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Schedule {
    Fields(Box<Fields>, TimeZone),
    Every(Duration),
}

/// Which values of each field match, as bits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// A day must match both fields, unless both are restricted: then either.
    any_day: bool,
}

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Of minute, hour, day of month, month, day of week.
const BOUNDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: &MONTHS },
    Bounds { min: 0, max: 6, names: &WEEKDAYS },
];

/// The text is no schedule; the sentence says why.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ScheduleError(String);

fn wrong<T>(message: impl fmt::Display) -> Result<T, ScheduleError> {
    Err(ScheduleError(message.to_string()))
}

/// The zone of that name in the zone database; the error is upstream's sentence.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    // As Go's LoadLocation: no name is UTC, and names lead nowhere outside of the database.
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::UTC),
        name if name.contains("..") || name.starts_with(['/', '\\']) => Err("time: invalid location name".into()),
        name => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

/// Reads a schedule. `default_zone` holds when the text has none of its own.
pub(super) fn parse(text: &str, default_zone: TimeZone) -> Result<Schedule, ScheduleError> {
    if text.is_empty() {
        return wrong("empty spec string");
    }
    let (zone, rest) = match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        None => (default_zone, text),
        Some(rest) => {
            // Upstream's library panics here; its caller says so.
            let Some((name, rest)) = rest.split_once(' ') else { return wrong("invalid schedule format: panic") };
            let zone = zone(name).map_err(|e| ScheduleError(format!("provided bad location {name}: {e}")))?;
            (zone, rest.trim())
        }
    };
    if rest.starts_with('@') {
        return descriptor(rest, zone);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    match <[&str; 5]>::try_from(fields.as_slice()) {
        Ok(fields) => Ok(Schedule::Fields(Box::new(fields_of(fields)?), zone)),
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
                let parsed = go_duration(interval);
                let parsed = parsed.map_err(|e| ScheduleError(format!("failed to parse duration {text}: {e}")))?;
                return Ok(Schedule::Every(Duration::from_secs(parsed.as_secs().max(1))));
            }
        },
    };
    Ok(Schedule::Fields(Box::new(fields_of(fields)?), zone))
}

/// A duration in Go's writing. A negative one is taken as the shortest.
fn go_duration(text: &str) -> Result<Duration, String> {
    let positive = text.strip_prefix('-').unwrap_or(text);
    let parsed = component::flags::parse_duration(positive).map_err(|_| format!("time: invalid duration {text:?}"))?;
    Ok(if positive.len() == text.len() { parsed } else { Duration::ZERO })
}

fn fields_of(texts: [&str; 5]) -> Result<Fields, ScheduleError> {
    let mut bits = [(0, false); 5];
    for ((bits, text), bounds) in bits.iter_mut().zip(texts).zip(&BOUNDS) {
        *bits = field(text, bounds)?;
    }
    let [(minute, _), (hour, _), (day, any_date), (month, _), (weekday, any_weekday)] = bits;
    Ok(Fields { minute, hour, day, month, weekday, any_day: any_date || any_weekday })
}

/// The bits of a comma-separated list, and whether it leaves the field open.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), ScheduleError> {
    let mut all = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (bits, open) = range(part, bounds)?;
        all = (all.0 | bits, all.1 | open);
    }
    Ok(all)
}

fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), ScheduleError> {
    let mut parts = text.split('/');
    let (span, step, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let ends: Vec<&str> = span.split('-').collect();
    let star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends.as_slice() {
        _ if star => (bounds.min, bounds.max),
        [one] => (number_or_name(one, bounds)?, number_or_name(one, bounds)?),
        [first, last] => (number_or_name(first, bounds)?, number_or_name(last, bounds)?),
        _ => return wrong(format!("too many hyphens: {text}")),
    };
    if more.is_some() {
        return wrong(format!("too many slashes: {text}"));
    }
    let step = step.map(number).transpose()?;
    // `N/step` goes on to the end.
    if step.is_some() && ends.len() == 1 {
        end = bounds.max;
    }
    let Bounds { min, max, .. } = *bounds;
    if start < min {
        return wrong(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return wrong(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return wrong(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    let step = step.unwrap_or(1);
    if step == 0 {
        return wrong(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    Ok((bits, star && step == 1))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, ScheduleError> {
    let named = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match named {
        Some(at) => Ok(bounds.min + at as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, ScheduleError> {
    match text.parse::<i64>() {
        Ok(negative @ ..0) => wrong(format!("negative number ({negative}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => {
            let reason = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
            wrong(format!("failed to parse int from {text}: {reason}"))
        }
    }
}

impl Schedule {
    /// The first time later than `after`; None when there is none in the coming years.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        match self {
            Schedule::Every(interval) => whole.checked_add(SignedDuration::try_from(*interval).ok()?).ok(),
            Schedule::Fields(fields, zone) => fields.next(&whole.to_zoned(zone.clone())),
        }
    }
}

impl Fields {
    fn matches_day(&self, day: &Zoned) -> bool {
        let date = self.day & (1 << day.day()) != 0;
        let weekday = self.weekday & (1 << day.weekday().to_sunday_zero_offset()) != 0;
        if self.any_day { date && weekday } else { date || weekday }
    }

    /// Days by the calendar, hours and minutes by the clock of the zone as it really goes: an hour that the zone skips is
    /// not made up for, one that it repeats is run twice.
    fn next(&self, after: &Zoned) -> Option<Timestamp> {
        let last = after.year() + YEARS;
        let mut at = next_minute(after)?;
        while at.year() <= last {
            if self.month & (1 << at.month()) == 0 {
                let first = at.date().first_of_month();
                at = start_of(first.checked_add(jiff::Span::new().months(1)).ok()?.at(0, 0, 0, 0), &at)?;
            } else if !self.matches_day(&at) {
                at = start_of(at.date().tomorrow().ok()?.at(0, 0, 0, 0), &at)?;
            } else if self.hour & (1 << at.hour()) == 0 {
                let rest = SignedDuration::from_mins(60 - i64::from(at.minute()));
                at = at.checked_add(rest).ok()?;
            } else if self.minute & (1 << at.minute()) == 0 {
                at = at.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }
}

/// The start of the minute after.
fn next_minute(after: &Zoned) -> Option<Zoned> {
    after.checked_add(SignedDuration::from_secs(60 - i64::from(after.second()))).ok()
}

/// Where midnight is skipped, the day begins later.
fn start_of(day: DateTime, zone: &Zoned) -> Option<Zoned> {
    day.to_zoned(zone.time_zone().clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone_name: &str, after: &str) -> String {
        let schedule = parse(schedule, zone(zone_name).unwrap()).unwrap();
        schedule.next(after.parse().unwrap()).map_or("never".into(), |t| t.to_string())
    }

    #[test]
    fn when_it_comes_round() {
        let rows = [
            ("* * * * *", "", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "", "2026-01-01T00:00:59.9Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
            ("*/1 * * * ?", "", "2026-01-01T00:15:01Z", "2026-01-01T00:16:00Z"),
            ("* */1 * * ?", "", "2026-01-01T00:59:01Z", "2026-01-01T01:00:00Z"),
            ("5/20 * * * *", "", "2026-01-01T00:25:00Z", "2026-01-01T00:45:00Z"),
            ("30 6-16/4 * * 1-5", "", "2026-01-02T14:30:00Z", "2026-01-05T06:30:00Z"),
            ("0 0 1 * *", "", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("0 0 29 2 *", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("59 23 31 2 *", "", "2026-01-01T00:00:00Z", "never"),
            ("0 12 13 * fri", "", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"),
            ("0 12 * jan,JUN Mon", "", "2026-02-01T00:00:00Z", "2026-06-01T12:00:00Z"),
            ("0 12 */1 * fri", "", "2026-01-01T00:00:00Z", "2026-01-02T12:00:00Z"),
            ("@hourly", "", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@daily", "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("@weekly", "", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@monthly", "", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("@yearly", "", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@every 1h30m", "", "2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
            ("@every 10ms", "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            // A zone of its own goes before the field's.
            ("TZ=UTC 0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", "2026-01-01T09:00:00Z"),
            ("CRON_TZ=Asia/Tokyo 0 9 * * *", "", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 9 * * *", "America/New_York", "2026-01-01T00:00:00Z", "2026-01-01T14:00:00Z"),
            // 02:30 does not exist on that day, and exists twice on the other.
            ("30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T06:30:00Z"),
            ("30 1 * * *", "America/New_York", "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
            ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T04:00:00Z", "2018-11-05T02:00:00Z"),
            ("*/30 * * * *", "Asia/Kolkata", "2026-01-01T00:01:00Z", "2026-01-01T00:30:00Z"),
            ("0 * * * *", "Asia/Kolkata", "2026-01-01T00:01:00Z", "2026-01-01T00:30:00Z"),
        ];
        for (schedule, zone, after, want) in rows {
            assert_eq!(next(schedule, zone, after), want, "{schedule} in {zone:?} after {after}");
        }
    }

    #[test]
    fn what_is_refused() {
        let rows = [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@fortnightly", "unrecognized descriptor: @fortnightly"),
            ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
            ("TZ=Mars/Olympus * * * * *", "provided bad location Mars/Olympus: unknown time zone Mars/Olympus"),
        ];
        for (text, want) in rows {
            assert_eq!(parse(text, TimeZone::UTC).unwrap_err().to_string(), want, "{text:?}");
        }
        assert!(parse("TZ=UTC", TimeZone::UTC).is_err());
        assert!(zone("../etc/passwd").is_err() && zone("Nowhere").is_err());
    }
}
