//! Authorization: may this user do this (Kubernetes concept: "Authorization").
//!
//! Enter at [`Authorizer::authorize`]. Modes are asked in the order of `--authorization-mode`; the first that allows
//! decides, and when none does, the reasons of all are told. `system:masters` may do everything.

pub mod escalation;
pub mod node;
pub mod rbac;
pub mod rules;

use component::delegated::cannot;
use machinery::field::quote;
use machinery::selector::FieldSelector;
use machinery::status::{GroupResource, Status};

use crate::api::Api;
use crate::request::{MASTERS, RequestInfo, User};

/// What is asked for, of authorization alone: a request, or the content of a review.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    pub info: RequestInfo,
    pub fields: FieldSelector,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(String),
    /// Nobody allowed it; the text says why, where a mode knows.
    NoOpinion(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
}

impl Mode {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "AlwaysAllow" => Some(Self::AlwaysAllow),
            "AlwaysDeny" => Some(Self::AlwaysDeny),
            "Node" => Some(Self::Node),
            "RBAC" => Some(Self::Rbac),
            _ => None,
        }
    }
}

pub struct Authorizer {
    modes: Vec<Mode>,
    pub rbac: rbac::Rbac,
}

impl Authorizer {
    pub fn new(modes: Vec<Mode>) -> Self {
        Self { modes, rbac: rbac::Rbac::default() }
    }

    pub fn modes(&self) -> &[Mode] {
        &self.modes
    }

    pub fn authorize(&self, api: &Api, user: &User, attributes: &Attributes) -> Decision {
        if user.is_in(MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for mode in &self.modes {
            let decision = match mode {
                Mode::AlwaysAllow => Decision::Allow(String::new()),
                Mode::AlwaysDeny => Decision::NoOpinion("Everything is forbidden.".to_owned()),
                Mode::Node => node::authorize(api, user, attributes),
                Mode::Rbac => self.rbac.authorize(user, attributes),
            };
            match decision {
                Decision::Allow(_) => return decision,
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    /// As [`Authorizer::authorize`], with the refusal as a client sees it.
    pub fn check(&self, api: &Api, user: &User, attributes: &Attributes) -> Result<(), Status> {
        match self.authorize(api, user, attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) => Err(refusal(user, &attributes.info, &reason)),
        }
    }
}

/// `User "bob" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn refusal(user: &User, info: &RequestInfo, reason: &str) -> Status {
    let what = if info.is_resource {
        let scope = match info.namespace.is_empty() {
            true => "at the cluster scope".to_owned(),
            false => format!("in the namespace {}", quote(&info.namespace)),
        };
        format!("resource {} in API group {} {scope}", quote(&info.resource_path()), quote(&info.group))
    } else {
        format!("path {}", quote(&info.path))
    };
    let mut why = cannot(&user.name, &info.verb, &what);
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    Status::forbidden(GroupResource { group: &info.group, resource: &info.resource }, &info.name, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_no_page() {
        let user = User { name: "<b>&".to_owned(), ..User::default() };
        let info = RequestInfo { verb: "get".to_owned(), path: "/<i>".to_owned(), ..RequestInfo::default() };
        let why = "User \"&lt;b&gt;&amp;\" cannot get path \"/&lt;i&gt;\": <reason>";
        assert!(refusal(&user, &info, "<reason>").message.ends_with(why));
    }
}
