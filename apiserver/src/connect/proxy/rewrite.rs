//! What a proxied request and answer look like on the other side: paths, headers, redirections.
//!
//! Pure; see [`Paths`] for the one thing that both directions share.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONNECTION, HOST, LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A request's path, cut where the backend's begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths<'a> {
    /// `/api/v1/…/proxy`.
    pub prefix: &'a str,
    /// What stands behind it, with its slash; empty when the request ends with `proxy`.
    pub rest: &'a str,
}

impl<'a> Paths<'a> {
    /// `name` is the object's, as the path has it. A backend's path may itself hold `/proxy/`: the first one behind the
    /// name counts.
    pub fn of(path: &'a str, resource: &str, name: &str) -> Option<Self> {
        let marker = format!("/{resource}/{name}/proxy");
        let end = path.find(&marker)? + marker.len();
        let (prefix, rest) = path.split_at(end);
        Some(Self { prefix, rest })
    }
}

/// The client's headers for the backend: not those of its own connection, and nothing that tells who it is to this
/// server.
pub fn request_headers(headers: &HeaderMap, paths: Paths<'_>, upgrade: bool) -> HeaderMap {
    let mut onward = without_connection(headers, upgrade);
    onward.remove(AUTHORIZATION);
    let secret =
        |name: &HeaderName| name.as_str().starts_with("impersonate-") || name.as_str().starts_with("x-remote-");
    let named: Vec<HeaderName> = onward.keys().filter(|name| secret(name)).cloned().collect();
    for name in named {
        onward.remove(name);
    }
    if let Ok(uri) = HeaderValue::from_str(&format!("{}{}", paths.prefix, paths.rest)) {
        onward.insert("x-forwarded-uri", uri);
    }
    onward
}

/// The backend's headers for the client; a redirection within the backend leads through the proxy again.
pub fn answer_headers(headers: &HeaderMap, paths: Paths<'_>, backend: &str, asked: &HeaderMap) -> HeaderMap {
    let mut onward = without_connection(headers, false);
    for name in OF_ANOTHER_ORIGIN {
        onward.remove(name);
    }
    let location = onward.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.and_then(|location| through_proxy(location, paths, backend, asked_host(asked)));
    if let Some(Ok(location)) = location.map(|location| HeaderValue::from_str(&location)) {
        onward.insert(LOCATION, location);
    }
    onward
}

/// What the backend lets other origins do is not for the API server's origin to say.
const OF_ANOTHER_ORIGIN: [HeaderName; 4] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
];

/// The server as the client names it.
pub fn asked_host(asked: &HeaderMap) -> &str {
    asked.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// Where a redirection, or a link of a page, leads through the proxy; `None`: where it leads as it stands. Meant are
/// absolute paths, of no server, of the backend, or of the server that the client asked (`host`), as upstream has it.
pub fn through_proxy(link: &str, paths: Paths<'_>, backend: &str, host: &str) -> Option<String> {
    let Reference { scheme, authority, path, rest } = Reference::parse(link);
    let to = authority.map_or("", |authority| authority.rsplit('@').next().unwrap_or_default());
    if !path.starts_with('/') || !(to.is_empty() || to == backend || to == host) {
        return None;
    }
    let origin = match (scheme, authority) {
        (Some(scheme), Some(authority)) if to == host => format!("{scheme}://{authority}"),
        (None, Some(authority)) if to == host => format!("//{authority}"),
        _ => String::new(),
    };
    match path.starts_with(paths.prefix) {
        true => Some(format!("{origin}{path}{rest}")),
        false => Some(format!("{origin}{}{rest}", joined(paths.prefix, path))),
    }
}

/// One path below another, without empty steps, `.` and `..`.
pub(super) fn joined(prefix: &str, path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in prefix.split('/').chain(path.split('/')) {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    let end = if path.ends_with('/') && !steps.is_empty() { "/" } else { "" };
    format!("/{}{end}", steps.join("/"))
}

/// A URL or a part of one, cut in pieces (RFC 3986, 4.1).
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    /// Query and fragment, with what begins them.
    rest: &'a str,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Self {
        let is_scheme = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphabetic())
                && text.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '+' | '-' | '.'))
        };
        let (scheme, behind) = match text.split_once(':') {
            Some((scheme, behind)) if is_scheme(scheme) => (Some(scheme), behind),
            _ => (None, text),
        };
        let cut = |text: &'a str, at: &[char]| text.split_at(text.find(at).unwrap_or(text.len()));
        let (authority, behind) = match behind.strip_prefix("//") {
            Some(behind) => {
                let (authority, behind) = cut(behind, &['/', '?', '#']);
                (Some(authority), behind)
            }
            None => (None, behind),
        };
        let (path, rest) = cut(behind, &['?', '#']);
        Self { scheme, authority, path, rest }
    }
}

