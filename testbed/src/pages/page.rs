//! A page's text: commands, and exactly what they print. Pure.
//!
//! ```text
//! ## A comment.
//! @ 1.24-
//! $ kubectl get pods
//! No resources found in get namespace.
//! ```
//!
//! `$` is a command that succeeds, `$!` one that fails, `$~` one that is repeated until it prints what it must; `> ` goes
//! on with it. Below it is what it prints, standard error too. `…` stands for anything in a line, and alone on a line
//! for any lines. `@ FIRST-LAST` says which versions of kubectl print the next command's lines; others leave it out.

use std::ops::RangeInclusive;

use crate::pattern::fits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Succeeds,
    Fails,
    Until,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) how: How,
    /// Minor versions of kubectl.
    pub(crate) versions: RangeInclusive<u32>,
    pub(crate) command: String,
    pub(crate) expected: Vec<String>,
    /// Comments and blank lines before it, and its command, as they stand.
    head: Vec<String>,
}

/// The page's steps.
pub(crate) fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut head, mut versions) = (Vec::new(), 0..=u32::MAX);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("## ") {
            head.push(line.to_owned());
        } else if let Some(range) = line.strip_prefix("@ ") {
            versions = parse_versions(range).ok_or_else(|| format!("line {}: no versions: {line}", index + 1))?;
            head.push(line.to_owned());
        } else if let Some((how, command)) = parse_command(line) {
            head.push(line.to_owned());
            let (head, versions) = (std::mem::take(&mut head), std::mem::replace(&mut versions, 0..=u32::MAX));
            steps.push(Step { how, versions, command: command.to_owned(), expected: Vec::new(), head });
        } else {
            let step = steps.last_mut().ok_or_else(|| format!("line {}: no command yet: {line}", index + 1))?;
            match line.strip_prefix("> ") {
                Some(more) if step.expected.is_empty() => {
                    step.head.push(line.to_owned());
                    step.command = format!("{}\n{more}", step.command);
                }
                _ => step.expected.push(line.to_owned()),
            }
        }
    }
    for step in &mut steps {
        trim_end(&mut step.expected);
    }
    Ok(steps)
}

fn parse_command(line: &str) -> Option<(How, &str)> {
    let rest = line.strip_prefix('$')?;
    [("! ", How::Fails), ("~ ", How::Until), (" ", How::Succeeds)]
        .into_iter()
        .find_map(|(mark, how)| Some((how, rest.strip_prefix(mark)?)))
}

/// `1.24-`, `-1.23` or `1.20-1.23`.
fn parse_versions(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.trim().split_once('-')?;
    let minor =
        |text: &str, open: u32| if text.is_empty() { Some(open) } else { text.strip_prefix("1.")?.parse().ok() };
    Some(minor(first, 0)?..=minor(last, u32::MAX)?)
}

fn trim_end(lines: &mut Vec<String>) {
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
}

impl Step {
    /// The output's lines as they are compared: without spaces and blank lines at their ends.
    pub(crate) fn lines(output: &str) -> Vec<String> {
        let mut lines: Vec<String> = output.lines().map(|line| line.trim_end().to_owned()).collect();
        trim_end(&mut lines);
        lines
    }

    pub(crate) fn fits(&self, lines: &[String]) -> bool {
        let expected: Vec<&str> = self.expected.iter().map(|line| line.trim_end()).collect();
        all_fit(lines, &expected)
    }

    /// The step as it stands on the page, with these lines as what is printed.
    pub(crate) fn render(&self, lines: &[String]) -> String {
        self.head.iter().chain(lines).map(|line| format!("{line}\n")).collect()
    }
}

fn all_fit(lines: &[String], patterns: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skipped| all_fit(&lines[skipped..], rest)),
        Some((pattern, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| line_fits(line, pattern) && all_fit(lines, rest))
        }
    }
}

/// A column that is as wide as what cannot be foretold moves all behind it: only there, spaces are not counted.
fn line_fits(line: &str, pattern: &str) -> bool {
    if pattern.contains('…') { fits(line, pattern) } else { line == pattern }
}

#[test]
fn a_page_is_commands_and_what_they_print() {
    let text = "## why\n@ 1.24-1.30\n$ a\n> b\none\n\n$! c\n$~ d\nx … z\n…\nend\n";
    let steps = parse(text).unwrap();
    let seen: Vec<_> = steps.iter().map(|step| (step.how, step.command.as_str(), step.expected.len())).collect();
    assert_eq!(seen, [(How::Succeeds, "a\nb", 1), (How::Fails, "c", 0), (How::Until, "d", 3)]);
    assert_eq!((steps[0].versions.clone(), steps[1].versions.clone()), (24..=30, 0..=u32::MAX));
    assert_eq!(steps[0].render(&["new".into()]), "## why\n@ 1.24-1.30\n$ a\n> b\nnew\n");
    let fits = |output: &str| steps[2].fits(&Step::lines(output));
    assert!(fits("x y z\nend\n") && fits("x  z  \nmore\nmore\nend\n\n"));
    assert!(fits("x   12 z\nend\n"));
    assert!(!fits("x y\nend\n") && !fits("x y z\n") && !fits("x y z\nend\nmore\n"));
    assert!(parse("one\n").is_err() && parse("@ 24\n$ a\n").is_err());
}
