//! What one bench measured, and its file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
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
    /// A folder that cannot be made or written to; figures that nobody can tell apart, once they are written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.remarks.iter().for_each(|remark| println!("{remark}"));
        write(folder, &format!("{}.json", self.bench), &serde_json::to_string_pretty(self)?)?;
        if !self.panels.is_empty() {
            write(folder, &format!("{}.svg", self.bench), &svg::draw(&self.panels))?;
        }
        let twice = self.named_twice();
        ensure!(twice.is_empty(), "{}: more than one figure is called {}", self.bench, twice.join(", or "));
        Ok(())
    }

    /// Names of several figures: whoever reads the file finds a figure by its name.
    fn named_twice(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let names = self.figures.iter().map(|figure| figure.what.trim());
        let twice: BTreeSet<&str> = names.filter(|name| !seen.insert(*name)).collect();
        twice.into_iter().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(bench: &str, names: &[&str]) -> Sheet {
        let mut sheet = Sheet::new(bench);
        names.iter().for_each(|name| sheet.add(Figure::new(*name, "s", [1.0, 2.0])));
        sheet
    }

    #[test]
    fn what_was_written_is_read_and_joined() {
        let folder = tempfile::tempdir().unwrap();
        let line = Line { name: "ours".into(), dots: vec![(1.0, 2.0)] };
        let mut curves = sheet("curves", &["start"]);
        curves.panels.push(Panel { title: "memory".into(), across: "pods".into(), lines: vec![line] });
        curves.write(folder.path()).unwrap();
        let plain = sheet("plain", &["start", "end"]);
        plain.write(folder.path()).unwrap();
        let pictures = |name: &str| folder.path().join(name).exists();
        assert!(pictures("curves.svg") && !pictures("plain.svg"), "a picture of curves only");
        let read = Sheet::read_all(folder.path()).unwrap();
        assert_eq!(read, [curves, plain]);
        Sheet::join(folder.path(), &read).unwrap();
        assert!(pictures("bench.json") && pictures("bench.svg"));
        assert_eq!(Sheet::read_all(folder.path()).unwrap(), read, "what is joined is no bench's");
    }

    #[test]
    fn a_figure_without_samples_is_none() {
        let mut sheet = sheet("one", &[]);
        sheet.add(Figure::new("nothing", "s", Vec::new()));
        assert!(sheet.figures.is_empty());
    }

    #[test]
    fn two_figures_of_one_name_are_told_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let refused = sheet("two", &["one", "other", "  one"]).write(folder.path()).unwrap_err().to_string();
        assert_eq!(refused, "two: more than one figure is called one");
        assert_eq!(Sheet::read_all(folder.path()).unwrap()[0].figures.len(), 3);
        sheet("two", &["one", "other"]).write(folder.path()).unwrap();
    }

    #[test]
    fn what_is_no_sheet_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.json"), "{}").unwrap();
        let error = Sheet::read_all(folder.path()).unwrap_err().to_string();
        assert!(error.contains("x.json is no bench's sheet"), "{error}");
        assert!(Sheet::read_all(&folder.path().join("none")).is_err());
    }
}
