//! Reports as text: the table, JUnit, JSON and the claims of the README.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::catalogue::{self, Tag};

fn outcome(name: &str, result: Result, reason: &str) -> Outcome {
    let (name, reason) = (name.to_owned(), reason.to_owned());
    Outcome { name, area: "api".into(), claim: "it holds".into(), result, reason, seconds: 1.5 }
}

fn report(cases: Vec<Outcome>) -> Report {
    let (server, version) = ("https://127.0.0.1:6443/".into(), "v1.36.2".into());
    Report { server, version, nodes: 1, seconds: 3.0, is_interrupted: false, leftovers: None, cases }
}

#[test]
fn a_known_failure_is_fine_and_a_known_failure_that_passes_is_not() {
    let known = BTreeMap::from([("watch/one".to_owned(), "not there yet".to_owned())]);
    let failed = outcome("watch/one", Result::Failed, "expected 1, saw 2").judged(&known);
    assert_eq!(failed.result, Result::KnownFailure);
    assert_eq!(failed.reason, "not there yet (expected 1, saw 2)");
    assert!(report(vec![failed]).is_good());
    let passed = outcome("watch/one", Result::Passed, "").judged(&known);
    assert_eq!(passed.result, Result::UnexpectedPass);
    assert!(!report(vec![passed]).is_good());
}

#[test]
fn interruptions_leftovers_and_failures_are_not_good() {
    let fine = || vec![outcome("watch/one", Result::Passed, ""), outcome("watch/two", Result::Skipped, "one node")];
    assert!(report(fine()).is_good());
    assert!(!Report { is_interrupted: true, ..report(fine()) }.is_good());
    assert!(!Report { leftovers: Some("a namespace".into()), ..report(fine()) }.is_good());
    assert!(!report(vec![outcome("watch/one", Result::Failed, "x")]).is_good());
}

#[test]
fn the_table_repeats_what_failed_with_its_reason() {
    let table =
        report(vec![outcome("a/one", Result::Passed, ""), outcome("a/two", Result::Failed, "expected 1")]).table();
    assert!(table.contains("api               1      1      0       0       3.0\n"), "{table}");
    assert!(table.contains("FAILED     1.50 s  a/two\n                    expected 1\n"), "{table}");
    assert!(!table.contains("a/one"), "{table}");
}

#[test]
fn junit_is_escaped() {
    let xml = junit::xml(&report(vec![outcome("a/one", Result::Failed, "saw <a> & \"b\"\n\u{1b}[0m")]));
    assert!(xml.contains(r#"<failure message="saw &lt;a&gt; &amp; &quot;b&quot;&#10;?[0m"/>"#), "{xml}");
    assert!(xml.contains(r#"tests="1" failures="1" skipped="0""#), "{xml}");
}

#[test]
fn claims_leave_out_groups_with_a_refuted_case_and_count_what_is_proven() {
    let all = catalogue::all();
    let (first, last) = (all[0], all[all.len() - 1]);
    let of = |entry: &catalogue::Entry| match entry.id() {
        name if name == first.id() => Claim::Refuted,
        name if name == last.id() => Claim::Open,
        _ => Claim::Proven,
    };
    let text = claims(of);
    assert!(!text.contains(first.group.capability), "{text}");
    let row = format!("| {} | {} |", last.group.capability, last.group.cases.len() - 1);
    assert!(text.contains(&row), "{text}");
}

#[test]
fn names_are_unique_and_claims_are_sentences() {
    let all = catalogue::all();
    let names: BTreeSet<String> = all.iter().map(catalogue::Entry::id).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.iter().any(|entry| entry.has(Tag::quick)));
    for entry in &all {
        let both = entry.has(Tag::quick) && entry.has(Tag::slow);
        assert!(!both, "{} is quick and slow", entry.id());
        assert!(!entry.case.claim.is_empty() && !entry.case.claim.ends_with('.'), "{}", entry.id());
    }
}

/// The README's table is what `skiff-conformance claims` prints.
#[test]
fn the_readme_claims_what_the_cases_prove() {
    let readme = include_str!("../../../README.md");
    let (begin, end) = ("<!-- claims: begin -->\n", "<!-- claims: end -->");
    let block = readme.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(block, _)| block.trim());
    let known = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/known.txt"));
    let known = crate::known::read(Some(known)).unwrap();
    let expected = claims(|entry| crate::expected(entry, &known));
    assert_eq!(block, Some(expected.trim()), "put what `skiff-conformance claims` prints between the README's marks");
}
