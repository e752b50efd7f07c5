//! `/flagz` and `/statusz`: what the server was started with, and since when it runs (Kubernetes reference: "z-pages").
//!
//! Text for people, or a structured form for who asks for it by kind and version. Enter at [`answer`].

use std::collections::BTreeSet;
use std::fmt::Write;

use component::version::{GIT_VERSION, GO_VERSION, MAJOR, MINOR};
use http::header::{ACCEPT, WARNING};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use machinery::status::Status;
use serde_json::{Value, json};

use crate::http_body::{Response, full};
use crate::paths::About;
use crate::rest::negotiate::{Accept, Format};
use crate::rest::respond;

const COMPONENT: &str = "kube-apiserver";
const GROUP: &str = "config.k8s.io";
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
const DEPRECATED: &str = "v1alpha1";
pub const PATHS: [&str; 2] = ["/flagz", "/statusz"];
/// What is no place to look for what is wrong.
const NO_DEBUGGING: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// How a page is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Text,
    Structured(Format, &'static str),
}

/// The page at a path; `None` for other paths. `listed` tells what `/` lists.
pub fn answer(
    about: &About,
    now: Timestamp,
    path: &str,
    headers: &HeaderMap,
    listed: impl Fn() -> Vec<String>,
) -> Option<Result<Response, Status>> {
    let kind = match path {
        "/flagz" => "Flagz",
        "/statusz" => "Statusz",
        _ => return None,
    };
    Some(form(headers, kind).and_then(|form| {
        let page = match kind {
            "Flagz" => json!({"flags": about.flags}),
            _ => status(now, &listed()),
        };
        match form {
            Form::Text => {
                let text = if kind == "Flagz" { flags_text(&page) } else { status_text(&page) };
                let name = kind.to_lowercase();
                let head = format!(
                    "\n{COMPONENT} {name}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"
                );
                Ok(respond::body_response(200, "text/plain; charset=utf-8", full(head + &text)))
            }
            Form::Structured(format, version) => structured(page, kind, format, version),
        }
    }))
}

fn structured(page: Value, kind: &str, format: Format, version: &str) -> Result<Response, Status> {
    let mut object = json!({
        "kind": kind, "apiVersion": format!("{GROUP}/{version}"), "metadata": {"name": COMPONENT},
    });
    if let (Some(object), Value::Object(page)) = (object.as_object_mut(), page) {
        object.extend(page);
    }
    let mut response = respond::encoded(Accept { format, ..Accept::default() }, 200, &object)?;
    if version == DEPRECATED {
        let name = kind.to_lowercase();
        let words = format!("299 - \"This version of the {name} endpoint is deprecated. Please use a newer version.\"");
        let words = HeaderValue::from_str(&words).map_err(Status::internal_error)?;
        response.headers_mut().insert(WARNING, words);
    }
    Ok(response)
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
            ("application/json" | "application/*" | "*/*", Some(version)) => {
                Some(Form::Structured(Format::Json, version))
            }
            ("application/yaml", Some(version)) => Some(Form::Structured(Format::Yaml, version)),
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

fn status(now: Timestamp, listed: &[String]) -> Value {
    let started = component::metrics::started_at().unwrap_or(now);
    let folders: BTreeSet<String> = listed
        .iter()
        .filter_map(|path| path.split('/').nth(1).filter(|first| !first.is_empty()))
        .map(|first| format!("/{first}"))
        .filter(|folder| !NO_DEBUGGING.contains(&folder.as_str()))
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
        assert_eq!(asked(named), Some(Form::Structured(Format::Yaml, "v1beta1")));
        assert_eq!(asked("application/json"), None);
        assert_eq!(asked("application/json;as=Statusz;v=v1beta1;g=config.k8s.io"), None);
        assert_eq!(asked("application/json;as=Flagz;v=v1;g=config.k8s.io"), None);
    }

    #[test]
    fn pages_say_what_there_is() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let page = status(now, &["/healthz/ping", "/healthz", "/apis/apps", "/", "/metrics"].map(str::to_owned));
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
