//! What a proxied request and answer look like on the other side: paths, headers, redirections.
//!
//! Pure; see [`Paths`] for the one thing that both directions share.

use http::header::{AUTHORIZATION, CONNECTION, HOST, LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

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
    let host = asked.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let location = onward.get(LOCATION).and_then(|location| location.to_str().ok());
    if let Some(Ok(location)) =
        location.map(|location| HeaderValue::from_str(&redirection(location, paths, backend, host)))
    {
        onward.insert(LOCATION, location);
    }
    onward
}

fn redirection(location: &str, paths: Paths<'_>, backend: &str, host: &str) -> String {
    let Ok(uri) = location.parse::<Uri>() else { return location.to_owned() };
    let to = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if !location.contains("://") && !location.starts_with('/') || !(to.is_empty() || to == backend || to == host) {
        return location.to_owned();
    }
    let origin = match uri.scheme_str() {
        Some(scheme) if to == host && !host.is_empty() => format!("{scheme}://{to}"),
        _ => String::new(),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if path.starts_with(paths.prefix) { format!("{origin}{path}") } else { format!("{origin}{}{path}", paths.prefix) }
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
            ("/login?x=1", format!("{}/login?x=1", PATHS.prefix)),
            ("http://10.1.0.2:80/a", format!("{}/a", PATHS.prefix)),
            ("http://api:6443/a", format!("http://api:6443{}/a", PATHS.prefix)),
            ("http://elsewhere/a", "http://elsewhere/a".to_owned()),
            ("next", "next".to_owned()),
            ("/api/v1/namespaces/n/pods/p:80/proxy/b", "/api/v1/namespaces/n/pods/p:80/proxy/b".to_owned()),
        ];
        for (location, expected) in table {
            assert_eq!(redirection(location, PATHS, "10.1.0.2:80", "api:6443"), expected, "{location}");
        }
    }
}
