//! Indexes of a Job's pods as text: `1,3-5,7`, rising, each below the number of completions.

use machinery::field::quote;

/// How many indexes there are.
pub fn count(text: &str, completions: i64) -> Result<i64, String> {
    let mut last: Option<i64> = None;
    let mut total = 0;
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(falling(last, first));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn falling(previous: i64, current: i64) -> String {
    format!("non-increasing order, previous: {previous}, current: {current}")
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let ends: Vec<&str> = part.split('-').collect();
    let read = |text: &str| {
        let number: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if number >= completions { Err(format!("too large index: {}", quote(text))) } else { Ok(number) }
    };
    match ends.as_slice() {
        [one] => read(one).map(|index| (index, index)),
        [first, last] => match (read(first)?, read(last)?) {
            (first, last) if first >= last => Err(falling(first, last)),
            ends => Ok(ends),
        },
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(part)
        )),
    }
}

/// The first index, from the left, that is in both lists. Parts that cannot be read are passed over.
pub fn common(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut a, mut b) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((first, last)), Some((other_first, other_last))) = (a.peek(), b.peek()) {
        if first <= other_last && other_first <= last {
            return Some(*first.max(other_first));
        }
        if first <= other_first {
            a.next();
        } else {
            b.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_rise() {
        for (text, want) in [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("0,2-4,9", Ok(5)),
            ("10", Err("too large index: \"10\"")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("3,2", Err("non-increasing order, previous: 3, current: 2")),
            ("4-4", Err("non-increasing order, previous: 4, current: 4")),
            ("1-2-3", Err("the fragment \"1-2-3\" violates")),
        ] {
            match (count(text, 10), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{text}"),
                (Err(got), Err(want)) => assert!(got.starts_with(want), "{text}: {got}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_in_both_is_found() {
        for (completed, failed, want) in
            [("0-2,5", "3,4", None), ("0-2,5", "1", Some(1)), ("0,x,5-7", "4,6-9", Some(6)), ("", "1", None)]
        {
            assert_eq!(common(completed, failed, 10), want, "{completed} and {failed}");
        }
    }
}
