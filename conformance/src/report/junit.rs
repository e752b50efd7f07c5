//! Results in the XML that test dashboards read.

use std::fmt::Write as _;

use super::{Report, Result};

pub(super) fn xml(report: &Report) -> String {
    let count = |results: &[Result]| report.cases.iter().filter(|case| results.contains(&case.result)).count();
    let failed = count(&[Result::Failed, Result::UnexpectedPass]);
    let skipped = count(&[Result::Skipped, Result::KnownFailure]);
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuite name=\"skiff-conformance\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\" time=\"{:.3}\">",
        report.cases.len(),
        report.seconds
    );
    for case in &report.cases {
        let (name, reason) = (escape(&case.name), escape(&case.reason));
        let _ = write!(text, "  <testcase classname=\"{}\" name=\"{name}\" time=\"{:.3}\"", case.area, case.seconds);
        let _ = match case.result {
            Result::Passed => writeln!(text, "/>"),
            Result::Failed | Result::UnexpectedPass => {
                writeln!(text, ">\n    <failure message=\"{reason}\"/>\n  </testcase>")
            }
            Result::Skipped | Result::KnownFailure => {
                writeln!(text, ">\n    <skipped message=\"{reason}\"/>\n  </testcase>")
            }
        };
    }
    text.push_str("</testsuite>\n");
    text
}

/// Characters that XML 1.0 cannot hold at all become `?`.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            character if character.is_control() => escaped.push('?'),
            character => escaped.push(character),
        }
        escaped
    })
}
