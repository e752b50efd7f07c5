//! Acting as somebody else (Kubernetes reference: "User impersonation"): `kubectl --as`.
//!
//! Enter at [`Memory::impersonated`]. [`modes`] says what the requester must be allowed; the rest of the request then sees
//! only the user that the headers name.

mod modes;

use http::{HeaderMap, HeaderName};
use machinery::field::quote;
use machinery::status::Status;

use self::modes::Asking;
pub use self::modes::{Memory, Mode};
use crate::api::Api;
use crate::authz::Attributes;
use crate::metrics::impersonation as metrics;
use crate::request::{User, header_text};

/// What the names of all these headers begin with.
pub const PREFIX: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Whom the request is made as, and the verb of the constrained mode that allowed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Acting {
    pub user: User,
    pub constraint: Option<String>,
}

impl Memory {
    /// None where the request does not ask to be made as another.
    pub fn impersonated(
        &self,
        api: &Api,
        requester: &User,
        headers: &HeaderMap,
        attributes: impl FnOnce() -> Attributes,
    ) -> Result<Option<Acting>, Status> {
        let Some(wanted) = asked(headers)? else { return Ok(None) };
        let timer = metrics::Timer::begin();
        let decided = self.decide(&Asking { api, requester, wanted: &wanted, attributes: &attributes() });
        timer.decided(decided.as_ref().ok().map(|(_, mode)| *mode));
        let (user, mode) = decided?;
        tracing::debug!(requester = requester.name, user = user.name, mode = mode.name(), "impersonation");
        Ok(Some(Acting { user, constraint: mode.constraint() }))
    }
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| header_text(value).into_owned()).collect()
}

/// The user that the headers name, before the groups that come by themselves.
fn asked(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let first = |name: &str| values(headers, name).into_iter().next().unwrap_or_default();
    let mut user = User { name: first(USER), uid: first(UID), ..User::default() };
    user.groups = values(headers, GROUP);
    for (name, value) in headers {
        if let Some(key) = extra_key(name) {
            user.extra.entry(key).or_default().push(header_text(value).into_owned());
        }
    }
    let is_partial = !user.uid.is_empty() || !user.groups.is_empty() || !user.extra.is_empty();
    match (user.name.is_empty(), is_partial) {
        (false, _) => Ok(Some(user)),
        (true, false) => Ok(None),
        (true, true) => {
            Err(Status::bad_request(format!("requested {} without impersonating a user name", shown(&user))))
        }
    }
}

/// The user as Go shows a structure.
fn shown(user: &User) -> String {
    let list = |values: &[String]| format!("[]string{{{}}}", joined(values.iter().map(|value| quote(value))));
    let groups = if user.groups.is_empty() { "[]string(nil)".to_owned() } else { list(&user.groups) };
    let extra = match user.extra.is_empty() {
        true => "map[string][]string(nil)".to_owned(),
        false => {
            let entries = user.extra.iter().map(|(key, values)| format!("{}:{}", quote(key), list(values)));
            format!("map[string][]string{{{}}}", joined(entries))
        }
    };
    format!("&user.DefaultInfo{{Name:\"\", UID:{}, Groups:{groups}, Extra:{extra}}}", quote(&user.uid))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Header names are lower-case already; what cannot stand in one is percent-encoded.
fn extra_key(name: &HeaderName) -> Option<String> {
    let encoded = name.as_str().strip_prefix(EXTRA)?;
    Some(crate::request::extra_key(encoded))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_a_user() {
        assert_eq!(asked(&headers(&[("accept", "x")])).unwrap(), None);
        let nobody = asked(&headers(&[(GROUP, "g"), ("Impersonate-Extra-x", "1")])).unwrap_err();
        let shown =
            r#"&user.DefaultInfo{Name:"", UID:"", Groups:[]string{"g"}, Extra:map[string][]string{"x":[]string{"1"}}}"#;
        let why = format!("requested {shown} without impersonating a user name");
        assert_eq!((nobody.code, nobody.message), (400, why));
        let named = asked(&headers(&[(USER, "jürgen"), (GROUP, "größe")])).unwrap().unwrap();
        assert_eq!((named.name.as_str(), named.groups), ("jürgen", vec!["größe".to_owned()]));
        let mut odd = HeaderMap::new();
        odd.insert(USER, HeaderValue::from_bytes(b"a\xff").unwrap());
        assert_eq!(asked(&odd).unwrap().unwrap().name, "a\u{fffd}");
        let given = headers(&[(USER, "bob"), (GROUP, "a"), (GROUP, "b"), ("Impersonate-Extra-x%2fy", "1"), (UID, "7")]);
        let user = asked(&given).unwrap().unwrap();
        assert_eq!(user.extra["x/y"], ["1"]);
    }
}
