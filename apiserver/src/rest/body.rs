//! A request's body as an object of the kind that the path wants.

use http::HeaderMap;
use machinery::gvk::{Gvk, split_api_version};
use machinery::schema::{self, DecodeError, Schema, TypeMeta};
use machinery::status::Status;
use machinery::wire;
use serde_json::Value;

use crate::kinds::old::{is_of_extensions, is_old};
use crate::protobuf;

use super::negotiate::{Format, body_format};
use super::params::FieldValidation;

/// Largest body, in bytes, as upstream's server takes it.
pub const BYTES_MAX: usize = 3 * 1024 * 1024;

/// A decoded body.
pub struct Decoded {
    pub object: Value,
    /// What `fieldValidation=Warn` tells in `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes a body against the schema of `expected` and puts `apiVersion` and `kind` in.
pub fn decode(
    body: &[u8],
    headers: &HeaderMap,
    schema: &Schema,
    expected: &Gvk,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let format = body_format(headers)?;
    let decoded = decode_format(body, format, schema).map_err(|error| refused(&error, expected, body, format))?;
    let mut object = decoded.object;
    let said = object["apiVersion"].as_str().unwrap_or_default();
    if !said.is_empty() && split_api_version(said).is_none() {
        return Err(unrecognized(expected, body, &format!("unexpected GroupVersion string: {said}")));
    }
    check_kind(&object, expected)?;
    let warnings = judge(decoded.strict, expected, validation)?;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), expected.api_version().into());
        fields.insert("kind".into(), expected.kind.clone().into());
    }
    Ok(Decoded { object, warnings })
}

/// Decodes options that a request carries as its body (`DeleteOptions`); unknown fields are passed over.
pub fn decode_options(body: &[u8], headers: &HeaderMap, schema: &Schema) -> Result<Value, Status> {
    let format = body_format(headers)?;
    check_options_kind(&type_meta(body, format))?;
    let decoded = decode_format(body, format, schema);
    decoded.map(|decoded| decoded.object).map_err(|error| Status::bad_request(unread(&error, format)))
}

/// What the body says it is in; empty where it says nothing, or cannot be read.
pub fn api_version(body: &[u8], headers: &HeaderMap) -> Result<String, Status> {
    Ok(type_meta(body, body_format(headers)?).api_version)
}

fn type_meta(body: &[u8], format: Format) -> TypeMeta {
    let said = match format {
        Format::Json => schema::type_meta_json(body).ok(),
        Format::Yaml => schema::type_meta_yaml(body).ok(),
        Format::Protobuf => wire::open(body).ok().map(|envelope| envelope.type_meta),
    };
    said.unwrap_or_default()
}

/// What upstream's options share their scheme with, at whatever version.
const BESIDE_OPTIONS: [&str; 7] =
    ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "CreateOptions", "Status", "UpdateOptions"];
/// The same, at `meta.k8s.io/v1` alone.
const BESIDE_OPTIONS_OF_META: [&str; 8] = [
    "GetOptions",
    "ListOptions",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "PatchOptions",
    "Table",
    "TableOptions",
    "WatchEvent",
];

/// Options of a delete say nothing of their kind, or that they are it. Their version is nobody's matter.
fn check_options_kind(said: &TypeMeta) -> Result<(), Status> {
    let (kind, version) = (said.kind.as_str(), said.api_version.as_str());
    if split_api_version(version).is_none() && !version.is_empty() {
        return Err(Status::bad_request(format!("unexpected GroupVersion string: {version}")));
    }
    if matches!(kind, "" | "DeleteOptions") {
        return Ok(());
    }
    let is_known =
        BESIDE_OPTIONS.contains(&kind) || version == "meta.k8s.io/v1" && BESIDE_OPTIONS_OF_META.contains(&kind);
    Err(Status::bad_request(match is_known {
        true => format!("converting (v1.{kind}) to (v1.DeleteOptions): unknown conversion"),
        false => format!(
            "no kind {} is registered for version {} in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"",
            machinery::field::quote(kind),
            machinery::field::quote(if version.is_empty() { "v1" } else { version }),
        ),
    }))
}

