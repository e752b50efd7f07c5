//! Acting as somebody else (Kubernetes reference: "User impersonation"): `kubectl --as`.
//!
//! Enter at [`impersonated`]. Each header is a request of its own for the verb `impersonate`, which the requester must
//! be allowed; the rest of the request then sees only the user that the headers name.

use http::{HeaderMap, HeaderName};
use machinery::status::Status;

use crate::api::Api;
use crate::authz::Attributes;
use crate::request::{ANONYMOUS, AUTHENTICATED, RequestInfo, UNAUTHENTICATED, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Whom the request is made as: its own user when it does not ask for another.
pub fn impersonated(api: &Api, requester: User, headers: &HeaderMap) -> Result<User, Status> {
    let Some(user) = asked(headers)? else { return Ok(requester) };
    for info in rights(&user, !values(headers, GROUP).is_empty()) {
        api.authorizer.check(api, &requester, &Attributes { info, ..Attributes::default() })?;
    }
    tracing::debug!(requester = requester.name, user = user.name, "impersonation");
    Ok(with_standing_groups(user, !values(headers, GROUP).is_empty()))
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// The user that the headers name, before the groups that come by themselves.
fn asked(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let first = |name: &str| values(headers, name).into_iter().next().unwrap_or_default().to_owned();
    let mut user = User { name: first(USER), uid: first(UID), ..User::default() };
    user.groups = values(headers, GROUP).into_iter().map(str::to_owned).collect();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (extra_key(name), value.to_str()) {
            user.extra.entry(key).or_default().push(value.to_owned());
        }
    }
    let is_partial = !user.uid.is_empty() || !user.groups.is_empty() || !user.extra.is_empty();
    match (user.name.is_empty(), is_partial) {
        (false, _) => Ok(Some(user)),
        (true, false) => Ok(None),
        (true, true) => Err(Status::bad_request("requested groups, a uid or extra without impersonating a user name")),
    }
}

/// Header names are lower-case already; what cannot stand in one is percent-encoded.
fn extra_key(name: &HeaderName) -> Option<String> {
    let encoded = name.as_str().strip_prefix(EXTRA)?;
    Some(crate::request::decode_percent(encoded))
}

/// What the requester must be allowed to do to be this user.
fn rights(user: &User, groups_given: bool) -> Vec<RequestInfo> {
    let right = |group: &str, resource: &str, name: &str| RequestInfo {
        verb: "impersonate".to_owned(),
        is_resource: true,
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..RequestInfo::default()
    };
    let mut rights = vec![match user.service_account() {
        Some((namespace, name)) => {
            RequestInfo { namespace: namespace.to_owned(), ..right("", "serviceaccounts", name) }
        }
        None => right("", "users", &user.name),
    }];
    if groups_given {
        rights.extend(user.groups.iter().map(|group| right("", "groups", group)));
    }
    let authentication = |resource: &str, name: &str| {
        let mut right = right("authentication.k8s.io", resource, name);
        right.version = "v1".to_owned();
        right
    };
    for (key, extras) in &user.extra {
        let of_key = |value: &String| RequestInfo { subresource: key.clone(), ..authentication("userextras", value) };
        rights.extend(extras.iter().map(of_key));
    }
    if !user.uid.is_empty() {
        rights.push(authentication("uids", &user.uid));
    }
    rights
}

/// A ServiceAccount has its groups unless others are given; everyone is authenticated, or not, as their name says.
fn with_standing_groups(mut user: User, groups_given: bool) -> User {
    if !groups_given && let Some((namespace, _)) = user.service_account() {
        user.groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    let standing = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !user.is_in(standing) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(standing.to_owned());
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_a_user() {
        assert_eq!(asked(&headers(&[("accept", "x")])).unwrap(), None);
        assert_eq!(asked(&headers(&[(GROUP, "g")])).unwrap_err().code, 400);
        let given = headers(&[(USER, "bob"), (GROUP, "a"), (GROUP, "b"), ("Impersonate-Extra-x%2fy", "1")]);
        let user = asked(&given).unwrap().unwrap();
        assert_eq!(user.extra["x/y"], ["1"]);
        let rights: Vec<String> =
            rights(&user, true).iter().map(|info| format!("{} {}", info.resource_path(), info.name)).collect();
        assert_eq!(rights, ["users bob", "groups a", "groups b", "userextras/x/y 1"]);
        assert_eq!(with_standing_groups(user, true).groups, ["a", "b", AUTHENTICATED]);
    }

    #[test]
    fn accounts_bring_their_groups() {
        let user = asked(&headers(&[(USER, "system:serviceaccount:n:a")])).unwrap().unwrap();
        assert_eq!(rights(&user, false)[0].namespace, "n");
        assert_eq!(with_standing_groups(user, false).groups.len(), 3);
        let user = asked(&headers(&[(USER, ANONYMOUS)])).unwrap().unwrap();
        assert_eq!(with_standing_groups(user, false).groups, [UNAUTHENTICATED]);
    }
}
