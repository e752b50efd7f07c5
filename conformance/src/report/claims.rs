//! The list of claims for the README: a row for each capability that cases prove.

use std::fmt::Write as _;

use crate::catalogue::{self, Entry};

/// What is known of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Proven,
    /// It was not run, for want of nodes.
    Open,
    Refuted,
}

/// A Markdown table of the groups of which no case is refuted, with how many are proven; other groups are left out, whole.
pub(crate) fn claims(of: impl Fn(&Entry) -> Claim) -> String {
    let mut text = "| | what holds | cases |\n|---|---|--:|\n".to_owned();
    let entries = catalogue::all();
    let mut total = 0;
    for group in entries.chunk_by(|one, next| std::ptr::eq(one.group, next.group)) {
        let claims: Vec<Claim> = group.iter().map(&of).collect();
        let proven = claims.iter().filter(|claim| **claim == Claim::Proven).count();
        if proven > 0 && !claims.contains(&Claim::Refuted) {
            let first = group[0].group;
            total += proven;
            let _ = writeln!(text, "| {} | {} | {proven} |", first.area.name(), first.capability);
        }
    }
    let _ = writeln!(text, "| | all | {total} |");
    text
}
