//! Curves as one picture: a panel a question, a line a server, logarithmic both ways. Pure.
//!
//! Written by hand: a straight line of slope one is linear growth, and that is all it has to show.

use std::fmt::Write as _;

use crate::Panel;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 50.0;
const COLUMNS: usize = 3;
/// Widest of the letters that names are made of, at the size that they are written in.
const LETTER: f64 = 7.0;
const COLOURS: [&str; 4] = ["#1f6feb", "#d1242f", "#2da44e", "#bf8700"];

/// One picture of all of them.
pub fn draw(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * WIDTH, (index / COLUMNS) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x},{y})\">\n{}</g>", one(panel));
    }
    svg + "</svg>\n"
}

/// A scale in powers of ten that holds all values.
struct Scale {
    least: i32,
    most: i32,
}

impl Scale {
    fn holding(values: impl Iterator<Item = f64> + Clone) -> Self {
        let values = values.filter(|value| *value > 0.0).map(f64::log10);
        let least = values.clone().fold(f64::INFINITY, f64::min).floor();
        let most = values.fold(f64::NEG_INFINITY, f64::max).ceil();
        if !least.is_finite() {
            return Self { least: 0, most: 1 };
        }
        Self { least: least as i32, most: (most as i32).max(least as i32 + 1) }
    }

    /// 0 at the start, 1 at the end.
    fn place(&self, value: f64) -> f64 {
        (value.log10() - f64::from(self.least)) / f64::from(self.most - self.least)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.least..=self.most).map(|power| 10_f64.powi(power))
    }
}

fn one(panel: &Panel) -> String {
    let dots = panel.lines.iter().flat_map(|line| line.dots.iter());
    let across = Scale::holding(dots.clone().map(|dot| dot.0));
    let up = Scale::holding(dots.map(|dot| dot.1));
    let x = |value: f64| MARGIN + across.place(value) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - up.place(value) * (HEIGHT - 2.0 * MARGIN);
    let (left, right, top, bottom) = (MARGIN, WIDTH - MARGIN, MARGIN, HEIGHT - MARGIN);
    let mut svg = format!("<text x=\"{left}\" y=\"20\" font-size=\"13\">{}</text>\n", panel.title);
    for mark in across.marks() {
        let (x, label) = (x(mark), bottom + 16.0);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">{mark}</text>");
    }
    for mark in up.marks() {
        let (y, label) = (y(mark), left - 6.0);
        let _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>");
        let _ = writeln!(svg, "<text x=\"{label}\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>", y + 4.0);
    }
    let _ = writeln!(svg, "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>", bottom + 30.0, panel.across);
    let mut legend = left;
    for (index, line) in panel.lines.iter().enumerate() {
        let (name, colour) = (&line.name, COLOURS[index % COLOURS.len()]);
        let dots: Vec<String> =
            line.dots.iter().filter(|dot| dot.1 > 0.0).map(|dot| format!("{:.1},{:.1}", x(dot.0), y(dot.1))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            dots.join(" ")
        );
        // Beside each other above the curves, which may be anywhere.
        let _ = writeln!(svg, "<text x=\"{legend:.1}\" y=\"{}\" fill=\"{colour}\">{name}</text>", top - 10.0);
        legend += LETTER * (name.chars().count() as f64 + 2.0);
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Line;

    #[test]
    fn each_line_of_each_panel_is_drawn() {
        let line = |name: &str| Line { name: name.into(), dots: vec![(1000.0, 12.0), (10_000.0, 95.0)] };
        let panel = Panel { title: "memory (MiB)".into(), across: "pods".into(), lines: vec![line("a"), line("b")] };
        let picture = draw(&[panel.clone(), panel]);
        assert_eq!(picture.matches("<polyline").count(), 4);
        assert_eq!(picture.matches("memory (MiB)").count(), 2);
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        // From 1,000 to 10,000 is the whole width, and from 10 to 100 the whole height.
        assert!(picture.contains("points=\"50.0,215.7 370.0,"), "{picture}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let empty =
            Panel { title: "x".into(), across: "y".into(), lines: vec![Line { name: "n".into(), dots: vec![] }] };
        assert!(draw(&[empty]).contains("points=\"\""));
    }
}
