//! Image names: registry, path, tag and digest. Pure.

use std::borrow::Cow;

/// Adds `:latest` to a name without tag and digest, and refuses what is no name.
///
/// # Errors
/// Upstream's words.
pub fn with_default_tag(image: &str) -> Result<String, String> {
    let fail = |why: &str| Err(format!("couldn't parse image name {image:?}: {why}"));
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (path, tag) = split_tag(name);
    let (registry, repository) = split_registry(path);
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        // One word is short for an image of Docker Hub's own.
        let folder = if registry.is_none() && !repository.contains('/') { "library/" } else { "" };
        return fail(&format!("invalid reference format: repository name ({folder}{repository}) must be lowercase"));
    }
    let is_tag = |tag: &str| {
        (1..=128).contains(&tag.len()) && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let registry_ok =
        registry.is_none_or(|registry| registry.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c)));
    let digest_ok = digest.is_none_or(|digest| digest.split_once(':').is_some_and(|(_, hex)| hex.len() >= 32));
    if !repository.split('/').all(is_part) || !tag.is_none_or(is_tag) || !registry_ok || !digest_ok {
        return fail("invalid reference format");
    }
    if tag.is_none() && digest.is_none() { Ok(format!("{image}:latest")) } else { Ok(image.to_owned()) }
}

/// The registry of names that name none.
pub const HUB: &str = "docker.io";

/// The registry that a name is pulled from, as credentials are filed under.
pub fn registry(image: &str) -> &str {
    match split_registry(without_tag(image)).0 {
        None | Some("index.docker.io") => HUB,
        Some(registry) => registry,
    }
}

/// The path of the image in its registry: one word is short for an image of Docker Hub's own.
pub fn repository(image: &str) -> Cow<'_, str> {
    let repository = split_registry(without_tag(image)).1;
    if registry(image) == HUB && !repository.contains('/') {
        return Cow::Owned(format!("library/{repository}"));
    }
    Cow::Borrowed(repository)
}

/// The name alone, as it is written, without tag and digest.
pub fn without_tag(image: &str) -> &str {
    split_tag(image.split('@').next().unwrap_or(image)).0
}

fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    }
}

/// The first part is a registry if it could not be a folder: it has a dot or a port, or is `localhost`.
fn split_registry(path: &str) -> (Option<&str>, &str) {
    match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_default_tag() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        for (image, wanted) in [
            ("nginx", Some("nginx:latest")),
            ("nginx:1", Some("nginx:1")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("registry.example/a:v1", Some("registry.example/a:v1")),
            (digest.as_str(), Some(digest.as_str())),
            ("Nginx", None),
            ("a b", None),
            ("", None),
            ("nginx:", None),
        ] {
            assert_eq!(with_default_tag(image).ok().as_deref(), wanted, "{image}");
        }
        let words = "couldn't parse image name \"Nginx:1\": invalid reference format: repository name (library/Nginx) must \
                     be lowercase";
        assert_eq!(with_default_tag("Nginx:1").expect_err("no name"), words);
        assert_eq!(without_tag("localhost:5000/a:1@sha256:aa"), "localhost:5000/a");
        assert_eq!(registry("nginx:1"), "docker.io");
        assert_eq!(registry("localhost:5000/a"), "localhost:5000");
    }
}