fn decode_format(body: &[u8], format: Format, schema: &Schema) -> Result<schema::Decoded, DecodeError> {
    match format {
        Format::Json => schema::decode_json(schema, body),
        Format::Yaml => schema::decode_yaml(schema, body),
        Format::Protobuf => protobuf::decode(schema, body),
    }
}

/// A body that is not an object of the kind, in upstream's words.
fn refused(error: &DecodeError, expected: &Gvk, body: &[u8], format: Format) -> Status {
    let why = unread(error, format);
    if let (DecodeError::Type(_), Some(unknown)) = (error, unregistered(&type_meta(body, format), expected)) {
        return unknown;
    }
    Status::bad_request(match error {
        DecodeError::Type(text) if !text.contains(NO_OBJECT) => format!(
            "{kind} in version {version} cannot be handled as a {kind}: {why}",
            kind = expected.kind,
            version = machinery::field::quote(&expected.version),
        ),
        _ => return unrecognized(expected, body, &why),
    })
}

/// What is said of a body whose kind nobody knows: upstream can make nothing of it, and does not come to its fields.
fn unregistered(said: &TypeMeta, expected: &Gvk) -> Option<Status> {
    let object = serde_json::json!({"apiVersion": said.api_version, "kind": said.kind});
    let given = foreign_kind(&object, expected).ok().flatten();
    given.filter(|(given, _)| !is_known(given)).and_then(|_| check_kind(&object, expected).err())
}

fn unrecognized(expected: &Gvk, body: &[u8], why: &str) -> Status {
    let (kind, body) = (&expected.kind, summary(body));
    Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({body})"))
}

/// Why. What is no object at all is asked for its kind in vain.
fn unread(error: &DecodeError, format: Format) -> String {
    const NO_KIND: &str = "couldn't get version/kind; json parse error: ";
    match (error, format) {
        (DecodeError::Syntax(text), Format::Json) => format!("{NO_KIND}{text}"),
        (DecodeError::Syntax(text), _) => text.trim_start_matches("error converting YAML to JSON: ").to_owned(),
        (DecodeError::Type(text), _) => match text.split_once(NO_OBJECT) {
            Some((what, _)) => format!("{NO_KIND}{what}{NO_OBJECT}{TYPE_META}"),
            None => text.clone(),
        },
    }
}

const NO_OBJECT: &str = " into Go value of type ";
/// How Go prints the type that it reads a version and a kind into.
const TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
const SUMMARY_BYTES_MAX: usize = 30;

/// The beginning of a body, in hexadecimal where it is none of JSON's objects.
fn summary(body: &[u8]) -> String {
    let shown = &body[..body.len().min(SUMMARY_BYTES_MAX)];
    let text = match shown.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if shown.len() < body.len() { text + " ..." } else { text }
}

/// What unknown and duplicate fields lead to.
pub fn judge(found: Vec<String>, expected: &Gvk, validation: FieldValidation) -> Result<Vec<String>, Status> {
    match validation {
        FieldValidation::Strict if !found.is_empty() => Err(Status::bad_request(format!(
            "{kind} in version {version} cannot be handled as a {kind}: strict decoding error: {}",
            found.join(", "),
            kind = expected.kind,
            version = machinery::field::quote(&expected.version),
        ))),
        FieldValidation::Warn => Ok(found.iter().flat_map(|text| schema::warnings(text)).collect()),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
    }
}

