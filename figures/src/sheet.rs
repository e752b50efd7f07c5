//! What one bench measured, and its file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{Figure, svg, table};

/// The name of no bench: what all of them are joined to.
const JOINED: &str = "bench";

/// All of one bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sheet {
    pub bench: String,
    pub figures: Vec<Figure>,
    pub panels: Vec<Panel>,
    /// What figures do not say by themselves.
    pub remarks: Vec<String>,
}

/// Curves that answer one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    pub title: String,
    /// What is counted from left to right.
    pub across: String,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub dots: Vec<(f64, f64)>,
}

impl Sheet {
    /// Prints the table's head: lines follow as figures are added.
    pub fn new(bench: &str) -> Self {
        println!("{}", table::head());
        Self { bench: bench.to_owned(), figures: Vec::new(), panels: Vec::new(), remarks: Vec::new() }
    }

    /// A figure without samples is none.
    pub fn add(&mut self, figure: Figure) {
        if !figure.samples.is_empty() {
            println!("{}", table::line(&figure));
            self.figures.push(figure);
        }
    }

    /// Writes `BENCH.json` with every sample, and `BENCH.svg` if there are curves.
    ///
    /// # Errors
    /// A folder that cannot be made or written to.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.remarks.iter().for_each(|remark| println!("{remark}"));
        write(folder, &format!("{}.json", self.bench), &serde_json::to_string_pretty(self)?)?;
        if self.panels.is_empty() {
            return Ok(());
        }
        write(folder, &format!("{}.svg", self.bench), &svg::draw(&self.panels))
    }

    /// The sheets that benches left in a folder, by name.
    ///
    /// # Errors
    /// A folder that is not there; a file that is no sheet.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let read = || format!("read {}", folder.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(read)? {
            let path = entry.with_context(read)?.path();
            let is_sheet = path.extension().is_some_and(|it| it == "json") && !path.ends_with(format!("{JOINED}.json"));
            paths.extend(is_sheet.then_some(path));
        }
        paths.sort();
        paths.iter().map(Self::read).collect()
    }

    fn read(path: &PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no bench's sheet", path.display()))
    }

    /// Writes all sheets as one file, and all curves as one picture.
    ///
    /// # Errors
    /// As [`Sheet::write`].
    pub fn join(folder: &Path, sheets: &[Self]) -> Result<()> {
        let panels: Vec<Panel> = sheets.iter().flat_map(|sheet| sheet.panels.clone()).collect();
        write(folder, &format!("{JOINED}.json"), &serde_json::to_string_pretty(sheets)?)?;
        write(folder, &format!("{JOINED}.svg"), &svg::draw(&panels))
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    println!("written: {}", path.display());
    Ok(())
}
