//! Files of one volume that would lie over each other: words of warning.

use machinery::field::quote;
use machinery::meta;
use serde_json::Value;

/// A file's path in a volume and what it comes from, where a volume has several sources.
struct Placed {
    path: String,
    source: String,
}

impl Placed {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }

    fn shown(&self) -> String {
        match self.source.as_str() {
            "" => quote(&self.path),
            source => format!("{} ({source})", quote(&self.path)),
        }
    }

    /// One of them is, or lies below, the other.
    fn meets(&self, other: &Self) -> bool {
        let below = |one: &str, two: &str| one.strip_prefix(two).is_some_and(|rest| rest.starts_with('/'));
        self.path == other.path || below(&self.path, &other.path) || below(&other.path, &self.path)
    }
}

pub fn warnings(spec: &Value) -> Vec<String> {
    meta::list(spec, "volumes").iter().flat_map(of_volume).collect()
}

fn of_volume(volume: &Value) -> Vec<String> {
    let name = quote(meta::text(volume, "name"));
    let told = |what: &str, placed: Vec<Placed>| -> Vec<String> {
        overlaps(&placed).iter().map(|pair| format!("volume {name} ({what}): overlapping paths: {pair}")).collect()
    };
    let mut warnings = Vec::new();
    for (kind, words, field) in
        [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")]
    {
        let source = &volume[kind];
        if source.is_null() {
            continue;
        }
        let what = match field {
            "" => words.to_owned(),
            field => format!("{words} {}", quote(meta::text(source, field))),
        };
        warnings.extend(told(&what, items(source, "")));
    }
    let sources = meta::list(volume, "projected.sources");
    for _ in sources.iter().filter(|source| source.as_object().is_none_or(serde_json::Map::is_empty)) {
        warnings.push(format!("volume {name} (Projected) has no sources provided"));
    }
    warnings.extend(told("Projected", sources.iter().flat_map(projected).collect()));
    warnings
}

fn items(source: &Value, words: &str) -> Vec<Placed> {
    meta::list(source, "items").iter().map(|item| Placed::new(meta::text(item, "path"), words)).collect()
}

fn projected(source: &Value) -> Vec<Placed> {
    let named = |kind: &str, words: &str| match &source[kind] {
        Value::Null => Vec::new(),
        source => items(source, &format!("{words} {}", quote(meta::text(source, "name")))),
    };
    let mut placed = named("configMap", "ConfigMap");
    placed.extend(named("secret", "Secret"));
    placed.extend(items(&source["downwardAPI"], "DownwardAPI"));
    let mut one = |kind: &str, field: &str, words: &str| {
        if let Some(path) = source[kind][field].as_str() {
            placed.push(Placed::new(path, words));
        }
    };
    one("serviceAccountToken", "path", "ServiceAccountToken");
    let bundle = &source["clusterTrustBundle"];
    let name = bundle["name"].as_str().or_else(|| bundle["signerName"].as_str()).unwrap_or_default();
    one("clusterTrustBundle", "path", &format!("ClusterTrustBundle {}", quote(name)));
    one("podCertificate", "certificateChainPath", "PodCertificate chain");
    one("podCertificate", "keyPath", "PodCertificate key");
    one("podCertificate", "credentialBundlePath", "PodCertificate credential bundle");
    placed
}

fn overlaps(placed: &[Placed]) -> Vec<String> {
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
