//! A number that changes when a document would: cheaper than making all documents to name them by their hash.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use super::Custom;
use super::definitions::VALUES_FOLLOW;
use super::descriptions::WORDS;
use crate::catalogue::Resource;

/// Fingerprint of the v3 document of a group version, or, of all rows, of the v2 document. The same in every process of
/// one build.
pub fn fingerprint(group_version: Option<(&str, &str)>, rows: &[&Resource], custom: &Custom) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(tables());
    for row in rows {
        if group_version.is_some_and(|(group, version)| row.group != group || row.version != version) {
            continue;
        }
        format!("{row:?}").hash(&mut hasher);
        if let Some((name, definition)) = custom.get(&row.gvk()) {
            name.hash(&mut hasher);
            definition.to_string().hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// What every document is made of.
fn tables() -> u64 {
    static TABLES: OnceLock<u64> = OnceLock::new();
    *TABLES.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        crate::schema::tables().for_each(|text| text.hash(&mut hasher));
        WORDS.hash(&mut hasher);
        VALUES_FOLLOW.hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        hasher.finish()
    })
}
