//! The options of a request, read from its query (and, for deletes, its body), checked in upstream's words.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

use machinery::field::{Error, ErrorList, Path, is_printable};
use machinery::selector::{FieldSelector, Selector};
use machinery::status::Status;
use serde_json::Value;

use crate::request::Query;

/// What to do about unknown and duplicate fields (Kubernetes API concept: "Field validation").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: Option<String>,
    pub field_validation: FieldValidation,
    /// Apply patches only.
    pub force: bool,
    /// The write is an apply: its owners are already recorded.
    pub is_apply: bool,
}

impl WriteOptions {
    /// `kind` names the options in an `Invalid` answer: `CreateOptions`, `UpdateOptions`.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, Status> {
        Self::read(query, kind, ErrorList::new())
    }

    /// Options of an apply patch: its manager must be named. Of any other patch: it cannot be forced.
    pub fn parse_patch(query: &Query, is_apply: bool) -> Result<Self, Status> {
        let mut errors = ErrorList::new();
        if is_apply && query.text("fieldManager").is_none() {
            errors.push(Error::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
        if !is_apply && query.get("force").is_some() {
            errors.push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        Ok(Self { is_apply, ..Self::read(query, "PatchOptions", errors)? })
    }

    /// What all writes have; `errors` are those that come first.
    fn read(query: &Query, kind: &str, mut errors: ErrorList) -> Result<Self, Status> {
        let field_manager = query.text("fieldManager").map(str::to_owned);
        if let Some(manager) = &field_manager {
            check_manager(manager, &mut errors);
        }
        let dry_run = parse_dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                errors.push(Error::not_supported(&Path::new("fieldValidation"), other, &supported));
                FieldValidation::default()
            }
        };
        refuse("meta.k8s.io", kind, &errors)?;
        Ok(Self { dry_run, field_manager, field_validation, force: query.is_true("force"), is_apply: false })
    }
}

fn refuse(group: &str, kind: &str, errors: &ErrorList) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(group, kind, "", errors)) }
}

/// All that was given is told if one of it is unknown.
fn parse_dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut ErrorList) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|value| *value != "All") {
        errors.push(Error::not_supported(&Path::new("dryRun"), Value::from(values.clone()), &["All"]));
    }
    values.contains(&"All")
}

fn check_manager(manager: &str, errors: &mut ErrorList) {
    let path = Path::new("fieldManager");
    if manager.len() > 128 {
        errors.push(Error::too_long(&path, 128));
    }
    for (at, bad) in manager.char_indices().filter(|(_, c)| !is_printable(*c)) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(bad));
        errors.push(Error::invalid(&path, manager, detail));
    }
}

/// How a list or watch relates to a resource version (Kubernetes API concept: "Resource versions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    NotOlderThan,
    Exact,
}

/// Options of list, watch and deletecollection.
#[derive(Clone, Debug)]
pub struct ListOptions {
    pub labels: Selector,
    pub fields: FieldSelector,
    /// `None`: not given; then the most recent state is asked for.
    pub resource_version: Option<String>,
    pub resource_version_match: Option<Match>,
    pub limit: usize,
    pub continue_token: Option<String>,
    /// Less than none is none at all.
    pub timeout_seconds: Option<i64>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// The field selector alone, which authorization looks at.
    pub fn parse_fields(query: &Query) -> Result<FieldSelector, Status> {
        parse_fields(query.get("fieldSelector").unwrap_or_default())
    }

    /// What is wrong with them by themselves. Whether the resource has the selector's fields is asked after that, and
    /// what `resource_version` and `continue_token` say only when the objects are looked for.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let timeout_seconds = number(query, "timeoutSeconds")?;
        let limit = number(query, "limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
        let mut options = Self {
            labels: parse_labels(query.get("labelSelector").unwrap_or_default())?,
            fields: parse_fields(query.get("fieldSelector").unwrap_or_default())?,
            limit,
            continue_token: query.text("continue").map(str::to_owned),
            timeout_seconds,
            allow_bookmarks: query.is_true("allowWatchBookmarks"),
            resource_version: query.text("resourceVersion").map(str::to_owned),
            resource_version_match: None,
            send_initial_events: query.get("sendInitialEvents").map(|_| query.is_true("sendInitialEvents")),
        };
        // The parameter decides, not the verb: the old paths below `/watch/` are checked as lists are.
        let is_watch = query.is_true("watch");
        let mut given = query.text("resourceVersionMatch");
        if is_watch && given.is_none() && options.send_initial_events.is_none() && options.takes_any_version() {
            options.send_initial_events = Some(true);
            given = Some("NotOlderThan");
        }
        options.resource_version_match = match given {
            Some("NotOlderThan") => Some(Match::NotOlderThan),
            Some("Exact") => Some(Match::Exact),
            _ => None,
        };
        let errors = if is_watch { options.check_watch(given) } else { options.check_list(given) };
        refuse("meta.k8s.io", "ListOptions", &errors)?;
        Ok(options)
    }

    /// Of any version: none was named, or the one that stands for it.
    pub fn takes_any_version(&self) -> bool {
        matches!(self.resource_version.as_deref(), None | Some("0"))
    }

