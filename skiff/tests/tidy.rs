//! Rules of the house that no compiler checks: who may depend on whom, and how large things may grow.
//!
//! ARCHITECTURE.md gives the reasons. A file or function over its limit is listed in `tidy.allowed` with its size and
//! a reason: it may shrink and not grow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// The components: libraries that meet only through the Kubernetes API.
const COMPONENTS: [&str; 7] = ["apiserver", "controllers", "dns", "kubelet", "proxy", "router", "scheduler"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Crates of this workspace that each of its crates depends on, tests aside.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(|package| text(&package["name"])).collect();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let shipped = all.filter(|dependency| dependency["kind"] != "dev");
        shipped.map(|dependency| text(&dependency["name"])).filter(|name| ours.contains(name)).collect()
    };
    packages.iter().map(|package| (text(&package["name"]), of(package))).collect()
}

fn allowed(name: &str) -> Vec<&'static str> {
    match name {
        "skiff" => [&COMPONENTS[..], &["component", "machinery", "oci-archive", "pause"]].concat(),
        "component" | "conformance" => vec!["machinery"],
        "testbed" => vec!["oci-archive"],
        "drill" => vec!["component", "testbed"],
        name if COMPONENTS.contains(&name) => vec!["component", "machinery"],
        _ => vec![],
    }
}

#[test]
fn arrows_between_crates_run_one_way() {
    let dependencies = dependencies();
    for component in COMPONENTS {
        assert!(dependencies.contains_key(component), "{component} is a crate of the workspace");
    }
    for (name, used) in dependencies {
        let allowed: BTreeSet<String> = allowed(&name).into_iter().map(String::from).collect();
        let wrong: Vec<_> = used.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}: see ARCHITECTURE.md");
    }
}

/// Rust files that git knows, by their path from the root.
fn sources() -> Vec<(String, String)> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let read = |path: &str| Some((path.to_owned(), std::fs::read_to_string(root().join(path)).ok()?));
    let sources: Vec<_> = list.lines().filter_map(read).collect();
    assert!(!sources.is_empty(), "git lists the sources");
    sources
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("_test.rs")
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| !is_test(path) && !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "without a header of what they are, where to enter and what they refuse: {silent:#?}");
}

/// Functions by their rustfmt shape: from the line with `fn` to the closing brace at the same indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indentation = &line[..line.len() - line.trim_start().len()];
        let Some(name) = function_name(line.trim_start()) else { continue };
        let end = format!("{indentation}}}");
        let body = lines[start..].iter().take_while(|line| **line != end);
        // A declaration without a body ends at its semicolon.
        if lines[start..].iter().take(20).find(|line| line.ends_with(['{', ';', '}'])).is_some_and(|l| l.ends_with('{'))
        {
            found.push((name, body.count() + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    const WORDS: [&str; 7] = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let mut words = line.split_whitespace().skip_while(|word| WORDS.contains(word) || word.starts_with('"'));
    if words.next()? != "fn" {
        return None;
    }
    Some(words.next()?.split(['(', '<']).next()?.to_owned())
}

/// What `tidy.allowed` permits: a path, or `path function`, and its lines.
fn exceptions() -> BTreeMap<String, usize> {
    let list = std::fs::read_to_string(root().join("skiff/tests/tidy.allowed")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let parse = |line: &str| {
        let (place, rest) = line.split_once(" = ").unwrap_or_else(|| panic!("no size in {line:?}"));
        let (size, reason) = rest.split_once(": ").unwrap_or_else(|| panic!("no reason in {line:?}"));
        assert!(!reason.trim().is_empty(), "no reason in {line:?}");
        (place.to_owned(), size.parse().unwrap_or_else(|_| panic!("no size in {line:?}")))
    };
    lines.map(parse).collect()
}

#[test]
fn shapes_stay_small() {
    let exceptions = exceptions();
    let mut too_large = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let file = (path.clone(), text.lines().count(), FILE_LINES_MAX);
        let functions =
            functions(text).into_iter().map(|(name, lines)| (format!("{path} {name}"), lines, FUNCTION_LINES_MAX));
        for (place, lines, limit) in functions.chain([file]) {
            if lines > limit.max(exceptions.get(&place).copied().unwrap_or_default()) {
                too_large.push(format!("{place} = {lines}: "));
            }
        }
    }
    assert!(too_large.is_empty(), "split these, or say why not in skiff/tests/tidy.allowed:\n{}", too_large.join("\n"));
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub(crate) async fn long(\n        a: u8,\n    ) -> u8 {\n        a\n    }\n\n    fn short() {}\n}\nfn next() {\n}\n";
    assert_eq!(functions(text), [("long".to_owned(), 5), ("next".to_owned(), 2)]);
}
