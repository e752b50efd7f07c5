//! `/flagz` and `/statusz`: what a component was started with, and since when it runs (Kubernetes reference: "z-pages").
//!
//! Text for people, or a structured form for who asks for it by kind and version. Enter at [`ZPages::page`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use machinery::status::Status;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::metrics;
use crate::version::{GIT_VERSION, GO_VERSION, MAJOR, MINOR};

const GROUP: &str = "config.k8s.io";
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
const DEPRECATED: &str = "v1alpha1";
const FLAGS: &str = "/flagz";
const STATUS: &str = "/statusz";
pub const PATHS: [&str; 2] = [FLAGS, STATUS];
/// What is no place to look for what is wrong.
const NO_DEBUGGING: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// What a component tells of itself.
#[derive(Clone)]
pub struct ZPages {
    /// The component's name.
    pub component: &'static str,
    /// What it was started with.
    pub flags: BTreeMap<&'static str, String>,
    pub clock: Clock,
}

/// A page as it was asked for.
pub enum Page {
    /// `text/plain; charset=utf-8`.
    Text(String),
    Object {
        object: Value,
        is_yaml: bool,
        /// A `Warning` header, of a version that ends.
        warning: Option<HeaderValue>,
    },
}

/// How a page is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json(&'static str),
    Yaml(&'static str),
}

impl ZPages {
    /// The page at a path; `None` for other paths. `listed` tells what the server serves.
    pub fn page(
        &self,
        path: &str,
        headers: &HeaderMap,
        listed: impl FnOnce() -> Vec<String>,
    ) -> Option<Result<Page, Status>> {
        let (kind, page) = match path {
            FLAGS => ("Flagz", json!({"flags": self.flags})),
            STATUS => ("Statusz", status(self.clock.now(), &listed())),
            _ => return None,
        };
        Some(form(headers, kind).and_then(|form| match form {
            Form::Text => {
                let text = if path == FLAGS { flags_text(&page) } else { status_text(&page) };
                let head = format!(
                    "\n{} {}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n",
                    self.component,
                    kind.to_lowercase(),
                );
                Ok(Page::Text(head + &text))
            }
            Form::Json(version) => self.structured(page, kind, version, false),
            Form::Yaml(version) => self.structured(page, kind, version, true),
        }))
    }

    fn structured(&self, page: Value, kind: &str, version: &str, is_yaml: bool) -> Result<Page, Status> {
        let mut object = json!({
            "kind": kind, "apiVersion": format!("{GROUP}/{version}"), "metadata": {"name": self.component},
        });
        if let (Some(object), Value::Object(page)) = (object.as_object_mut(), page) {
            object.extend(page);
        }
        let name = kind.to_lowercase();
        let words = format!("299 - \"This version of the {name} endpoint is deprecated. Please use a newer version.\"");
        let warning = (version == DEPRECATED).then(|| HeaderValue::try_from(words)).transpose();
        Ok(Page::Object { object, is_yaml, warning: warning.map_err(Status::internal_error)? })
    }
}

/// The first clause that can be served; a structured form only by its name.
fn form(headers: &HeaderMap, kind: &str) -> Result<Form, Status> {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if accepted.is_empty() {
        return Ok(Form::Text);
    }
    let mut forms = accepted.split(',').filter_map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        let names = |parameter: &str| parts.contains(&parameter);
        let is_plain = !parts.iter().any(|part| part.starts_with("as="));
        let version = VERSIONS.into_iter().find(|version| {
            names(&format!("as={kind}")) && names(&format!("g={GROUP}")) && names(&format!("v={version}"))
        });
        match (media_type, version) {
            ("application/json" | "application/*" | "*/*", Some(version)) => Some(Form::Json(version)),
            ("application/yaml", Some(version)) => Some(Form::Yaml(version)),
            ("text/plain" | "text/*" | "*/*", None) if is_plain => Some(Form::Text),
            _ => None,
        }
    });
    forms.next().ok_or_else(|| {
        Status::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, text/plain",
        )
    })
}

fn flags_text(page: &Value) -> String {
    let flags = page["flags"].as_object().into_iter().flatten();
    flags.fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}={}", value.as_str().unwrap_or_default());
        text
    })
}

/// `/statusz` does not list itself, as upstream's does not.
fn status(now: Timestamp, listed: &[String]) -> Value {
    let started = metrics::started_at().unwrap_or(now);
    let folders: BTreeSet<String> = listed
        .iter()
        .filter_map(|path| path.split('/').nth(1).filter(|first| !first.is_empty()))
        .map(|first| format!("/{first}"))
        .filter(|folder| folder != STATUS && !NO_DEBUGGING.contains(&folder.as_str()))
        .collect();
    json!({
        "startTime": started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "uptimeSeconds": (now.as_second() - started.as_second()).max(0),
        "goVersion": GO_VERSION, "binaryVersion": GIT_VERSION.trim_start_matches('v'),
        "emulationVersion": format!("{MAJOR}.{MINOR}"), "paths": folders,
    })
}

fn status_text(page: &Value) -> String {
    let text = |field: &str| page[field].as_str().unwrap_or_default();
    let up = page["uptimeSeconds"].as_i64().unwrap_or(0);
    let started = text("startTime").parse::<Timestamp>();
    let started = started.map(|started| started.strftime("%a %b %e %H:%M:%S UTC %Y").to_string()).unwrap_or_default();
    let paths: Vec<&str> = page["paths"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!(
        "\nStarted: {started}\nUp: {} hr {:02} min {:02} sec\nGo version: {}\nBinary version: {}\nEmulation version: {}\nPaths: {}\n",
        up / 3600,
        up / 60 % 60,
        up % 60,
        text("goVersion"),
        text("binaryVersion"),
        text("emulationVersion"),
        paths.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structured_form_is_asked_for_by_its_name() {
        let asked = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            form(&headers, "Flagz").ok()
        };
        assert_eq!(asked(""), Some(Form::Text));
        assert_eq!(asked("application/json, */*"), Some(Form::Text));
        let named = "application/yaml;as=Flagz;v=v1beta1;g=config.k8s.io, text/plain";
        assert_eq!(asked(named), Some(Form::Yaml("v1beta1")));
        assert_eq!(asked("application/json"), None);
        assert_eq!(asked("application/json;as=Statusz;v=v1beta1;g=config.k8s.io"), None);
        assert_eq!(asked("application/json;as=Flagz;v=v1;g=config.k8s.io"), None);
    }

    #[test]
    fn pages_say_what_there_is() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let page =
            status(now, &["/healthz/ping", "/healthz", "/apis/apps", "/", "/metrics", "/statusz"].map(str::to_owned));
        assert_eq!(page["paths"], json!(["/healthz", "/metrics"]));
        let text = status_text(&json!({
            "startTime": "2026-01-02T03:04:05Z", "uptimeSeconds": 3723, "goVersion": "g", "binaryVersion": "b",
            "emulationVersion": "1.36", "paths": ["/healthz", "/metrics"],
        }));
        let wanted = "\nStarted: Fri Jan  2 03:04:05 UTC 2026\nUp: 1 hr 02 min 03 sec\nGo version: g\nBinary version: b\nEmulation version: 1.36\nPaths: /healthz /metrics\n";
        assert_eq!(text, wanted);
        assert_eq!(flags_text(&json!({"flags": {"b": "2", "a": "1"}})), "a=1\nb=2\n");
    }
}
