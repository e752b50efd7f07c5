//! Who asks: what authentication found out and authorization decides by.

use std::collections::BTreeMap;

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

    /// Namespace and name when this is a ServiceAccount.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }
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
    fn authenticated_is_said_once() {
        let user = User::default().authenticated().authenticated();
        assert_eq!(user.groups, [AUTHENTICATED]);
        assert_eq!(User::anonymous().authenticated().groups, [UNAUTHENTICATED]);
    }
}
