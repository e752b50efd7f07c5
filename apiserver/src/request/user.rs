//! Who asks: what authentication found out and authorization decides by.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::HeaderValue;
use machinery::names;

use machinery::escapes::unescape;

pub const ANONYMOUS: &str = "system:anonymous";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const MASTERS: &str = "system:masters";
pub const NODES: &str = "system:nodes";

/// An authenticated (or anonymous) requester.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub fn anonymous() -> Self {
        Self { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Every authenticated requester is in `system:authenticated`, said once.
    pub fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    /// The node whose kubelet this is, by the identity that kubelets carry.
    pub fn node_name(&self) -> Option<&str> {
        self.is_in(NODES).then(|| self.name.strip_prefix("system:node:")).flatten().filter(|name| !name.is_empty())
    }

    /// Namespace and name when this is a ServiceAccount, which both could be such names.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        let could_be = names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty();
        could_be.then_some((namespace, name))
    }

    /// The node that a ServiceAccount's own token is bound to.
    pub fn bound_node(&self) -> Option<&str> {
        let values = self.service_account().and_then(|_| self.extra.get(NODE_NAME))?;
        let [node] = values.as_slice() else { return None };
        names::dns_subdomain(node).is_empty().then_some(node.as_str())
    }
}

/// What the token of a pod, or of a node's part, says of its user.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The groups of every ServiceAccount of a namespace.
pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// The name of an extra attribute of a user, which a header's name carries escaped; one whose escapes are broken is
/// taken as it stands.
pub fn extra_key(encoded: &str) -> String {
    unescape(encoded).and_then(|decoded| String::from_utf8(decoded).ok()).unwrap_or_else(|| encoded.to_owned())
}

/// What a header says of a user. Go takes any bytes there; those that are no text are replaced and not left out, for a
/// request that names somebody must never be made as somebody else.
pub fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_known_by_name_and_group() {
        let mut user = User { name: "system:node:a".into(), ..User::default() };
        assert_eq!(user.node_name(), None);
        user.groups.push(NODES.into());
        assert_eq!(user.node_name(), Some("a"));
    }

    #[test]
    fn accounts_are_known_by_names_that_could_be() {
        let account = |name: &str| User { name: format!("system:serviceaccount:{name}"), ..User::default() };
        assert_eq!(account("n:a.b").service_account(), Some(("n", "a.b")));
        for name in ["n", "n:", ":a", "n:a:b", "N:a", "n.m:a"] {
            assert_eq!(account(name).service_account(), None, "{name}");
        }
    }

    #[test]
    fn a_broken_escape_leaves_a_key_as_it_stands() {
        for (encoded, key) in [("a%2fb", "a/b"), ("a%2fb%zz", "a%2fb%zz"), ("a%ff", "a%ff"), ("a", "a")] {
            assert_eq!(extra_key(encoded), key);
        }
    }

    #[test]
    fn authenticated_is_said_once() {
        let user = User::default().authenticated().authenticated();
        assert_eq!(user.groups, [AUTHENTICATED]);
        assert_eq!(User::anonymous().authenticated().groups, [UNAUTHENTICATED]);
    }
}
