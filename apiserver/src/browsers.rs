//! What browsers are told: which pages of others may read answers (CORS, the Fetch standard), and that this server is
//! only to be reached over TLS (RFC 6797). Nothing of it is said unless flags ask for it.

use component::flags::Values;
use http::header::{ORIGIN, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use regex::Regex;

use crate::http_body::{Response, empty};

/// What a page of an allowed origin may do, as upstream has it.
const ALLOWED: [(HeaderName, &str); 4] = [
    (http::header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET, OPTIONS, PUT, DELETE, PATCH"),
    (
        http::header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
    ),
    (http::header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    (http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
];

#[derive(Default)]
pub struct Browsers {
    origins: Vec<Regex>,
    transport: Option<HeaderValue>,
}

impl Browsers {
    /// The words are upstream's: each mistake is added to `wrong`.
    pub fn from_flags(values: &Values, wrong: &mut Vec<String>) -> Self {
        let mut origins = Vec::new();
        for pattern in values.strings("cors-allowed-origins") {
            match Regex::new(&pattern) {
                Ok(_) if !is_pinned(&pattern) => wrong.push(format!(
                    "--cors-allowed-origins has an invalid regular expression: {pattern:?}: regular expression does not pin to start/end of host in the origin header"
                )),
                Ok(regex) => origins.push(regex),
                Err(error) => {
                    wrong.push(format!("--cors-allowed-origins has an invalid regular expression: {error}"));
                }
            }
        }
        let directives = values.strings("strict-transport-security-directives");
        let is_known = |directive: &String| {
            matches!(directive.as_str(), "includeSubDomains" | "preload")
                || directive.split_once('=').is_some_and(|(name, age)| name == "max-age" && !age.contains('='))
        };
        if !directives.iter().all(is_known) {
            wrong.push("--strict-transport-security-directives invalid, allowed values: max-age=expireTime, includeSubDomains, preload. see https://tools.ietf.org/html/rfc6797#section-6.1 for more information".to_owned());
        }
        let transport = HeaderValue::from_str(&directives.join("; ")).ok().filter(|_| !directives.is_empty());
        Self { origins, transport }
    }

    /// The origin of a request from a page that may read the answer.
    pub fn allowed<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(ORIGIN).filter(|origin| !origin.is_empty())?;
        let text = origin.to_str().ok()?;
        self.origins.iter().any(|pattern| pattern.is_match(text)).then_some(origin)
    }

    /// The answer to the question that a browser asks before it lets a page ask.
    pub fn preflight() -> Response {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }

    /// Tells the browser what it is to know of an answer to a request of `origin`.
    pub fn mark(&self, response: &mut Response, origin: Option<HeaderValue>) {
        let headers = response.headers_mut();
        if let Some(transport) = &self.transport {
            headers.insert(STRICT_TRANSPORT_SECURITY, transport.clone());
        }
        let Some(origin) = origin else { return };
        headers.insert(http::header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in ALLOWED {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// A pattern that matches anywhere in an origin would let in hosts that merely contain the one that was meant.
fn is_pinned(pattern: &str) -> bool {
    ["^", "//"].iter().any(|start| pattern.contains(start)) && ["$", ":"].iter().any(|end| pattern.contains(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn browsers(flags: &[&str]) -> (Browsers, Vec<String>) {
        let mut wrong = Vec::new();
        let values = crate::flags().parse(flags.iter().copied()).expect("flags of the table");
        (Browsers::from_flags(&values, &mut wrong), wrong)
    }

    #[test]
    fn only_allowed_pages_are_named() {
        let (browsers, wrong) = browsers(&["--cors-allowed-origins=//a\\.example(:|$)"]);
        assert!(wrong.is_empty(), "{wrong:?}");
        let of = |origin: &'static str| HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
        for (origin, want) in [
            ("https://a.example", true),
            ("http://a.example:8080", true),
            ("https://a.example.evil", false),
            ("https://aXexample", false),
            ("", false),
        ] {
            assert_eq!(browsers.allowed(&of(origin)).is_some(), want, "{origin}");
        }
        assert!(browsers.allowed(&HeaderMap::new()).is_none());
        let mut response = Browsers::preflight();
        browsers.mark(&mut response, Some(HeaderValue::from_static("https://a.example")));
        assert_eq!(response.headers()["access-control-allow-origin"], "https://a.example");
        assert!(response.headers().get(STRICT_TRANSPORT_SECURITY).is_none());
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(browsers(&["--cors-allowed-origins=a.example"]).1.len(), 1, "not pinned");
        assert_eq!(browsers(&["--cors-allowed-origins=^(a$"]).1.len(), 1, "no expression");
        assert_eq!(browsers(&["--strict-transport-security-directives=max-age=1=2"]).1.len(), 1);
        let (good, wrong) = browsers(&["--strict-transport-security-directives=max-age=60,includeSubDomains"]);
        assert!(wrong.is_empty());
        let mut response = Browsers::preflight();
        good.mark(&mut response, None);
        assert_eq!(response.headers()[STRICT_TRANSPORT_SECURITY], "max-age=60; includeSubDomains");
    }
}
