//! What a proxied request and answer look like on the other side: paths, headers, redirections.
//!
//! Pure; see [`Paths`] for the one thing that both directions share.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONNECTION, HOST, LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http_body::PRIVATE;

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

pub const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's headers for the backend: not those of its own connection. Who it is to this server was taken out before;
/// what it says of host and protocol stays, and what was asked for is told of all but upgrades, as upstream has it.
pub fn request_headers(headers: &HeaderMap, paths: Paths<'_>, peer: Option<IpAddr>, upgrade: bool) -> HeaderMap {
    let mut onward = without_connection(headers, upgrade);
    peer.into_iter().for_each(|peer| add_sender(&mut onward, peer));
    let uri = HeaderValue::from_str(&joined(paths.prefix, paths.rest));
    if let (Ok(uri), false) = (uri, upgrade) {
        onward.insert(FORWARDED_URI, uri);
    }
    onward
}

/// Adds who sent a request to those through whom it came.
pub fn add_sender(headers: &mut HeaderMap, peer: IpAddr) {
    let before = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).map(<[u8]>::to_vec);
    let all: Vec<Vec<u8>> = before.chain([peer.to_string().into_bytes()]).collect();
    if let Ok(value) = HeaderValue::from_bytes(&all.join(b", ".as_slice())) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// The backend's headers for the client; a redirection within the backend leads through the proxy again.
pub fn answer_headers(headers: &HeaderMap, paths: Paths<'_>, backend: &str, asked: &HeaderMap) -> HeaderMap {
    let mut onward = of_backend(headers);
    let location = onward.get(LOCATION).and_then(|location| location.to_str().ok());
    let location = location.and_then(|location| through_proxy(location, paths, backend, asked_host(asked)));
    if let Some(Ok(location)) = location.map(|location| HeaderValue::from_str(&location)) {
        onward.insert(LOCATION, location);
    }
    onward
}

/// A backend's headers for the client, of any proxy here.
pub fn of_backend(headers: &HeaderMap) -> HeaderMap {
    let mut onward = without_connection(headers, false);
    for name in OF_ANOTHER_ORIGIN {
        onward.remove(name);
    }
    // Before what the backend says, which does not know that only some may read this.
    let said: Vec<HeaderValue> = onward.get_all(CACHE_CONTROL).iter().cloned().collect();
    onward.insert(CACHE_CONTROL, PRIVATE);
    onward.extend(said.into_iter().map(|value| (CACHE_CONTROL, value)));
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
pub fn joined(prefix: &str, path: &str) -> String {
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
    let always = ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"];
    for name in listed.iter().map(String::as_str).chain(always) {
        if name != "upgrade" {
            onward.remove(name);
        }
    }
    for name in [CONNECTION, UPGRADE, TE, TRAILER, TRANSFER_ENCODING] {
        onward.remove(name);
    }
    if upgrade {
        onward.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        onward.extend(headers.get(UPGRADE).map(|protocol| (UPGRADE, protocol.clone())));
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
            ("proxy-authorization", "Basic x"),
            ("connection", "x-hop, Upgrade"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("accept", "text/html"),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
        let plain = request_headers(&headers, PATHS, None, false);
        let mut names: Vec<&str> = plain.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "x-forwarded-uri"]);
        let upgraded = request_headers(&headers, PATHS, None, true);
        assert_eq!(
            (&upgraded[UPGRADE], &upgraded[CONNECTION]),
            (&"websocket".parse().unwrap(), &"Upgrade".parse().unwrap())
        );
    }

    #[test]
    fn the_backend_is_told_who_asked_and_for_what() {
        let said =
            [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-host", "a"), ("x-forwarded-uri", "/other")].into_iter();
        let headers = said.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
        let peer = Some(IpAddr::from([127, 0, 0, 1]));
        let paths = Paths { rest: "//x/../y/", ..PATHS };
        let told = |upgrade, name: &str| request_headers(&headers, paths, peer, upgrade)[name].clone();
        let uri = format!("{}/y/", PATHS.prefix);
        for (upgrade, uri) in [(false, uri.as_str()), (true, "/other")] {
            assert_eq!(told(upgrade, "x-forwarded-for"), "192.0.2.9, 127.0.0.1");
            assert_eq!(told(upgrade, "x-forwarded-uri"), uri);
            assert_eq!(told(upgrade, "x-forwarded-host"), "a");
        }
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
