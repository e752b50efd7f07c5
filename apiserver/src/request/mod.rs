//! What a request asks for, read from its method, path and query; and who asks.
//!
//! Enter at [`RequestInfo::parse`]. Pure: neither the catalogue nor the store is known here, so a path to a resource
//! that does not exist parses as well as any (Kubernetes concept: "Kubernetes API Concepts", resource URIs).

mod query;
mod user;

pub use machinery::escapes::{escape, escape_path, is_well_escaped, read_form, unescape, write_form};
pub use query::Query;
pub use user::{
    ANONYMOUS, AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED, User, extra_key, header_text, service_account_groups,
};

use http::Method;
use machinery::selector::FieldSelector;

/// The attributes of a request that authorization, admission and routing decide by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, … for resources; the lower-case method otherwise.
    pub verb: String,
    /// Percent-decoded before it is split, as Go has it: a slash is one however it is written. Of a path whose escapes are
    /// broken, which is refused wherever it leads, the text that was sent.
    pub path: String,
    /// The decoded path where it is no text.
    pub path_bytes: Option<Vec<u8>>,
    /// False for `/version`, `/healthz`, discovery and the like.
    pub is_resource: bool,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// The path has more parts behind its subresource.
    pub goes_on: bool,
    /// The path says the verb, as the old ones of watches do.
    pub says_verb: bool,
    /// The path says a verb, and of what it does not say.
    pub lacks_kind: bool,
}

/// Subresources of a namespace itself; anything else behind a namespace's name is a resource inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self { verb: method.as_str().to_lowercase(), path: path.to_owned(), ..Self::default() };
        if path.contains('%') {
            match unescape(path) {
                Some(decoded) => info.take_path(decoded),
                None => return info,
            }
        }
        let path = std::mem::take(&mut info.path);
        info.read(method, &path, query);
        Self { path, ..info }
    }

    fn take_path(&mut self, decoded: Vec<u8>) {
        match String::from_utf8(decoded) {
            Ok(text) => self.path = text,
            Err(error) => {
                self.path = String::from_utf8_lossy(error.as_bytes()).into_owned();
                self.path_bytes = Some(error.into_bytes());
            }
        }
    }

    /// The decoded path as it came, to be passed on.
    pub fn raw_path(&self) -> &[u8] {
        self.path_bytes.as_deref().unwrap_or(self.path.as_bytes())
    }

    fn read(&mut self, method: &Method, path: &str, query: &Query) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let parts = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                self.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                self.group = (*group).to_owned();
                self.version = (*version).to_owned();
                rest
            }
            _ => return,
        };
        self.is_resource = true;
        let parts = self.take_verb(method, parts);
        self.take_resource(parts);
        self.refine_verb(query);
    }

    /// Reads the verb from the method; `/watch/` before the resource is the old way to ask for a watch, and `/proxy/` was
    /// one to ask for a connection.
    fn take_verb<'a>(&mut self, method: &Method, parts: &'a [&'a str]) -> &'a [&'a str] {
        self.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        }
        .to_owned();
        match parts {
            [verb @ ("watch" | "proxy"), rest @ ..] => {
                self.verb = (*verb).to_owned();
                self.says_verb = true;
                self.lacks_kind = rest.is_empty();
                rest
            }
            _ => parts,
        }
    }

    fn take_resource(&mut self, parts: &[&str]) {
        let parts = match parts {
            ["namespaces", namespace] => {
                self.namespace = (*namespace).to_owned();
                parts
            }
            ["namespaces", namespace, next, ..] => {
                self.namespace = (*namespace).to_owned();
                if NAMESPACE_SUBRESOURCES.contains(next) { parts } else { &parts[2..] }
            }
            _ => parts,
        };
        let mut parts = parts.iter();
        let mut next = || parts.next().map(|part| (*part).to_owned()).unwrap_or_default();
        self.resource = next();
        self.name = next();
        self.subresource = next();
        if self.verb == "proxy" {
            self.subresource.clear();
        }
        self.goes_on = parts.next().is_some();
    }

    fn refine_verb(&mut self, query: &Query) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_str() {
            "get" => {
                self.verb = if query.is_true("watch") { "watch" } else { "list" }.to_owned();
                self.name = single_name(query.get("fieldSelector").unwrap_or_default());
            }
            "delete" => self.verb = "deletecollection".to_owned(),
            _ => {}
        }
    }

    /// Whether the path itself names one object (a field selector may have put a name there for authorization).
    pub fn names_object(&self) -> bool {
        !self.name.is_empty() && !matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
    }

    /// Whether the path itself names one object to be watched.
    pub fn is_watch_of_one(&self) -> bool {
        self.says_verb && self.verb == "watch" && !self.name.is_empty()
    }

    /// `resource/subresource`, as RBAC rules write it.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The name that `metadata.name=x` selects, so that a right on one named object covers its list and watch. None of a
