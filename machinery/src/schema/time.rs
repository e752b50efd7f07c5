//! RFC 3339 instants as metav1.Time (whole seconds) and metav1.MicroTime (six decimals, which must be written) have them.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil;

const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Canonical form of a metav1.Time: UTC, whole seconds. The error is Go's.
pub fn seconds(text: Cow<'_, str>) -> Result<String, String> {
    let parsed = parse(&text, SECONDS, false)?;
    match text.len() == 20 && text.ends_with('Z') {
        true => Ok(text.into_owned()),
        false => Ok(format_seconds(parsed)),
    }
}

/// Canonical form of a metav1.MicroTime: UTC, six decimals. The error is Go's.
pub(super) fn micros(text: Cow<'_, str>) -> Result<String, String> {
    Ok(format_micros(parse(&text, MICROS, true)?))
}

/// An instant from a canonical form or any other RFC 3339 text.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    parse(text, SECONDS, false).ok()
}

pub(crate) fn format_seconds(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn format_micros(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A reader over the text that knows what layout element it stands before.
struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl<'a> Reader<'a> {
    fn refuse(&self, element: &str) -> String {
        format!("parsing time {:?} as {:?}: cannot parse {:?} as {element:?}", self.whole, self.layout, self.rest)
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {:?}: {what} out of range", self.whole)
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i32, String> {
        let digits = self.rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(digits) = digits else { return Err(self.refuse(element)) };
        self.rest = &self.rest[count..];
        digits.parse().map_err(|_| self.refuse(element))
    }

    /// Two digits, judged before anything behind them is read. (A day is not: it depends on the month and year.)
    fn within(&mut self, range: RangeInclusive<i32>, element: &str, what: &str) -> Result<i32, String> {
        let value = self.digits(2, element)?;
        if range.contains(&value) { Ok(value) } else { Err(self.out_of_range(what)) }
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.refuse(literal)),
        }
    }

    /// Nanoseconds of a fraction; exactly six digits where the layout states them.
    fn fraction(&mut self, six: bool) -> Result<i32, String> {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else {
            return if six { Err(self.refuse(".000000")) } else { Ok(0) };
        };
        let length = after.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 || (six && length != 6) {
            return Err(self.refuse(if six { ".000000" } else { "Z07:00" }));
        }
        let nanos = format!("{:0<9.9}", &after[..length]);
        self.rest = &after[length..];
        nanos.parse().map_err(|_| self.refuse(".000000"))
    }

    fn offset_seconds(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let sign = match self.rest.bytes().next() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.refuse("Z07:00")),
        };
        let before = self.rest;
        self.rest = &self.rest[1..];
        let read = self.digits(2, "").and_then(|hours| {
            self.literal(":")?;
            Ok((hours, self.digits(2, "")?))
        });
        match read {
            // Go takes a whole day and a whole hour.
            Ok((_, minutes)) if minutes > 60 => Err(self.out_of_range("time zone offset minute")),
            Ok((hours, _)) if hours > 24 => Err(self.out_of_range("time zone offset hour")),
            Ok((hours, minutes)) => Ok(sign * (hours * 3600 + minutes * 60)),
            Err(_) => {
                self.rest = before;
                Err(self.refuse("Z07:00"))
            }
        }
    }
}

fn parse(text: &str, layout: &'static str, six: bool) -> Result<Timestamp, String> {
    let mut reader = Reader { whole: text, rest: text, layout };
    let year = reader.digits(4, "2006")?;
    reader.literal("-")?;
    let month = reader.within(1..=12, "01", "month")?;
    reader.literal("-")?;
    let day = reader.digits(2, "02")?;
    reader.literal("T")?;
    let hour = reader.within(0..=23, "15", "hour")?;
    reader.literal(":")?;
    let minute = reader.within(0..=59, "04", "minute")?;
    reader.literal(":")?;
    let second = reader.within(0..=59, "05", "second")?;
    let nanos = reader.fraction(six)?;
    let offset = reader.offset_seconds()?;
    if !reader.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", reader.rest));
    }
    let local =
        civil::DateTime::new(year as i16, month as i8, day as i8, hour as i8, minute as i8, second as i8, nanos);
    let local = local.map_err(|_| reader.out_of_range("day"))?;
    jiff::tz::Offset::from_seconds(offset)
        .and_then(|offset| offset.to_timestamp(local))
        .map_err(|_| reader.out_of_range("year"))
}
