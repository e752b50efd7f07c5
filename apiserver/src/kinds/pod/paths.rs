//! Files of one volume that would lie over each other: words of warning.

use std::fmt;

use machinery::field::quote;
use machinery::meta;
use serde_json::Value;

/// What a file comes from: `Secret "s"`, or words alone.
#[derive(Clone, Copy)]
struct Source<'a> {
    words: &'static str,
    name: Option<&'a str>,
}

impl<'a> Source<'a> {
    fn plain(words: &'static str) -> Self {
        Self { words, name: None }
    }

    fn named(words: &'static str, name: &'a str) -> Self {
        Self { words, name: Some(name) }
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words)?;
        self.name.map_or(Ok(()), |name| write!(f, " {}", quote(name)))
    }
}

/// A file's path in a volume and what it comes from, where a volume has several sources.
struct Placed<'a> {
    path: &'a str,
    source: Option<Source<'a>>,
}

impl<'a> Placed<'a> {
    fn new(path: &'a str, source: Option<Source<'a>>) -> Self {
        Self { path: path.trim_end_matches('/'), source }
    }

    fn shown(&self) -> String {
        match self.source {
            None => quote(self.path),
            Some(source) => format!("{} ({source})", quote(self.path)),
        }
    }

    /// One of them is, or lies below, the other.
    fn meets(&self, other: &Self) -> bool {
        let below = |one: &str, two: &str| one.strip_prefix(two).is_some_and(|rest| rest.starts_with('/'));
        self.path == other.path || below(self.path, other.path) || below(other.path, self.path)
    }
}

pub fn warnings(spec: &Value) -> Vec<String> {
    meta::list(spec, "volumes").iter().flat_map(of_volume).collect()
}

fn of_volume(volume: &Value) -> Vec<String> {
    let name = meta::text(volume, "name");
    let told = |what: Source<'_>, placed: &[Placed<'_>]| -> Vec<String> {
        let told = |pair| format!("volume {} ({what}): overlapping paths: {pair}", quote(name));
        overlaps(placed).into_iter().map(told).collect()
    };
    let mut warnings = Vec::new();
    for (kind, words, field) in [
        ("configMap", "ConfigMap", Some("name")),
        ("secret", "Secret", Some("secretName")),
        ("downwardAPI", "DownwardAPI", None),
    ] {
        let source = &volume[kind];
        let what = Source { words, name: field.map(|field| meta::text(source, field)) };
        warnings.extend(told(what, &items(source, None).collect::<Vec<_>>()));
    }
    let sources = meta::list(volume, "projected.sources");
    for _ in sources.iter().filter(|source| source.as_object().is_none_or(serde_json::Map::is_empty)) {
        warnings.push(format!("volume {} (Projected) has no sources provided", quote(name)));
    }
    let placed: Vec<Placed<'_>> = sources.iter().flat_map(projected).collect();
    warnings.extend(told(Source::plain("Projected"), &placed));
    warnings
}

fn items<'a>(of: &'a Value, source: Option<Source<'a>>) -> impl Iterator<Item = Placed<'a>> {
    meta::list(of, "items").iter().map(move |item| Placed::new(meta::text(item, "path"), source))
}

fn projected(source: &Value) -> Vec<Placed<'_>> {
    let mut placed = Vec::new();
    for (kind, words) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        placed.extend(items(&source[kind], Some(Source::named(words, meta::text(&source[kind], "name")))));
    }
    placed.extend(items(&source["downwardAPI"], Some(Source::plain("DownwardAPI"))));
    let bundle = &source["clusterTrustBundle"];
    let bundle_name = bundle["name"].as_str().or_else(|| bundle["signerName"].as_str()).unwrap_or_default();
    for (kind, field, source_of) in [
        ("serviceAccountToken", "path", Source::plain("ServiceAccountToken")),
        ("clusterTrustBundle", "path", Source::named("ClusterTrustBundle", bundle_name)),
        ("podCertificate", "certificateChainPath", Source::plain("PodCertificate chain")),
        ("podCertificate", "keyPath", Source::plain("PodCertificate key")),
        ("podCertificate", "credentialBundlePath", Source::plain("PodCertificate credential bundle")),
    ] {
        placed.extend(source[kind][field].as_str().map(|path| Placed::new(path, Some(source_of))));
    }
    placed
}

fn overlaps(placed: &[Placed<'_>]) -> Vec<String> {
    let mut pairs = Vec::new();
    for (position, one) in placed.iter().enumerate().filter(|(_, one)| !one.path.is_empty()) {
        let before = placed[..position].iter().filter(|earlier| !earlier.path.is_empty() && one.meets(earlier));
        pairs.extend(before.map(|earlier| format!("{} with {}", one.shown(), earlier.shown())));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_over_each_other_are_told() {
        let told = |volume: Value| warnings(&json!({"volumes": [volume]}));
        let item = |path: &str| json!({"key": "k", "path": path});
        assert_eq!(
            told(json!({"name": "v", "configMap": {"name": "c", "items": [item("a"), item("a/b"), item("ab")]}})),
            ["volume \"v\" (ConfigMap \"c\"): overlapping paths: \"a/b\" with \"a\""]
        );
        let sources = json!([
            {"secret": {"name": "s", "items": [item("token")]}}, {"serviceAccountToken": {"path": "token"}}, {},
        ]);
        assert_eq!(
            told(json!({"name": "v", "projected": {"sources": sources}})),
            [
                "volume \"v\" (Projected) has no sources provided",
                "volume \"v\" (Projected): overlapping paths: \"token\" (ServiceAccountToken) with \"token\" (Secret \"s\")",
            ]
        );
    }
}
