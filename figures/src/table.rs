//! Figures as lines of one table. Pure.

use std::fmt::Write as _;

use crate::samples::{median, spread};
use crate::{Budget, Figure, Sheet};

/// Wide enough for what is measured, and `(over)`.
const WHAT_WIDTH: usize = 70;

pub fn head() -> String {
    format!(
        "{:<WHAT_WIDTH$} {:>10} {:>10} {:>21} {:>4}  {:<8} BESIDE",
        "FIGURE", "BUDGET", "MEDIAN", "SPREAD", "N", "UNIT"
    )
    .trim_end()
    .to_owned()
}

pub fn line(figure: &Figure) -> String {
    let (least, most) = spread(&figure.samples);
    let mark = if figure.is_within_budget() { "" } else { missed(figure.budget) };
    let beside: Vec<String> = figure.beside.iter().map(|it| beside(&it.who, &it.samples, figure.median())).collect();
    let line = format!(
        "{:<WHAT_WIDTH$} {:>10} {:>10} {:>21} {:>4}  {:<8} {}",
        format!("{}{mark}", figure.what),
        budget(figure.budget),
        short(figure.median()),
        if figure.samples.len() > 1 { format!("{} - {}", short(least), short(most)) } else { String::new() },
        figure.samples.len(),
        figure.unit,
        beside.join(", "),
    );
    line.trim_end().to_owned()
}

fn budget(budget: Budget) -> String {
    match budget {
        Budget::None => "-".to_owned(),
        Budget::Most(most) => format!("≤ {}", short(most)),
        Budget::Least(least) => format!("≥ {}", short(least)),
    }
}

fn missed(budget: Budget) -> &'static str {
    match budget {
        Budget::None => "",
        Budget::Most(_) => "  (over)",
        Budget::Least(_) => "  (under)",
    }
}

/// Who, how much, and how many times that is of ours.
fn beside(who: &str, samples: &[f64], ours: f64) -> String {
    let theirs = median(samples);
    let ratio = if ours > 0.0 { format!(" ({:.2}x)", theirs / ours) } else { String::new() };
    format!("{who} {}{ratio}", short(theirs))
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Every figure of every bench, their remarks, and how many keep to their budgets.
pub fn all(sheets: &[Sheet]) -> String {
    let mut text = head();
    for sheet in sheets {
        let _ = write!(text, "\n\n{}\n", sheet.bench);
        let lines: Vec<String> = sheet.figures.iter().map(line).chain(sheet.remarks.iter().cloned()).collect();
        text += &lines.join("\n");
    }
    let figures = || sheets.iter().flat_map(|sheet| &sheet.figures).filter(|figure| figure.budget != Budget::None);
    let (within, of) = (figures().filter(|figure| figure.is_within_budget()).count(), figures().count());
    let _ = writeln!(text, "\n\n{within} of {of} figures that have a budget keep to it");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(figures: Vec<Figure>) -> Sheet {
        Sheet { bench: "one".into(), figures, panels: Vec::new(), remarks: vec!["a remark".into()] }
    }

    #[test]
    fn a_figure_is_a_line() {
        let figure = Figure::new("CPU per GET", "µs", [41.0, 38.5, 40.2]).most(40.0).beside("other", [804.0]);
        let fields: Vec<String> = line(&figure).split("  ").map(|it| it.trim().to_owned()).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
        assert_eq!(fields[..2], ["CPU per GET", "(over)"]);
        assert!(line(&figure).ends_with("38.5 - 41.0    3  µs       other 804 (20.00x)"), "{}", line(&figure));
        let rate = Figure::new("pods a second", "1/s", [2345.0]).least(2000.0);
        assert!(!line(&rate).contains("under") && line(&rate).contains("≥ 2000"), "{}", line(&rate));
        assert!(line(&rate.least(3000.0)).contains("(under)"));
    }

    #[test]
    fn all_is_one_table() {
        let figures = vec![
            Figure::new("good", "s", [1.0]).most(2.0),
            Figure::new("bad", "s", [3.0]).most(2.0),
            Figure::new("neither", "s", [3.0]),
        ];
        let text = all(&[sheet(figures.clone()), sheet(figures)]);
        assert_eq!(text.lines().filter(|line| line.starts_with("FIGURE")).count(), 1);
        assert_eq!(text.lines().filter(|line| *line == "a remark").count(), 2);
        assert!(text.ends_with("2 of 4 figures that have a budget keep to it\n"), "{text}");
    }
}
