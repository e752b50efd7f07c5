//! The ways to be allowed to act as somebody else, and what each asks of authorization (KEP 5284).
//!
//! Enter at [`Memory::decide`]. The constrained modes want two rights: to make this request in that mode
//! (`impersonate-on:user-info:list`), and to be this user in it (`impersonate:user-info`). The legacy one wants the second
//! only (`impersonate`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use machinery::field::{Path, aggregate, quote};
use machinery::names;
use machinery::status::Status;

use crate::api::Api;
use crate::authz::{self, Attributes};
use crate::kinds::domain_prefixed_path;
use crate::metrics::impersonation as metrics;
use crate::request::{
    ANONYMOUS, AUTHENTICATED, MASTERS, NODES, RequestInfo, UNAUTHENTICATED, User, service_account_groups,
};

/// So many groups, or values of extra, are asked for all at once before they are one by one.
const MANY: usize = 4;

/// How many requesters' last modes are remembered.
const REMEMBERED_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A ServiceAccount whose token is bound to a node, as that node.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

/// In the order in which they are tried.
const ALL: [Mode; 5] = [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// Who asks to make which request as whom.
pub struct Asking<'a> {
    pub api: &'a Api,
    pub requester: &'a User,
    /// As the headers name the user.
    pub wanted: &'a User,
    pub attributes: &'a Attributes,
}

/// The mode in which each requester was allowed to act as another, last: it is tried first, so that who has the legacy
/// right is not asked for four others at each request. A refusal tells what the first mode tried wants.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Mode>>);

impl Memory {
    pub fn decide(&self, asking: &Asking<'_>) -> Result<(User, Mode), Status> {
        let last = self.lock().get(&asking.requester.name).copied();
        let others = ALL.into_iter().filter(|mode| Some(*mode) != last);
        let mut refusal = None;
        for mode in last.into_iter().chain(others) {
            if !mode.fits(asking.requester, asking.wanted) {
                continue;
            }
            match mode.allowed(asking) {
                Ok(user) => {
                    self.remember(&asking.requester.name, mode);
                    return Ok((user, mode));
                }
                Err(status) => refusal = refusal.or(Some(status)),
            }
        }
        Err(refusal.unwrap_or_else(|| Status::unexplained("all impersonation modes failed")))
    }

    fn remember(&self, requester: &str, mode: Mode) {
        let mut modes = self.lock();
        if modes.len() >= REMEMBERED_MAX && !modes.contains_key(requester) {
            modes.clear();
        }
        modes.insert(requester.to_owned(), mode);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Mode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mode {
    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "legacy",
        }
    }

    fn verb(self) -> String {
        if self.is_constrained() { format!("impersonate:{}", self.name()) } else { "impersonate".to_owned() }
    }

    fn is_constrained(self) -> bool {
        self != Self::Legacy
    }

    /// What audit tells: the verb of a constrained mode.
    pub fn constraint(self) -> Option<String> {
        self.is_constrained().then(|| self.verb())
    }

