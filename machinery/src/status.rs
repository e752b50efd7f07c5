//! `Status`: how the API tells an outcome (Kubernetes API conventions, "Response Status Kind").
//!
//! Each constructor is one reason with its HTTP code and upstream's words. Nothing here knows what went wrong inside:
//! the API server has one table that maps its own errors to these.

use serde_json::{Map, Value, json};

use crate::field::{self, ErrorList, quote};

/// One cause in `details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `ResourceVersionTooLarge`, … Empty when there is none.
    pub reason: String,
    pub message: String,
    /// Path of the field; empty when the cause is not about a field.
    pub field: String,
}

/// `details`: what the answer is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// The resource's plural name (for an `Invalid` answer and a success: the kind).
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

/// A failure as the API tells it. Success is [`success`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Details>,
    /// A fresh continue token that goes with 410 on a list.
    pub continue_token: Option<String>,
}

/// Names a collection in messages: `pods`, `deployments.apps`.
#[derive(Clone, Copy, Debug)]
pub struct GroupResource<'a> {
    pub group: &'a str,
    pub resource: &'a str,
}

impl std::fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() { write!(f, ".{}", self.group) } else { Ok(()) }
    }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_token: None }
    }

    fn about(mut self, of: GroupResource<'_>, name: &str) -> Self {
        self.details = Some(Details {
            name: name.to_owned(),
            group: of.group.to_owned(),
            kind: of.resource.to_owned(),
            ..Details::default()
        });
        self
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `why` follows "is forbidden: "; an empty resource stands for a path outside the resources.
    pub fn forbidden(of: GroupResource<'_>, name: &str, why: &str) -> Self {
        let message = match (of.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{of} is forbidden: {why}"),
            (false, false) => format!("{of} {} is forbidden: {why}", quote(name)),
        };
        Self::new(403, "Forbidden", message).about(of, name)
    }

    pub fn not_found(of: GroupResource<'_>, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{of} {} not found", quote(name))).about(of, name)
    }

    /// The path leads to nothing that the server knows.
    pub fn unknown_path() -> Self {
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Details::default());
        status
    }

    pub fn method_not_allowed(of: GroupResource<'_>, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {}", quote(&of.to_string()));
        Self::new(405, "MethodNotAllowed", message).about(of, "")
    }

    /// The path exists, the method does not: what the router answers before any resource is asked.
    pub fn method_not_supported() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Self::new(405, "MethodNotAllowed", message);
        status.details = Some(Details::default());
        status
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    pub fn already_exists(of: GroupResource<'_>, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{of} {} already exists", quote(name))).about(of, name)
    }

    pub fn generate_name_conflict(of: GroupResource<'_>, name: &str) -> Self {
        let message = format!(
            "{of} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Self::new(409, "AlreadyExists", message).about(of, name).retry_after(1)
    }

    pub fn conflict(of: GroupResource<'_>, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {of} {}: {why}", quote(name));
        Self::new(409, "Conflict", message).about(of, name)
    }

    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let mut status = Self::new(409, "Conflict", message);
        status.details = Some(Details { causes, ..Details::default() });
        status
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn request_entity_too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    pub fn uri_too_long(message: impl Into<String>) -> Self {
        Self::new(414, "", message)
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// `kind` with its group, for a body that decoded but breaks the rules of its kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        let group_kind = GroupResource { group, resource: kind };
        let mut message = format!("{group_kind} {} is invalid", quote(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&field::aggregate(errors));
        }
        let mut status = Self::new(422, "Invalid", message).about(group_kind, name);
        status.details.get_or_insert_default().causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().to_owned(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        status
    }

    /// A patch that does not fit the object.
    pub fn unprocessable() -> Self {
        let mut status = Self::new(422, "Invalid", "the server rejected our request due to an error in our request");
        status.details = Some(Details::default());
        status
    }

    /// A failure without a reason, as upstream tells errors that it gave no kind.
    pub fn unexplained(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message).retry_after(retry_after_seconds)
    }

    pub fn internal_error(error: impl std::fmt::Display) -> Self {
        let cause = Cause { message: error.to_string(), ..Cause::default() };
        let mut status = Self::new(500, "InternalError", format!("Internal error occurred: {error}"));
        status.details = Some(Details { causes: vec![cause], ..Details::default() });
        status
    }

    pub fn server_timeout(of: GroupResource<'_>, operation: &str) -> Self {
        let message =
            format!("The {operation} operation against {of} could not be completed at this time, please try again.");
        Self::new(500, "ServerTimeout", message).about(of, operation).retry_after(1)
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// What became of the request is not known. So nobody is asked to send it again, which clients would do by
    /// themselves: a write that was done after all would be refused the second time.
    pub fn timeout(message: &str) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}"))
    }

    /// A reader asks for a version that may come yet.
    pub fn too_large_version(message: &str) -> Self {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            ..Cause::default()
        };
        Self::timeout(message).with_causes(vec![cause]).retry_after(1)
    }

    pub fn with_causes(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    pub fn with_continue(mut self, token: String) -> Self {
        self.continue_token = Some(token);
        self
    }

    /// The `v1` `Status` object.
    pub fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), json!(token));
        }
        let mut object = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            object["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            object["details"] = details.to_value();
        }
        object
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl Details {
    fn to_value(&self) -> Value {
        let mut object = Map::new();
        for (name, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            if !text.is_empty() {
                object.insert(name.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            object.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            object.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        Value::Object(object)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut object = Map::new();
        for (name, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                object.insert(name.into(), json!(text));
            }
        }
        Value::Object(object)
    }
}

/// The answer to a delete that left nothing: `details` names what is gone.
pub fn success(of: GroupResource<'_>, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: of.group.to_owned(),
        kind: of.resource.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details.to_value()})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Path};

    #[test]
    fn names_collections_as_upstream() {
        let of = GroupResource { group: "apps", resource: "deployments" };
        assert_eq!(Status::not_found(of, "web").message, "deployments.apps \"web\" not found");
        let core = GroupResource { group: "", resource: "pods" };
        assert_eq!(Status::forbidden(core, "", "no").message, "pods is forbidden: no");
    }

    #[test]
    fn invalid_lists_its_causes() {
        let errors = vec![Error::required(&Path::new("metadata").child("name"), "name or generateName is required")];
        let status = Status::invalid("", "Pod", "", &errors).to_value();
        assert_eq!(
            status["message"],
            "Pod \"\" is invalid: metadata.name: Required value: name or generateName is required"
        );
        assert_eq!(status["details"]["causes"][0]["field"], "metadata.name");
        assert_eq!(status["code"], 422);
    }

    #[test]
    fn only_what_did_nothing_may_be_sent_again() {
        let seconds = |status: Status| status.details.map_or(0, |details| details.retry_after_seconds);
        assert_eq!(seconds(Status::timeout("perhaps it was done")), 0);
        assert_eq!(seconds(Status::too_large_version("Too large resource version: 9, current: 8")), 1);
        assert_eq!(seconds(Status::too_many_requests("not now", 7)), 7);
    }
}
