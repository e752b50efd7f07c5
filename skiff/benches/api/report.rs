//! What was measured, as a table and as files to plot from.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::figures::{self, Budget, Figure};
use crate::{meter, svg};

/// All of one server.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) server: String,
    /// By the figure's id, in its unit.
    samples: BTreeMap<&'static str, Vec<f64>>,
    /// What keeps durable creates from being more.
    pub(crate) limit: String,
    pub(crate) load: Vec<Load>,
    pub(crate) curve: Vec<Point>,
}

/// Latency and rate with that many clients.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) create_p50_ms: f64,
    pub(crate) create_p99_ms: f64,
    pub(crate) creates_per_second: f64,
    pub(crate) get_p50_ms: f64,
    pub(crate) get_p99_ms: f64,
    pub(crate) gets_per_second: f64,
}

/// What that many pods cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) pods: usize,
    pub(crate) rss_mib: f64,
    pub(crate) list_ms: f64,
    pub(crate) list_cpu_ms: f64,
    /// A watch with all its initial events.
    pub(crate) watch_ms: f64,
    /// A watch from the newest version, until it is open.
    pub(crate) follow_ms: f64,
    /// Start to ready; none of a server that is not ours to start.
    pub(crate) restart_s: Option<f64>,
}

impl Measured {
    pub(crate) fn of(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            samples: BTreeMap::new(),
            limit: String::new(),
            load: Vec::new(),
            curve: Vec::new(),
        }
    }

    /// A sample, in the figure's unit.
    pub(crate) fn add(&mut self, id: &'static str, sample: f64) {
        debug_assert!(figures::by_id(id).is_some(), "{id} is a figure");
        self.samples.entry(id).or_default().push(sample);
    }

    fn of_figure(&self, id: &str) -> &[f64] {
        self.samples.get(id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn median(&self, id: &str) -> f64 {
        meter::median(self.of_figure(id))
    }
}

/// One line a figure; the first server's column is judged by the budget, the others stand beside it.
pub(crate) fn print(all: &[Measured]) {
    let Some((first, others)) = all.split_first() else { return };
    let mut head =
        format!("{:<58} {:>9} {:>10} {:>21} {:>4}  {:<6}", "FIGURE", "BUDGET", "MEDIAN", "SPREAD", "N", "UNIT");
    for other in others {
        head += &format!(" {:>10} {:>7}", other.server, "RATIO");
    }
    println!("\n{head}");
    for figure in figures::ALL.iter().filter(|figure| !first.of_figure(figure.id).is_empty()) {
        println!("{}", line(figure, first, others));
    }
    for measured in all.iter().filter(|measured| !measured.limit.is_empty()) {
        println!("{}: durable creates are limited by {}", measured.server, measured.limit);
    }
}

fn line(figure: &Figure, first: &Measured, others: &[Measured]) -> String {
    let samples = first.of_figure(figure.id);
    let (median, (least, most)) = (meter::median(samples), meter::spread(samples));
    let budget = match figure.budget {
        Budget::None => None,
        Budget::Most(most) => Some(most),
        Budget::Tenth => others.first().map(|other| other.median(figure.id) / 10.0).filter(|tenth| *tenth > 0.0),
    };
    let missed = budget.is_some_and(|budget| median > budget);
    let budget = budget.map_or_else(|| "-".to_owned(), short);
    let mut line = format!(
        "{:<58} {budget:>9} {:>10} {:>21} {:>4}  {:<6}",
        format!("{}{}", figure.what, if missed { "  (over)" } else { "" }),
        short(median),
        format!("{} - {}", short(least), short(most)),
        samples.len(),
        figure.unit,
    );
    for other in others {
        let beside = other.of_figure(figure.id);
        let ratio = meter::median(beside) / median;
        let (value, ratio) = if beside.is_empty() {
            ("-".into(), "-".into())
        } else {
            (short(meter::median(beside)), format!("{ratio:.2}"))
        };
        line += &format!(" {value:>10} {ratio:>7}");
    }
    line
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

/// Writes `api.json`, with every sample, and `api.svg`, with the curves.
pub(crate) fn write(folder: &Path, all: &[Measured]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let figures: BTreeMap<_, _> = figures::ALL
        .iter()
        .map(|it| (it.id, serde_json::json!({"what": it.what.trim(), "unit": it.unit, "budget": it.budget})))
        .collect();
    let json = serde_json::json!({"figures": figures, "servers": all});
    for (name, text) in [("api.json", serde_json::to_string_pretty(&json)?), ("api.svg", svg::curves(all))] {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}