/// Hop-by-hop headers (RFC 9110, 7.6.1) stay behind, but for those of an upgrade that both hops make.
pub fn without_connection(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut onward = headers.clone();
    let listed: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in listed.iter().map(String::as_str).chain(["keep-alive", "proxy-connection", "proxy-authenticate"]) {
        if name != "upgrade" {
            onward.remove(name);
        }
    }
    for name in [CONNECTION, UPGRADE, TE, TRAILER, TRANSFER_ENCODING] {
        onward.remove(name);
    }
    if let (true, Some(protocol)) = (upgrade, headers.get(UPGRADE)) {
        onward.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        onward.insert(UPGRADE, protocol.clone());
    }
    onward
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: Paths<'static> = Paths { prefix: "/api/v1/namespaces/n/pods/p:80/proxy", rest: "/x/" };

    #[test]
    fn paths_are_cut() {
        let whole = "/api/v1/namespaces/n/pods/p:80/proxy/x/proxy/y";
        let paths = Paths::of(whole, "pods", "p:80").unwrap();
        assert_eq!((paths.prefix, paths.rest), (PATHS.prefix, "/x/proxy/y"));
        assert_eq!(Paths::of("/api/v1/nodes/a/proxy", "nodes", "a").unwrap().rest, "");
    }

    #[test]
    fn headers_of_a_hop_stay_behind() {
        let headers: HeaderMap = [
            ("authorization", "Bearer x"),
            ("connection", "x-hop, Upgrade"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("impersonate-user", "root"),
            ("accept", "text/html"),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
        let plain = request_headers(&headers, PATHS, false);
        let mut names: Vec<&str> = plain.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "x-forwarded-uri"]);
        let upgraded = request_headers(&headers, PATHS, true);
        assert_eq!(
            (&upgraded[UPGRADE], &upgraded[CONNECTION]),
            (&"websocket".parse().unwrap(), &"Upgrade".parse().unwrap())
        );
    }

    #[test]
    fn redirections_lead_through_the_proxy() {
        let table = [
            ("/login?x=1#y", Some(format!("{}/login?x=1#y", PATHS.prefix))),
            ("http://10.1.0.2:80/a", Some(format!("{}/a", PATHS.prefix))),
            ("http://api:6443/a/", Some(format!("http://api:6443{}/a/", PATHS.prefix))),
            ("//api:6443/a", Some(format!("//api:6443{}/a", PATHS.prefix))),
            ("/a//./b/../c", Some(format!("{}/a/c", PATHS.prefix))),
            ("/api/v1/namespaces/n/pods/p:80/proxy/b", Some("/api/v1/namespaces/n/pods/p:80/proxy/b".to_owned())),
            ("http://elsewhere/a", None),
            ("//elsewhere/a", None),
            ("http://10.1.0.2:80", None),
            ("mailto:a@example.com", None),
            ("next", None),
            ("?x=/a", None),
        ];
        for (location, expected) in table {
            assert_eq!(through_proxy(location, PATHS, "10.1.0.2:80", "api:6443"), expected, "{location}");
        }
    }
}
