//! The name of an image, by the grammar of the distribution's references: `[host[:port]/]path[:tag][@digest]`.

const HUB: &str = "docker.io";
const PATH_LENGTH_MAX: usize = 255;

/// An image with the tag `latest` is pulled each time, and so is one with neither tag nor digest; what is no reference has
/// no tag.
pub fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    if is_identifier(image) || !digest.is_none_or(is_digest) {
        return false;
    }
    let (host, rest) = split_host(name);
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    let is_official = [HUB, "index.docker.io"].contains(&host) && !path.contains('/');
    // A host that is none may still be the first part of a path, and is then as long as it is.
    let (is_host, official) = (is_host(host), if is_official { "library/" } else { "" });
    let length = path.len() + official.len() + if is_host { 0 } else { host.len() + "/".len() };
    let is_path = length <= PATH_LENGTH_MAX && path.split('/').all(is_component) && (is_host || is_component(host));
    is_path && tag.map_or(digest.is_none(), |tag| tag == "latest")
}

fn is_digest(digest: &str) -> bool {
    let (sum, length) = match digest.split_once(':') {
        Some(("sha256", sum)) => (sum, 64),
        Some(("sha384", sum)) => (sum, 96),
        Some(("sha512", sum)) => (sum, 128),
        _ => return false,
    };
    sum.len() == length && is_lower_hex(sum)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What looks like an image's id is none of its names.
fn is_identifier(image: &str) -> bool {
    image.len() == 64 && is_lower_hex(image)
}

/// The first part is a host when it looks like one; all else is found at the hub.
fn split_host(image: &str) -> (&str, &str) {
    match image.split_once('/') {
        Some((host, rest))
            if host == "localhost" || host.contains(['.', ':']) || host.chars().any(char::is_uppercase) =>
        {
            (host, rest)
        }
        _ => (HUB, image),
    }
}

fn is_host(host: &str) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_number));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        let is_edge = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(is_edge) && label.ends_with(is_edge) && label.chars().all(|c| is_edge(c) || c == '-')
    };
    name.split('.').all(is_label) && port.is_none_or(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Words with a separator between two: `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text.split(is_word).filter(|between| !between.is_empty());
    text.starts_with(is_word)
        && text.ends_with(is_word)
        && separators.all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_decides_when_to_pull() {
        for image in [
            "nginx",
            "nginx:latest",
            "reg:5000/a/nginx",
            "localhost/a",
            "a_b.c/d",
            "a__b--c/d",
            "Reg/a",
            "[::1]:80/a",
            "[::1]/a",
            "1.2.3.4/a/b:latest",
            &format!("nginx:latest@sha256:{}", "0".repeat(64)),
            &format!("reg:5000/nginx:latest@sha512:{}", "a".repeat(128)),
            &format!("a.b/{}", "a".repeat(255)),
            &format!("a_b.c/{}", "a".repeat(249)),
        ] {
            assert!(is_latest(image), "{image}");
        }
        for image in [
            "nginx:1.27",
            "nginx@sha256:00",
            "nginx:latest@sha256:00",
            &format!("nginx@sha256:{}", "0".repeat(64)),
            &format!("nginx:1@sha256:{}", "0".repeat(64)),
            &format!("nginx:latest@sha256:{}", "A".repeat(64)),
            &format!("nginx:latest@sha384:{}", "a".repeat(64)),
            &format!("nginx:latest@md5:{}", "a".repeat(32)),
            &format!("a_b.c/{}", "a".repeat(250)),
            "reg:5000/nginx:1",
            "",
            "/dev/termination-log",
            ".a.b/c",
            "a//b",
            "a/",
            "A",
            "reg/A",
            "a..b",
            "a___b",
            "a._b",
            "reg:x/a",
            "a-b_/c",
            "a b",
            "a/b:latest:latest",
            "é",
            &"a".repeat(64),
            &"a".repeat(256),
        ] {
            assert!(!is_latest(image), "{image}");
        }
    }
}