/// Whether an object says that it is of the expected kind; one that says nothing is.
pub fn check_kind(object: &Value, expected: &Gvk) -> Result<(), Status> {
    let Some((given, why)) = foreign_kind(object, expected)? else { return Ok(()) };
    if is_other_version(&given, expected) {
        let (given, expected) = (given.api_version(), expected.api_version());
        return Err(Status::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    let version = machinery::field::quote(&given.version);
    Err(Status::bad_request(format!(
        "{} in version {version} cannot be handled as a {}: {why}",
        given.kind, expected.kind
    )))
}

/// Whether upstream has one internal type for both, and so reads the one where it wants the other.
fn is_other_version(given: &Gvk, expected: &Gvk) -> bool {
    let is_of_its_package =
        || is_of_extensions(given) || internal_package(&given.group) == internal_package(&expected.group);
    given.kind == expected.kind && is_known(given) && is_of_its_package()
}

fn is_known(kind: &Gvk) -> bool {
    schema::builtin(kind).is_some() || is_old(kind)
}

/// What another kind the object says it is of, and why that cannot be taken.
pub fn foreign_kind(object: &Value, expected: &Gvk) -> Result<Option<(Gvk, String)>, Status> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let (group, version) = if api_version.is_empty() {
        (expected.group.as_str(), expected.version.as_str())
    } else {
        split_api_version(api_version)
            .ok_or_else(|| Status::bad_request(format!("unexpected GroupVersion string: {api_version}")))?
    };
    let kind = if kind.is_empty() { &expected.kind } else { kind };
    let given = Gvk::new(group, version, kind);
    if given == *expected {
        return Ok(None);
    }
    let why = if is_known(&given) && (given.group != expected.group || given.kind != expected.kind) {
        let inside = internal_package(&expected.group);
        format!("converting ({}.{}) to ({inside}.{}): unknown conversion", given.version, given.kind, expected.kind)
    } else {
        format!(
            "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            machinery::field::quote(&given.kind),
            machinery::field::quote(&given.api_version()),
        )
    };
    Ok(Some((given, why)))
}

/// The package of upstream's internal types of a group.
pub fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_shown() {
        let long = [b'{'; 31];
        for (body, want) in [
            (&b""[..], "<empty>"),
            (b"{\"a\"", "{\"a\""),
            (b"[]", "5b5d"),
            (&long, "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{ ..."),
        ] {
            assert_eq!(summary(body), want);
        }
        let error = DecodeError::Type("json: cannot unmarshal array into Go value of type v1.Pod".to_owned());
        let told = refused(&error, &Gvk::new("", "v1", "Pod"), b"[]", Format::Json).message;
        assert!(told.starts_with("the object provided is unrecognized (must be of type Pod): couldn't get"), "{told}");
        assert!(told.ends_with("into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)"), "{told}");
    }

    #[test]
    fn another_version_is_told_by_its_name() {
        let told = |given: (&str, &str), expected: Gvk| {
            let object = serde_json::json!({"apiVersion": given.0, "kind": given.1});
            check_kind(&object, &expected).expect_err("it is another").message
        };
        for (given, group, version) in [
            (("autoscaling/v2", "HorizontalPodAutoscaler"), "autoscaling", "v1"),
            (("autoscaling/v1", "HorizontalPodAutoscaler"), "autoscaling", "v2"),
            (("events.k8s.io/v1", "Event"), "", "v1"),
            (("v1", "Event"), "events.k8s.io", "v1"),
            (("events.k8s.io/v1beta1", "Event"), "", "v1"),
            (("extensions/v1beta1", "Deployment"), "apps", "v1"),
            (("extensions/v1beta1", "Ingress"), "networking.k8s.io", "v1"),
        ] {
            let expected = Gvk::new(group, version, given.1);
            let wanted = format!(
                "the API version in the data ({}) does not match the expected API version ({})",
                given.0,
                expected.api_version()
            );
            assert_eq!(told(given, expected), wanted);
        }
        let unknown = told(
            ("autoscaling/v9", "HorizontalPodAutoscaler"),
            Gvk::new("autoscaling", "v1", "HorizontalPodAutoscaler"),
        );
        assert!(unknown.contains("no kind \"HorizontalPodAutoscaler\" is registered"), "{unknown}");
        let error = DecodeError::Type("json: cannot unmarshal".to_owned());
        for (body, is_unknown) in [(&br#"{"apiVersion": "x/v1", "spec": 1}"#[..], true), (br#"{"spec": 1}"#, false)] {
            let told = refused(&error, &Gvk::new("", "v1", "Pod"), body, Format::Json).message;
            assert_eq!(told.contains("no kind \"Pod\" is registered for version \"x/v1\""), is_unknown, "{told}");
        }
    }

    #[test]
    fn another_kind_is_told_with_the_types_of_either() {
        let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret"});
        let (_, why) = foreign_kind(&secret, &Gvk::new("rbac.authorization.k8s.io", "v1", "Role")).unwrap().unwrap();
        assert_eq!(why, "converting (v1.Secret) to (rbac.Role): unknown conversion");
        assert!(foreign_kind(&secret, &Gvk::new("", "v1", "Secret")).unwrap().is_none());
    }
}
