//! What changed between two texts, line by line, as a unified diff without file names. Pure.
//!
//! Enter at [`unified`]. Lines are paired as upstream's library pairs them: the longest run of lines that both texts have
//! is the same in both, and so on before and after it; of equally long runs the earliest counts.

use std::collections::HashMap;
use std::ops::Range;

/// Lines that are shown around a change.
const CONTEXT: usize = 3;
/// In a text of so many lines, those that stand there more often than once in a hundred begin no run.
const LONG_TEXT: usize = 200;

/// A stretch of both texts: the same lines, or others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stretch {
    is_same: bool,
    old: Range<usize>,
    new: Range<usize>,
}

/// Nothing where the texts are alike.
pub fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut text = String::new();
    for hunk in hunks(stretches(&old, &new)) {
        let whole = |side: fn(&Stretch) -> &Range<usize>| match (hunk.first(), hunk.last()) {
            (Some(first), Some(last)) => shown(&(side(first).start..side(last).end)),
            _ => String::new(),
        };
        text += &format!("@@ -{} +{} @@\n", whole(|stretch| &stretch.old), whole(|stretch| &stretch.new));
        for stretch in &hunk {
            let mut add = |mark: char, lines: &[&str]| lines.iter().for_each(|line| text += &format!("{mark}{line}\n"));
            if stretch.is_same {
                add(' ', &old[stretch.old.clone()]);
            } else {
                add('-', &old[stretch.old.clone()]);
                add('+', &new[stretch.new.clone()]);
            }
        }
    }
    text
}

/// First line and count; an empty range is named by the line before it.
fn shown(range: &Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        length => format!("{},{length}", range.start + 1),
    }
}

fn stretches(old: &[&str], new: &[&str]) -> Vec<Stretch> {
    let mut runs = Vec::new();
    find_runs(old, new, &places(new), 0..old.len(), 0..new.len(), &mut runs);
    runs.push((old.len(), new.len(), 0));
    let mut found: Vec<Stretch> = Vec::new();
    let (mut at_old, mut at_new) = (0, 0);
    for (begin_old, begin_new, length) in runs {
        if at_old < begin_old || at_new < begin_new {
            found.push(Stretch { is_same: false, old: at_old..begin_old, new: at_new..begin_new });
        }
        (at_old, at_new) = (begin_old + length, begin_new + length);
        match found.last_mut().filter(|last| last.is_same && last.old.end == begin_old) {
            Some(last) => (last.old.end, last.new.end) = (at_old, at_new),
            None if length > 0 => {
                found.push(Stretch { is_same: true, old: begin_old..at_old, new: begin_new..at_new });
            }
            None => {}
        }
    }
    found
}

/// Where each line stands.
fn places<'a>(lines: &[&'a str]) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (position, line) in lines.iter().enumerate() {
        places.entry(line).or_default().push(position);
    }
    if lines.len() >= LONG_TEXT {
        let often = lines.len() / 100 + 1;
        places.retain(|_, positions| positions.len() <= often);
    }
    places
}

type Run = (usize, usize, usize);

fn find_runs(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    in_old: Range<usize>,
    in_new: Range<usize>,
    runs: &mut Vec<Run>,
) {
    let run @ (begin_old, begin_new, length) = longest_run(old, new, places, &in_old, &in_new);
    if length == 0 {
        return;
    }
    find_runs(old, new, places, in_old.start..begin_old, in_new.start..begin_new, runs);
    runs.push(run);
    find_runs(old, new, places, begin_old + length..in_old.end, begin_new + length..in_new.end, runs);
}

fn longest_run(
    old: &[&str],
    new: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    in_old: &Range<usize>,
    in_new: &Range<usize>,
) -> Run {
    let (mut begin_old, mut begin_new, mut length) = (in_old.start, in_new.start, 0);
    // Length of the run that ends with this line of the new text and the last one of the old.
    let mut ending: HashMap<usize, usize> = HashMap::new();
    for position in in_old.clone() {
        let mut next = HashMap::new();
        let here = places.get(old[position]).into_iter().flatten().copied();
        for place in here.filter(|place| in_new.contains(place)) {
            let run = place.checked_sub(1).and_then(|before| ending.get(&before)).copied().unwrap_or(0) + 1;
            next.insert(place, run);
            if run > length {
                (begin_old, begin_new, length) = (position + 1 - run, place + 1 - run, run);
            }
        }
        ending = next;
    }
    // Lines that begin no run may still be at a run's ends.
    while begin_old > in_old.start && begin_new > in_new.start && old[begin_old - 1] == new[begin_new - 1] {
        (begin_old, begin_new, length) = (begin_old - 1, begin_new - 1, length + 1);
    }
    while begin_old + length < in_old.end
        && begin_new + length < in_new.end
        && old[begin_old + length] == new[begin_new + length]
    {
        length += 1;
    }
    (begin_old, begin_new, length)
}

/// Changes that are near one another, each with the lines around it.
fn hunks(mut stretches: Vec<Stretch>) -> Vec<Vec<Stretch>> {
    let first_of = |range: &Range<usize>| range.start..range.end.min(range.start + CONTEXT);
    let last_of = |range: &Range<usize>| range.start.max(range.end.saturating_sub(CONTEXT))..range.end;
    if let Some(first) = stretches.first_mut().filter(|first| first.is_same) {
        *first = Stretch { is_same: true, old: last_of(&first.old), new: last_of(&first.new) };
    }
    if let Some(last) = stretches.last_mut().filter(|last| last.is_same) {
        *last = Stretch { is_same: true, old: first_of(&last.old), new: first_of(&last.new) };
    }
    let (mut hunks, mut hunk) = (Vec::new(), Vec::new());
    for stretch in stretches {
        if !stretch.is_same || stretch.old.len() <= 2 * CONTEXT {
            hunk.push(stretch);
            continue;
        }
        hunk.push(Stretch { is_same: true, old: first_of(&stretch.old), new: first_of(&stretch.new) });
        hunks.push(std::mem::take(&mut hunk));
        hunk.push(Stretch { is_same: true, old: last_of(&stretch.old), new: last_of(&stretch.new) });
    }
    hunks.push(hunk);
    hunks.retain(|hunk| hunk.iter().any(|stretch| !stretch.is_same));
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &str) -> String {
        words.split_whitespace().map(|word| format!("{word}\n")).collect()
    }

    /// Upstream's library is a port of Python's difflib, which the expected texts are from.
    #[test]
    fn changes_stand_among_what_stayed() {
        let table = [
            ("a b c", "a b c", ""),
            ("a b c", "a x c", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"),
            ("", "a", "@@ -0,0 +1 @@\n+a\n"),
            ("a", "", "@@ -1 +0,0 @@\n-a\n"),
            ("1 2 3 4 5 6 7 8 9", "1 2 3 4 x 6 7 8 9", "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n"),
            (
                "0 1 2 3 4 5 6 7 8 9",
                "x 1 2 3 4 5 6 7 8 y",
                "@@ -1,4 +1,4 @@\n-0\n+x\n 1\n 2\n 3\n@@ -7,4 +7,4 @@\n 6\n 7\n 8\n-9\n+y\n",
            ),
            ("a b", "a c a b", "@@ -1,2 +1,4 @@\n+a\n+c\n a\n b\n"),
        ];
        for (old, new, expected) in table {
            assert_eq!(unified(&lines(old), &lines(new)), expected, "{old} → {new}");
        }
    }
}
