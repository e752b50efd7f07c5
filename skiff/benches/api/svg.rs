//! The curves as one picture: a panel a question, a line a server, logarithmic both ways. Pure.
//!
//! Written by hand: a straight line of slope one is linear growth, and that is all it has to show.

use std::fmt::Write as _;

use crate::report::{Load, Measured, Point};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 50.0;
const COLUMNS: usize = 3;
const COLOURS: [&str; 4] = ["#1f6feb", "#d1242f", "#2da44e", "#bf8700"];

type Line = (String, Vec<(f64, f64)>);

struct Panel {
    title: &'static str,
    across: &'static str,
    lines: Vec<Line>,
}

pub(crate) fn curves(all: &[Measured]) -> String {
    let panels = [
        by_pods("memory (RSS, MiB)", all, |point| Some(point.rss_mib)),
        by_pods("list of all pods (ms)", all, |point| Some(point.list_ms)),
        by_pods("watch with initial events (ms)", all, |point| Some(point.watch_ms)),
        by_pods("start to ready (s)", all, |point| point.restart_s),
        by_load("create: latency p50, p99 (ms)", all, |load| [load.create_p50_ms, load.create_p99_ms]),
        by_load("GET: latency p50, p99 (ms)", all, |load| [load.get_p50_ms, load.get_p99_ms]),
    ];
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * WIDTH, (index / COLUMNS) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x},{y})\">\n{}</g>", draw(panel));
    }
    svg + "</svg>\n"
}

fn by_pods(title: &'static str, all: &[Measured], pick: fn(&Point) -> Option<f64>) -> Panel {
    let dots = |measured: &Measured| -> Vec<(f64, f64)> {
        measured.curve.iter().filter_map(|point| Some((point.pods as f64, pick(point)?))).collect()
    };
    let lines = all.iter().map(|measured| (measured.server.clone(), dots(measured))).collect();
    Panel { title, across: "pods", lines }
}

fn by_load(title: &'static str, all: &[Measured], pick: fn(&Load) -> [f64; 2]) -> Panel {
    let line = |measured: &Measured, index: usize, name: &str| -> Line {
        let dots = measured.load.iter().map(|load| (load.clients as f64, pick(load)[index])).collect();
        (format!("{} {name}", measured.server), dots)
    };
    let lines = all.iter().flat_map(|it| [line(it, 0, "p50"), line(it, 1, "p99")]).collect();
    Panel { title, across: "clients", lines }
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

fn draw(panel: &Panel) -> String {
    let dots = panel.lines.iter().flat_map(|(_, dots)| dots.iter());
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
    for (index, (name, dots)) in panel.lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let dots: Vec<String> =
            dots.iter().filter(|dot| dot.1 > 0.0).map(|dot| format!("{:.1},{:.1}", x(dot.0), y(dot.1))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            dots.join(" ")
        );
        let legend = top + 14.0 * (index as f64 + 1.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{legend}\" fill=\"{colour}\">{name}</text>", left + 8.0);
    }
    svg
}
