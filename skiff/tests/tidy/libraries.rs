//! The libraries of others: their licences, versions and whether they are used at all. `deny.toml` at the root says what
//! is allowed, in the form that cargo-deny reads too; here it is checked without that tool, which takes minutes to build.
//! Advisories are left to it: they need the network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::licences::satisfies;
use super::{metadata, packages, root, sources, text};

/// What is built for the machines that Skiff runs on.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The rows of a list in `deny.toml`, each on a line of its own: what stands between quotes.
fn rows(section: &str, list: &str) -> Vec<Vec<String>> {
    let file = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let section = file.split(&format!("[{section}]\n")).nth(1).unwrap_or_else(|| panic!("deny.toml: no [{section}]"));
    let section = section.split("\n[").next().unwrap_or_default();
    let list = section.split(&format!("{list} = [\n")).nth(1).unwrap_or_else(|| panic!("deny.toml: no {list}"));
    let lines = list.lines().take_while(|line| *line != "]").filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect()).collect()
}

/// The packages that are built, by the lock file.
fn built() -> Vec<Value> {
    let metadata = metadata(&["--filter-platform", TARGET]);
    let resolved = metadata["resolve"]["nodes"].as_array().unwrap();
    let ids: BTreeSet<&str> = resolved.iter().map(|node| text(node, "id")).collect();
    packages(&metadata).iter().filter(|package| ids.contains(text(package, "id"))).cloned().collect()
}

#[test]
fn licences_are_allowed() {
    let allowed: BTreeSet<String> = rows("licenses", "allow").into_iter().flatten().collect();
    let mut exceptions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mut row in rows("licenses", "exceptions") {
        let name = row.remove(0);
        exceptions.insert(name, row);
    }
    for package in built() {
        let (name, licence) = (text(&package, "name"), text(&package, "license"));
        let excepted = exceptions.remove(name).unwrap_or_default();
        let allows = |one: &str| allowed.contains(one) || excepted.iter().any(|licence| licence == one);
        assert!(satisfies(licence, &allows), "{name} has licence {licence:?}: see deny.toml");
    }
    assert!(exceptions.is_empty(), "deny.toml has exceptions for what is not there: {exceptions:?}");
}

#[test]
fn a_library_is_there_once() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in built() {
        versions.entry(text(&package, "name").to_owned()).or_default().insert(text(&package, "version").to_owned());
    }
    let banned = rows("bans", "deny");
    let there: Vec<_> = banned.iter().filter(|row| versions.contains_key(&row[0])).collect();
    assert!(there.is_empty(), "deny.toml bans these: {there:?}");
    let skipped: BTreeSet<String> = rows("bans", "skip").into_iter().map(|row| row[0].clone()).collect();
    let twice: BTreeSet<String> = versions
        .iter()
        .filter(|(_, versions)| versions.len() > 1)
        .flat_map(|(name, versions)| versions.iter().map(move |version| format!("{name}@{}", series(version))))
        .collect();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for version in twice.difference(&skipped) {
        *open.entry(version.split('@').next().unwrap_or_default()).or_default() += 1;
    }
    let wrong: Vec<_> = open.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(wrong.is_empty(), "in more than one version; use one, or say in deny.toml why not: {wrong:?}");
    let stale: Vec<_> = skipped.difference(&twice).collect();
    assert!(stale.is_empty(), "deny.toml skips what is no longer twice there: {stale:?}");
}

/// A version without what changes nothing for its users: `0.22.1` is of `0.22`, `3.0.6` of `3`.
fn series(version: &str) -> String {
    let mut parts = version.split('.');
    match (parts.next(), parts.next()) {
        (Some("0"), Some(minor)) => format!("0.{minor}"),
        (Some(major), _) => major.to_owned(),
        (None, _) => String::new(),
    }
}

#[test]
fn every_dependency_is_used() {
    let (metadata, sources) = (metadata(&["--no-deps"]), sources());
    let mut unused = Vec::new();
    for package in packages(&metadata) {
        let folder = Path::new(text(package, "manifest_path")).parent().unwrap();
        let folder = format!("{}/", folder.strip_prefix(root()).unwrap().display());
        let own: Vec<_> = sources.iter().filter_map(|(path, text)| Some((path.strip_prefix(&folder)?, text))).collect();
        for dependency in package["dependencies"].as_array().unwrap() {
            let is_seen_in = |path: &str| match text(dependency, "kind") {
                "dev" => true,
                "build" => !path.starts_with("src/") && !path.starts_with("tests/"),
                _ => path.starts_with("src/"),
            };
            let name = [text(dependency, "rename"), text(dependency, "name")].into_iter().find(|name| !name.is_empty());
            let name = name.unwrap_or_default().replace('-', "_");
            if !own.iter().any(|(path, text)| is_seen_in(path) && names(text, &name)) {
                unused.push(format!("{}: {name}", text(package, "name")));
            }
        }
    }
    assert!(unused.is_empty(), "dependencies that no source names: {unused:#?}");
}

/// Whether the source has a path that begins with the crate.
fn names(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(at, _)| {
        let before = source[..at].chars().next_back();
        let after = &source[at + name.len()..];
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            && (!source[..at].ends_with("::") || source[..at].ends_with("(::"));
        begins && (after.starts_with("::") || (source[..at].ends_with("use ") && after.starts_with([';', ' '])))
    })
}

#[test]
fn names_are_found_where_a_path_begins() {
    for used in ["use http::Uri;", "fn f() -> http::Uri", "use http;", "#[http::x]", "use http as h;"] {
        assert!(names(used, "http"), "{used}");
    }
    for unused in ["crate::http::Uri", "let http = 1;", "https::x", "my_http::x", "// http"] {
        assert!(!names(unused, "http"), "{unused}");
    }
}
