//! The five fields: their grammar, and the next time at which all of them match.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{ScheduleError, wrong};
use crate::field::quote;

/// No time is found for dates such as February 31: the search ends after so many years.
const YEARS: i16 = 5;

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
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            wrong(format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", quote(text)))
        }
    }
}

impl Fields {
    /// Of minute, hour, day of month, month, day of week.
    pub(super) fn read(texts: [&str; 5]) -> Result<Self, ScheduleError> {
        let mut bits = [(0, false); 5];
        for ((bits, text), bounds) in bits.iter_mut().zip(texts).zip(&BOUNDS) {
            *bits = field(text, bounds)?;
        }
        let [(minute, _), (hour, _), (day, any_date), (month, _), (weekday, any_weekday)] = bits;
        Ok(Fields { minute, hour, day, month, weekday, any_day: any_date || any_weekday })
    }

    fn matches_day(&self, day: &Zoned) -> bool {
        let date = self.day & (1 << day.day()) != 0;
        let weekday = self.weekday & (1 << day.weekday().to_sunday_zero_offset()) != 0;
        if self.any_day { date && weekday } else { date || weekday }
    }

    /// Days by the calendar, hours and minutes by the clock of the zone as it really goes: an hour that the zone skips is
    /// not made up for, one that it repeats is run twice.
    pub(super) fn next(&self, after: &Zoned) -> Option<Timestamp> {
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
