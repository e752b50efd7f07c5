//! Who asks for what, and what is said to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReviewSpec},
};
use machinery::escapes::without_markup;
use machinery::field::quote;
use serde_json::json;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// Who shows nothing.
    pub fn anonymous() -> Self {
        Self::named("system:anonymous", ["system:unauthenticated"])
    }

    /// In the group of all whose name is proved.
    pub(super) fn authenticated(mut self) -> Self {
        const AUTHENTICATED: &str = "system:authenticated";
        if !self.groups.iter().any(|group| group == AUTHENTICATED) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    pub fn named<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        Self { name: name.into(), groups: groups.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attributes {
    Resource {
        verb: String,
        group: String,
        version: String,
        resource: String,
        subresource: String,
        namespace: String,
        name: String,
    },
    NonResource {
        verb: String,
        path: String,
    },
}

impl Attributes {
    /// As long as whoever asks has made them.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Resource { verb, group, version, resource, subresource, namespace, name } => {
                [verb, group, version, resource, subresource, namespace, name].into_iter().map(String::len).sum()
            }
            Self::NonResource { verb, path } => verb.len() + path.len(),
        }
    }
}

/// What the API server said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// With the reason, if one was told.
    Deny(String),
}

/// Why a request is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("Forbidden (user={}, {request})", user.name)]
    Forbidden { user: User, request: Attributes },
    #[error("Authorization error (user={}, {request})", user.name)]
    Failed { user: User, request: Attributes },
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As a Status, as upstream's secure ports answer.
    pub fn status_response(&self) -> Response<Full<Bytes>> {
        let (reason, message) = match self {
            Self::Unauthorized => ("Unauthorized", "Unauthorized".to_owned()),
            Self::Forbidden { user, request: Attributes::NonResource { verb, path } } => {
                ("Forbidden", format!("forbidden: {}", cannot(&user.name, verb, &format!("path {}", quote(path)))))
            }
            Self::Forbidden { .. } => ("Forbidden", format!("forbidden: {self}")),
            Self::Failed { .. } => ("InternalError", format!("Internal Server Error: {self}")),
        };
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": self.status().as_u16(),
        });
        crate::serve::text(self.status(), "application/json", status.to_string())
    }

    /// As text, as upstream's kubelet answers.
    pub fn response(&self) -> Response<Full<Bytes>> {
        crate::serve::text(self.status(), "text/plain; charset=utf-8", format!("{self}\n"))
    }
}

/// `User "bob" cannot get path "/metrics"`, of which a browser could take nothing for a page.
pub fn cannot(user: &str, verb: &str, what: &str) -> String {
    without_markup(&format!("User {} cannot {verb} {what}", quote(user)))
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Resource { verb, resource, subresource, .. } => {
                write!(f, "verb={verb}, resource={resource}, subresource(s)=[{subresource}]")
            }
            Self::NonResource { verb, path } => write!(f, "verb={verb}, path={path}"),
        }
    }
}

impl From<UserInfo> for User {
    fn from(info: UserInfo) -> Self {
        Self {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default().into_iter().collect(),
        }
    }
}

/// The question as the API server is asked it.
pub(super) fn review_spec(user: &User, attributes: &Attributes) -> SubjectAccessReviewSpec {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: text(&user.uid),
        groups: Some(user.groups.clone()).filter(|groups| !groups.is_empty()),
        extra: Some(user.extra.iter().cloned().collect()).filter(|extra: &BTreeMap<_, _>| !extra.is_empty()),
        ..SubjectAccessReviewSpec::default()
    };
    match attributes {
        Attributes::Resource { verb, group, version, resource, subresource, namespace, name } => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                version: text(version),
                resource: text(resource),
                subresource: text(subresource),
                namespace: text(namespace),
                name: text(name),
                ..ResourceAttributes::default()
            });
        }
        Attributes::NonResource { verb, path } => {
            spec.non_resource_attributes = Some(NonResourceAttributes { verb: text(verb), path: text(path) });
        }
    }
    spec
}
