//! No handler is written for one kind of the stored resources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files that may name a kind: subresources with a shape of their own, and reviews, which are not stored.
const SHAPED: [&str; 6] = [
    "subresource/binding.rs",
    "subresource/eviction.rs",
    "subresource/scale.rs",
    "subresource/token.rs",
    "review.rs",
    "subresource/mod.rs",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

#[test]
fn the_verbs_name_no_kind() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest");
    let mut sources = Vec::new();
    files(&folder, &mut sources);
    let mut kinds = BTreeSet::new();
    for row in machinery::catalogue::BUILTIN.iter().filter(|row| row.storage.is_some()) {
        kinds.extend([format!("\"{}\"", row.kind), format!("\"{}\"", row.plural)]);
    }
    let mut handlers = Vec::new();
    for path in sources {
        let name = path.strip_prefix(&folder).expect("below the folder").display().to_string();
        if SHAPED.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // No kind of owner is an Event: upstream's rule for the metadata of all kinds.
        let is_handler = |kind: &&String| code.contains(*kind) && !(name == "system.rs" && *kind == "\"Event\"");
        handlers.extend(kinds.iter().filter(is_handler).map(|kind| format!("{name} names {kind}")));
    }
    assert!(handlers.is_empty(), "{handlers:?}");
}