    fn check_list(&self, given: Option<&str>) -> ErrorList {
        let version = self.resource_version.as_deref();
        let mut errors = ErrorList::new();
        let path = Path::new("resourceVersionMatch");
        if let Some(given) = given {
            if version.is_none() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(Error::forbidden(&path, why));
            }
            if self.continue_token.is_some() {
                errors.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if self.resource_version_match.is_none() {
                errors.push(Error::not_supported(&path, given, &["Exact", "NotOlderThan", ""]));
            }
            if version == Some("0") && self.resource_version_match == Some(Match::Exact) {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(Error::forbidden(&path, why));
            }
        }
        if self.send_initial_events.is_some() {
            let path = Path::new("sendInitialEvents");
            errors.push(Error::forbidden(&path, "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn check_watch(&self, given: Option<&str>) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("resourceVersionMatch");
        let is_match = self.resource_version_match == Some(Match::NotOlderThan);
        if self.send_initial_events.is_some() && !is_match {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(Error::forbidden(&path, why));
        }
        let Some(given) = given else { return errors };
        if self.send_initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(Error::forbidden(&path, why));
        }
        if !is_match {
            errors.push(Error::not_supported(&path, given, &["NotOlderThan"]));
        }
        if self.continue_token.is_some() {
            errors.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
        }
        errors
    }
}

/// A resource version that a client gives, in upstream's words when it is none.
pub fn parse_resource_version(text: Option<&str>) -> Result<Option<u64>, Status> {
    let Some(text) = text else { return Ok(None) };
    unsigned(text).map(Some).map_err(|why| {
        Status::bad_request(format!(
            "invalid resource version: {}",
            Error::invalid(&Path::new("resourceVersion"), text, why)
        ))
    })
}

/// The version that an object is asked for or a watch begins at: refused in other words than a list's, and without a reason.
pub fn watched_version(query: &Query) -> Result<Option<u64>, Status> {
    let Some(given) = query.text("resourceVersion") else { return Ok(None) };
    unsigned(given)
        .map(Some)
        .map_err(|why| Status::unexplained(Error::invalid(&Path::new("resourceVersion"), given, why).to_string()))
}

/// A resource version, or a port, as a number; the error is Go's.
pub fn unsigned<N: FromStr<Err = ParseIntError>>(text: &str) -> Result<N, String> {
    if text.starts_with('+') {
        return Err(not_a_number("ParseUint", text, &IntErrorKind::InvalidDigit));
    }
    text.parse().map_err(|error: ParseIntError| not_a_number("ParseUint", text, error.kind()))
}

/// In Go's words.
fn not_a_number(function: &str, text: &str, kind: &IntErrorKind) -> String {
    let why = match kind {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {}: {why}", machinery::field::quote(text))
}

fn parse_labels(text: &str) -> Result<Selector, Status> {
    Selector::parse(text).map_err(|error| Status::bad_request(error.to_string()))
}

fn parse_fields(text: &str) -> Result<FieldSelector, Status> {
    FieldSelector::parse(text).map_err(|error| Status::bad_request(error.to_string()))
}

/// A parameter that is given, if only as nothing, must be a number.
pub fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.get(name) else { return Ok(None) };
    let read = text.parse().map_err(|error: ParseIntError| not_a_number("ParseInt", text, error.kind()));
    read.map(Some).map_err(Status::bad_request)
}

/// How dependents fare (Kubernetes concept: "Garbage Collection", cascading deletion).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// Options of a delete: from the body when there is one, else from the query.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// `orphanDependents: false`: whoever says it so is told by the code that the object is still there.
    pub cascades_by_its_old_name: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// `body`: a decoded `DeleteOptions`, `None` when the request had no body.
    pub fn parse(query: &Query, body: Option<&Value>) -> Result<Self, Status> {
        let mut errors = ErrorList::new();
        let mut options = match body {
            Some(body) => Self::from_body(body, &mut errors),
            None => Self::from_query(query, &mut errors)?,
        };
        if options.grace_period_seconds.is_some_and(|seconds| seconds < 0) {
            // Upstream takes a negative period as one second.
            options.grace_period_seconds = Some(1);
        }
        refuse("meta.k8s.io", "DeleteOptions", &errors)?;
        Ok(options)
    }

    fn from_body(body: &Value, errors: &mut ErrorList) -> Self {
        let dry_run = machinery::meta::list(body, "dryRun").iter().filter_map(Value::as_str);
        let text = |path: &str| machinery::meta::at(body, path).as_str().map(str::to_owned);
        let orphan = body["orphanDependents"].as_bool();
        Self {
            propagation: propagation(body["propagationPolicy"].as_str(), orphan, errors),
            cascades_by_its_old_name: orphan == Some(false),
            dry_run: parse_dry_run(dry_run, errors),
            grace_period_seconds: body["gracePeriodSeconds"].as_i64(),
            uid: text("preconditions.uid"),
            resource_version: text("preconditions.resourceVersion"),
        }
    }

    fn from_query(query: &Query, errors: &mut ErrorList) -> Result<Self, Status> {
        let orphan = query.get("orphanDependents").map(|_| query.is_true("orphanDependents"));
        Ok(Self {
            grace_period_seconds: number(query, "gracePeriodSeconds")?,
            propagation: propagation(query.text("propagationPolicy"), orphan, errors),
            cascades_by_its_old_name: orphan == Some(false),
            dry_run: parse_dry_run(query.all("dryRun"), errors),
            uid: query.text("uid").map(str::to_owned),
            resource_version: query.text("resourceVersion").map(str::to_owned),
        })
    }
}

fn propagation(policy: Option<&str>, orphan: Option<bool>, errors: &mut ErrorList) -> Option<Propagation> {
    let path = Path::new("propagationPolicy");
    if policy.is_some() && orphan.is_some() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(Error::invalid(&path, policy.unwrap_or_default(), why));
    }
    match (policy, orphan) {
        (Some("Orphan"), _) => Some(Propagation::Orphan),
        (Some("Background"), _) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some(other), _) => {
            errors.push(Error::not_supported(&path, other, &["Foreground", "Background", "Orphan", "nil"]));
            None
        }
        (None, Some(true)) => Some(Propagation::Orphan),
        (None, Some(false)) => Some(Propagation::Background),
        (None, None) => None,
    }
}
