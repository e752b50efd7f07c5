//! `skiff-figures FOLDER`: joins what benches left in a folder to one table, one file and one picture.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use figures::{Sheet, table};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder] = arguments.as_slice() else { bail!("usage: skiff-figures FOLDER") };
    let folder = Path::new(folder);
    let sheets = Sheet::read_all(folder)?;
    ensure!(!sheets.is_empty(), "no bench has left anything in {}", folder.display());
    println!("\n{}", table::all(&sheets));
    Sheet::join(folder, &sheets)
}
