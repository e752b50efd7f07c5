//! What was measured of each server, and the sheet that it makes: the first server's figures, the others beside them.

use std::collections::BTreeMap;

use figures::{Budget, Figure, Line, Panel, Sheet, samples};

use crate::list::{self, Limit};

/// All of one server.
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
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) pods: usize,
    pub(crate) rss_mib: f64,
    pub(crate) list_ms: f64,
    pub(crate) list_cpu_ms: f64,
    /// A watch with all its initial events; none of a server that has no such watches.
    pub(crate) watch_ms: Option<f64>,
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
        debug_assert!(list::ALL.iter().any(|row| row.id == id), "{id} is a figure");
        self.samples.entry(id).or_default().push(sample);
    }

    fn of_figure(&self, id: &str) -> &[f64] {
        self.samples.get(id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn median(&self, id: &str) -> f64 {
        samples::median(self.of_figure(id))
    }
}

/// The first server's columns are judged by the budgets.
pub(crate) fn sheet(all: &[Measured]) -> Sheet {
    let mut sheet = Sheet::new("api");
    let Some((first, others)) = all.split_first() else { return sheet };
    list::ALL.iter().for_each(|row| sheet.add(figure(row, first, others)));
    sheet.panels = panels(all);
    for measured in all.iter().filter(|measured| !measured.limit.is_empty()) {
        sheet.remarks.push(format!("{}: durable creates are limited by {}", measured.server, measured.limit));
    }
    sheet
}

fn figure(row: &list::Row, first: &Measured, others: &[Measured]) -> Figure {
    let figure = Figure::new(row.what, row.unit, first.of_figure(row.id));
    let beside = others.iter().filter(|other| !other.of_figure(row.id).is_empty());
    let figure = beside.fold(figure, |figure, other| figure.beside(&other.server, other.of_figure(row.id)));
    let budget = match row.limit {
        Limit::None => Budget::None,
        Limit::Most(most) => Budget::Most(most),
        Limit::Tenth => {
            figure.beside.first().map_or(Budget::None, |it| Budget::Most(samples::median(&it.samples) / 10.0))
        }
    };
    Figure { budget, ..figure }
}

fn panels(all: &[Measured]) -> Vec<Panel> {
    vec![
        by_pods("memory (RSS, MiB)", all, |point| Some(point.rss_mib)),
        by_pods("list of all pods (ms)", all, |point| Some(point.list_ms)),
        by_pods("list of all pods (ms of CPU)", all, |point| Some(point.list_cpu_ms)),
        by_pods("watch with initial events (ms)", all, |point| point.watch_ms),
        by_pods("watch from the newest version (ms)", all, |point| Some(point.follow_ms)),
        by_pods("start to ready (s)", all, |point| point.restart_s),
        by_load("create: latency (ms)", all, [("p50", |load| load.create_p50_ms), ("p99", |load| load.create_p99_ms)]),
        by_load("GET: latency (ms)", all, [("p50", |load| load.get_p50_ms), ("p99", |load| load.get_p99_ms)]),
        by_load("a second", all, [("creates", |load| load.creates_per_second), ("GETs", |load| load.gets_per_second)]),
    ]
}

fn by_pods(title: &str, all: &[Measured], pick: fn(&Point) -> Option<f64>) -> Panel {
    let dots = |measured: &Measured| -> Vec<(f64, f64)> {
        measured.curve.iter().filter_map(|point| Some((point.pods as f64, pick(point)?))).collect()
    };
    let lines = all.iter().map(|measured| Line { name: measured.server.clone(), dots: dots(measured) }).collect();
    Panel { title: title.to_owned(), across: "pods".into(), lines }
}

/// A line's name, and what of a load it shows.
type Pick = (&'static str, fn(&Load) -> f64);

fn by_load(title: &str, all: &[Measured], picks: [Pick; 2]) -> Panel {
    let line = |measured: &Measured, (name, pick): Pick| {
        let dots = measured.load.iter().map(|load| (load.clients as f64, pick(load))).collect();
        Line { name: format!("{} {name}", measured.server), dots }
    };
    let lines = all.iter().flat_map(|measured| picks.map(|pick| line(measured, pick))).collect();
    Panel { title: title.to_owned(), across: "clients".into(), lines }
}