    fn fits(self, requester: &User, wanted: &User) -> bool {
        let is_name_alone = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node_name(wanted), wanted.service_account());
        match self {
            Self::AssociatedNode => is_name_alone && node.is_some() && node == requester.bound_node(),
            Self::ArbitraryNode => is_name_alone && node.is_some(),
            Self::ServiceAccount => is_name_alone && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
            Self::Legacy => true,
        }
    }

    /// The user, with what comes by itself, when the requester has the mode's rights.
    fn allowed(self, asking: &Asking<'_>) -> Result<User, Status> {
        if self.is_constrained() {
            let mut on = asking.attributes.clone();
            on.info.verb = format!("impersonate-on:{}:{}", self.name(), on.info.verb);
            self.check(asking, on)?;
        }
        let wanted = asking.wanted;
        self.check_right(asking, self.of_name(wanted))?;
        if !wanted.uid.is_empty() {
            self.check_right(asking, self.right("uids", &wanted.uid))?;
        }
        self.check_groups(asking)?;
        self.check_extra(asking)?;
        Ok(self.with_standing_groups(wanted.clone()))
    }

    fn check(self, asking: &Asking<'_>, attributes: Attributes) -> Result<(), Status> {
        let timer = metrics::Timer::begin();
        let checked = asking.api.authorizer.check(asking.api, asking.requester, &attributes);
        timer.authorized(self, checked.is_ok());
        checked
    }

    fn check_right(self, asking: &Asking<'_>, info: RequestInfo) -> Result<(), Status> {
        self.check(asking, Attributes { info, ..Attributes::default() })
    }

    fn check_groups(self, asking: &Asking<'_>) -> Result<(), Status> {
        let groups = &asking.wanted.groups;
        if self.is_constrained() {
            let refuse = |name: &str, why| Err(authz::refusal(asking.requester, &self.of_user("groups", name), why));
            if groups.iter().any(String::is_empty) {
                return refuse("", "impersonating the empty string group is not allowed");
            }
            if asking.wanted.is_in(MASTERS) {
                return refuse(MASTERS, "impersonating the system:masters group is not allowed");
            }
            if groups.len() >= MANY && self.check_right(asking, self.of_user("groups", "*")).is_ok() {
                return Ok(());
            }
        }
        groups.iter().try_for_each(|group| self.check_right(asking, self.of_user("groups", group)))
    }

    fn check_extra(self, asking: &Asking<'_>) -> Result<(), Status> {
        let of_key =
            |key: &str, value: &str| RequestInfo { subresource: key.to_owned(), ..self.right("userextras", value) };
        let extra = &asking.wanted.extra;
        if self.is_constrained() {
            extra.iter().try_for_each(|(key, values)| {
                check_key(key, values).map_err(|why| authz::refusal(asking.requester, &of_key("", ""), &why))
            })?;
            let count: usize = extra.values().map(Vec::len).sum();
            if count >= MANY && self.check_right(asking, of_key("*", "*")).is_ok() {
                return Ok(());
            }
        }
        let mut all = extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        all.try_for_each(|(key, value)| self.check_right(asking, of_key(key, value)))
    }

    fn right(self, resource: &str, name: &str) -> RequestInfo {
        RequestInfo {
            verb: self.verb(),
            is_resource: true,
            group: "authentication.k8s.io".to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        }
    }

    /// Names and groups were of the core group before there was another.
    fn of_user(self, resource: &str, name: &str) -> RequestInfo {
        let right = self.right(resource, name);
        if self.is_constrained() { right } else { RequestInfo { group: String::new(), ..right } }
    }

    fn of_name(self, wanted: &User) -> RequestInfo {
        if let Some((namespace, name)) = wanted.service_account() {
            return RequestInfo { namespace: namespace.to_owned(), ..self.of_user("serviceaccounts", name) };
        }
        match node_name(wanted).filter(|_| self.is_constrained()) {
            // Whoever may be its own node may be it on every node.
            Some(_) if self == Self::AssociatedNode => self.of_user("nodes", "*"),
            Some(node) => self.of_user("nodes", node),
            None => self.of_user("users", &wanted.name),
        }
    }

    /// A ServiceAccount has its groups unless others are given, and a node its own; everyone is authenticated, or not, as
    /// their name says.
    fn with_standing_groups(self, mut user: User) -> User {
        if self.is_constrained() && node_name(&user).is_some() {
            user.groups = vec![NODES.to_owned()];
        }
        if user.groups.is_empty()
            && let Some((namespace, _)) = user.service_account()
        {
            user.groups = service_account_groups(namespace);
        }
        let standing = if user.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !user.is_in(standing) && !user.is_in(UNAUTHENTICATED) {
            user.groups.push(standing.to_owned());
        }
        user
    }
}

/// The node that a user's name names, whatever its groups.
fn node_name(user: &User) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|name| names::dns_subdomain(name).is_empty())
}

/// What the legacy mode does not ask of a key of extra and its values.
fn check_key(key: &str, values: &[String]) -> Result<(), String> {
    if key.is_empty() {
        return Err("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let errors = domain_prefixed_path(key, &Path::new("extra").child("key"));
    if !errors.is_empty() {
        return Err(format!("impersonating an invalid key in extra is not allowed: {}", aggregate(&errors)));
    }
    if key != key.to_lowercase() {
        return Err(format!("impersonating a non-lowercase key in extra is not allowed: {}", quote(key)));
    }
    if values.iter().any(String::is_empty) {
        return Err("impersonating the empty string value in extra is not allowed".to_owned());
    }
    Ok(())
}