/// selector that cannot be read, nor one that no path could have.
fn single_name(field_selector: &str) -> String {
    let selector = FieldSelector::parse(field_selector).unwrap_or_default();
    let name = selector.exact_match("metadata.name").unwrap_or_default();
    let is_step = !matches!(name, "." | "..") && !name.contains(['/', '%']);
    if is_step { name.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::parse(&method, path, &Query::parse(query))
    }

    fn check(method: Method, uri: &str, expected: [&str; 7]) {
        let info = parse(method, uri);
        let found =
            [&info.verb, &info.group, &info.version, &info.namespace, &info.resource, &info.name, &info.subresource];
        assert_eq!(found, expected, "{uri}");
        assert!(info.is_resource);
    }

    #[test]
    fn reads_resource_paths() {
        check(Method::GET, "/api/v1/pods", ["list", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/namespaces/a/pods/b", ["get", "", "v1", "a", "pods", "b", ""]);
        check(Method::GET, "/api/v1/namespaces", ["list", "", "v1", "", "namespaces", "", ""]);
        check(Method::GET, "/api/v1/namespaces/a", ["get", "", "v1", "a", "namespaces", "a", ""]);
        check(Method::PUT, "/api/v1/namespaces/a/finalize", ["update", "", "v1", "a", "namespaces", "a", "finalize"]);
        check(Method::GET, "/api/v1/pods?watch", ["watch", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/pods?watch=0", ["list", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/watch/namespaces/a/pods", ["watch", "", "v1", "a", "pods", "", ""]);
        check(
            Method::GET,
            "/api/v1/pods?fieldSelector=metadata.name%3Dx&watch=1",
            ["watch", "", "v1", "", "pods", "x", ""],
        );
        check(
            Method::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            ["patch", "apps", "v1", "a", "deployments", "b", "scale"],
        );
        check(
            Method::GET,
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            ["get", "rbac.authorization.k8s.io", "v1", "", "clusterroles", "system:node", ""],
        );
        check(Method::GET, "/api/v1/namespaces/a%2Fpods/b", ["get", "", "v1", "a", "pods", "b", ""]);
        check(
            Method::DELETE,
            "/apis/apps/v1/deployments",
            ["deletecollection", "apps", "v1", "", "deployments", "", ""],
        );
    }

    #[test]
    fn parts_of_a_path_are_counted_as_they_stand() {
        check(Method::GET, "/api/v1//pods", ["get", "", "v1", "", "", "pods", ""]);
        check(Method::GET, "//api/v1/pods//", ["list", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/namespaces//pods", ["list", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/namespaces/a/pods//log", ["list", "", "v1", "a", "pods", "", "log"]);
        for (path, goes_on) in [
            ("/api/v1/namespaces/a/pods/b/status", false),
            ("/api/v1/namespaces/a/pods/b/status/x", true),
            ("/api/v1/namespaces/a/status/x", true),
            ("/api/v1/nodes/a/proxy//x", true),
        ] {
            assert_eq!(parse(Method::GET, path).goes_on, goes_on, "{path}");
        }
    }

    #[test]
    fn some_paths_say_the_verb() {
        check(Method::PUT, "/api/v1/watch/pods", ["watch", "", "v1", "", "pods", "", ""]);
        check(Method::GET, "/api/v1/proxy/nodes/n/x", ["proxy", "", "v1", "", "nodes", "n", ""]);
        for (path, is_watch) in [
            ("/api/v1/watch/pods/p", true),
            ("/api/v1/watch/pods?fieldSelector=metadata.name=p", false),
            ("/api/v1/pods?watch=1&fieldSelector=metadata.name=p", false),
            ("/api/v1/proxy/pods/p", false),
        ] {
            assert_eq!(parse(Method::GET, path).is_watch_of_one(), is_watch, "{path}");
        }
        for (path, lacks_kind) in [
            ("/api/v1/watch", true),
            ("//api/v1/watch//?x", true),
            ("/apis/apps/v1/proxy", true),
            ("/api/v1/watch/x", false),
            ("/apis/watch/proxy", false),
        ] {
            assert_eq!(parse(Method::GET, path).lacks_kind, lacks_kind, "{path}");
        }
    }

    #[test]
    fn a_selected_name_counts_as_the_selector_is_read() {
        for (method, selector, name) in [
            (Method::GET, "metadata.name=a,spec.nodeName=b", "a"),
            (Method::GET, "metadata.name!=x%5C,metadata.name=a", ""),
            (Method::GET, "metadata.name=a,bad", ""),
            (Method::GET, "metadata.name=a%2Fb", ""),
            (Method::DELETE, "metadata.name=a", ""),
        ] {
            let info = parse(method, &format!("/api/v1/pods?fieldSelector={selector}"));
            assert_eq!(info.name, name, "{selector}");
        }
    }

    #[test]
    fn reads_paths_with_a_proxy_as_all_others() {
        check(
            Method::GET,
            "/api/v1/namespaces/a/pods/https%3Ab%3A80/proxy/x%20y",
            ["get", "", "v1", "a", "pods", "https:b:80", "proxy"],
        );
        check(Method::GET, "/api/v1/namespaces/a/pods/proxy%2Db", ["get", "", "v1", "a", "pods", "proxy-b", ""]);
        check(Method::GET, "/api/v1/namespaces/a%2Fpods/proxy", ["get", "", "v1", "a", "pods", "proxy", ""]);
        assert_eq!(parse(Method::GET, "/health%7A/proxy").path, "/healthz/proxy");
    }

    #[test]
    fn a_paths_bytes_survive() {
        let info = parse(Method::GET, "/api/v1/nodes/n/proxy/%ff%2F");
        assert_eq!(info.raw_path(), b"/api/v1/nodes/n/proxy/\xff/");
        assert_eq!((info.path.as_str(), info.name.as_str()), ("/api/v1/nodes/n/proxy/\u{fffd}/", "n"));
        assert_eq!(parse(Method::GET, "/a%C3%BC").raw_path(), "/aü".as_bytes());
    }

    #[test]
    fn other_paths_are_not_resources() {
        for path in ["/version", "/api", "/apis/apps/v1", "/", "/api/v1/pods/%zz"] {
            let info = parse(Method::GET, path);
            assert!(!info.is_resource, "{path}");
            assert_eq!(info.verb, "get");
        }
    }
}
