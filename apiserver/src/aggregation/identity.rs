//! Who asks, told to an extension server in the headers of a front proxy (Kubernetes concept: "Authenticating Proxy").

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::request::User;

const PREFIX: &str = "x-remote-";

/// Puts the user in, in the place of whatever the client says that it is. The error is Go's, of what cannot stand in a
/// header: without it the request would be made as somebody else.
pub fn set(headers: &mut HeaderMap, user: &User) -> Result<(), String> {
    let named: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        let bytes = HeaderValue::from_bytes(value.as_bytes());
        let field = HeaderName::from_bytes(format!("{PREFIX}{name}").as_bytes());
        let (Ok(field), Ok(value)) = (field, bytes) else {
            return Err(format!("net/http: invalid header field value for {:?}", canonical(name)));
        };
        headers.append(field, value);
        Ok(())
    };
    add("user", &user.name)?;
    if !user.uid.is_empty() {
        add("uid", &user.uid)?;
    }
    user.groups.iter().try_for_each(|group| add("group", group))?;
    for (key, values) in &user.extra {
        values.iter().try_for_each(|value| add(&format!("extra-{}", escaped(key)), value))?;
    }
    Ok(())
}

/// As Go writes names of headers.
fn canonical(name: &str) -> String {
    let words = format!("{PREFIX}{name}");
    let words = words.split('-').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => first.to_ascii_uppercase() + rest,
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join("-")
}

/// What cannot stand in a header's name is percent-encoded, and the percent sign itself.
fn escaped(key: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(byte);
    key.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect::<String>()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_true_user_is_told() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-remote-user", "root"), ("x-remote-extra-a", "b"), ("accept", "y")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let extra = [("example.com/a b".to_owned(), vec!["1".to_owned(), "2".to_owned()])];
        let groups = vec!["g".to_owned(), "h".to_owned()];
        set(&mut headers, &User { name: "bob".into(), groups, extra: extra.into(), ..User::default() }).unwrap();
        let all = |name: &str| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
        assert_eq!((all("x-remote-user"), all("x-remote-group")), (vec!["bob"], vec!["g", "h"]));
        assert_eq!(all("x-remote-extra-example.com%2fa%20b"), ["1", "2"]);
        assert!(all("x-remote-extra-a").is_empty());
        assert_eq!(all("accept"), ["y"]);
        let named = |name: &str| {
            let mut headers = HeaderMap::new();
            set(&mut headers, &User { name: name.to_owned(), ..User::default() })
                .map(|()| headers["x-remote-user"].as_bytes().to_vec())
        };
        assert_eq!(named("jürgen"), Ok("jürgen".as_bytes().to_vec()));
        assert_eq!(named("a\nb"), Err("net/http: invalid header field value for \"X-Remote-User\"".to_owned()));
    }
}
