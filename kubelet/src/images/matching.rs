//! Which images a login or a provider is for, and in what order logins are tried, as upstream's keyring has it. Pure.

use super::name;

/// Where Docker's clients file logins to Docker Hub.
const HUB: &str = "index.docker.io";

/// Those of the logins, each filed under a registry, that are for an image: the most specific ones first.
pub(super) fn choose<T>(logins: Vec<(String, T)>, image: &str) -> Vec<T> {
    let mut logins: Vec<_> = logins.into_iter().map(|(at, login)| (pattern(&at), login)).collect();
    logins.sort_by(|(a, _), (b, _)| b.cmp(a));
    let any = logins.iter().any(|(pattern, _)| fits(pattern, image));
    let is_of_hub = name::registry(image) == name::HUB;
    let is_for = |pattern: &str| if any { fits(pattern, image) } else { is_of_hub && pattern == HUB };
    logins.into_iter().filter(|(pattern, _)| is_for(pattern)).map(|(_, login)| login).collect()
}

/// The pattern in a URL: without scheme, and without the version of the protocol that Docker's clients write.
fn pattern(at: &str) -> String {
    let at = at.strip_prefix("https://").or_else(|| at.strip_prefix("http://")).unwrap_or(at);
    let Some((host, path)) = at.split_once('/') else { return at.to_owned() };
    match path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path) {
        "" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

/// Does an image lie below a pattern: a host, each of whose parts may have `*`, maybe with a port and a path?
pub(super) fn fits(pattern: &str, image: &str) -> bool {
    let (host, path) = pattern.split_once('/').unwrap_or((pattern, ""));
    let ((host, port), (image_host, image_port)) = (split_port(host), split_port(name::registry(image)));
    let (parts, image_parts): (Vec<&str>, Vec<&str>) = (host.split('.').collect(), image_host.split('.').collect());
    port == image_port
        && parts.len() == image_parts.len()
        && name::repository(image).starts_with(path)
        && parts.iter().zip(&image_parts).all(|(pattern, part)| part_fits(pattern, part))
}

/// The colons of an IPv6 address stand in brackets.
fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).unwrap_or((host, ""))
}

/// `*` stands for any run of characters. Who writes a pull secret writes the pattern: the time must not depend on how
/// many stars it has.
fn part_fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_parts() {
        for (pattern, image, wanted) in [
            ("registry.example", "registry.example/a:1", true),
            ("*.example", "registry.example/a:1", true),
            ("*.example", "a.registry.example/a:1", false),
            ("*.*.example", "a.registry.example/a:1", true),
            ("app*.example", "app-1.example/a", true),
            ("app*1*.example", "app-2.example/a", false),
            ("*1*2.example", "app-1-2.example/a", true),
            ("a*a.example", "a.example/a", false),
            ("registry.example/team", "registry.example/team/a", true),
            ("registry.example/team", "registry.example/other/a", false),
            ("registry.example/team/", "registry.example/teams/a", false),
            ("registry.example/a:1", "registry.example/a:1", false),
            ("registry.example:5000", "registry.example:5000/a", true),
            ("registry.example", "registry.example:5000/a", false),
            ("[::1]:5000", "[::1]:5000/a", true),
            ("docker.io", "nginx", true),
            ("docker.io/library", "nginx:1", true),
            ("docker.io/team", "nginx:1", false),
        ] {
            assert_eq!(fits(pattern, image), wanted, "{pattern} {image}");
        }
        assert!(!part_fits(&"*a".repeat(500), &"a".repeat(499)), "and it does not take ages");
    }

    #[test]
    fn the_most_specific_login_comes_first() {
        let of = |patterns: &[&str], image: &str| -> Vec<String> {
            choose(patterns.iter().map(|&it| (it.to_owned(), it.to_owned())).collect(), image)
        };
        let several = [
            "registry.example",
            "*.example",
            "other.example",
            "https://registry.example/v2/team/",
            "registry.example/te",
        ];
        let found = ["https://registry.example/v2/team/", "registry.example/te", "registry.example", "*.example"];
        assert_eq!(of(&several, "registry.example/team/a:1"), found);
        assert_eq!(of(&several, "registry.example/a:1"), ["registry.example", "*.example"]);
        let hub = ["https://index.docker.io/v1/", "registry.example"];
        assert_eq!(of(&hub, "team/a:1"), [hub[0]], "where nothing else is for Docker Hub");
        assert_eq!(of(&hub, "index.docker.io/team/a:1"), [hub[0]]);
        assert_eq!(of(&["index.docker.io", "docker.io"], "nginx"), ["docker.io"]);
    }
}
