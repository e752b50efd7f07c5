//! Cases that are known to fail, with the reason, from a file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::catalogue;

/// Reasons by case.
pub(crate) type Known = BTreeMap<String, String>;

pub(crate) fn read(path: Option<&Path>) -> Result<Known> {
    let Some(path) = path else { return Ok(Known::new()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("read {}", path.display()))
}

/// Empty lines and such that begin with `#` are left out. A name that is no case is an error: the list would rot.
fn parse(text: &str) -> Result<Known> {
    let names: Vec<String> = catalogue::all().iter().map(catalogue::Entry::id).collect();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once(": ").with_context(|| format!("no reason: {line}"))?;
            ensure!(names.iter().any(|of| of == name), "no such case: {name}");
            Ok((name.to_owned(), reason.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_reasons_are_read_and_others_refused() {
        let known = parse("# why\n\ndiscovery/version_is_told: it says nothing\n").unwrap();
        assert_eq!(known["discovery/version_is_told"], "it says nothing");
        assert!(parse("discovery/version_is_told").unwrap_err().to_string().starts_with("no reason"));
        assert!(parse("discovery/none: x").unwrap_err().to_string().starts_with("no such case"));
    }

    /// The project's own list.
    #[test]
    fn the_list_of_this_project_can_be_read() {
        read(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/known.txt")))).unwrap();
    }
}
