//! VolumeAttachments: that a volume is, or is to be, attached to a node.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::{Column, Hooks, MetadataRounds, RESETS_WITH_METADATA, reset_status, text_column, validate, volume};
use super::driver_name;
use crate::kinds::defaults::round_amounts;
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::WHOLE,
    status_metadata: MetadataRounds::WHOLE,
    default: |attachment| {
        let inline = attachment.pointer_mut("/spec/source/inlineVolumeSpec").and_then(Value::as_object_mut);
        if let Some(inline) = inline {
            round_amounts(inline, "capacity");
            volume::defaults::source(inline);
        }
    },
    prepare_create: reset_status,
    resets: RESETS_WITH_METADATA,
    prepare_status: validate::keep_metadata,
    validate: validate_attachment,
    validate_update: immutable_spec,
    validate_status: |new, old| [validate_attachment(new), immutable_spec(new, old)].concat(),
    updates_unconditionally: false,
    columns: &[
        NAME,
        text_column("Attacher", "The driver that attaches."),
        text_column("PV", "The volume."),
        text_column("Node", "Where to."),
        Column { name: "Attached", kind: "boolean", priority: 0, description: "Whether it is done." },
        AGE,
    ],
    cells: |attachment, now| {
        vec![
            meta::name(attachment).into(),
            meta::text(attachment, "spec.attacher").into(),
            meta::text(attachment, "spec.source.persistentVolumeName").into(),
            meta::text(attachment, "spec.nodeName").into(),
            meta::is_true(attachment, "status.attached").into(),
            age(attachment, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

fn immutable_spec(new: &Value, old: &Value) -> ErrorList {
    validate::immutable_as(&volume::form::ATTACHMENT, &new["spec"], &old["spec"], &Path::new("spec"))
        .into_iter()
        .collect()
}

fn validate_attachment(attachment: &Value) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &attachment["spec"]);
    let mut errors = driver_name(meta::text(spec, "attacher"), &path.child("attacher"));
    let source_at = path.child("source");
    errors.extend(source(&spec["source"], &source_at));
    errors.extend(validate::named(meta::text(spec, "nodeName"), names::dns_subdomain, &path.child("nodeName")));
    errors.extend(status(&attachment["status"], &Path::new("status")));
    // Upstream asks for it last.
    let name = meta::at(spec, "source.persistentVolumeName").as_str();
    let at = source_at.child("persistentVolumeName");
    errors.extend(name.into_iter().flat_map(|name| validate::named(name, names::dns_subdomain, &at)));
    errors
}

fn source(source: &Value, path: &Path) -> ErrorList {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (inline, name) = (&source["inlineVolumeSpec"], source["persistentVolumeName"].as_str());
    let at = path.child("persistentVolumeName");
    match (inline.is_null(), name) {
        (true, None) => vec![Error::required(path, ONE)],
        (false, Some(_)) => vec![Error::forbidden(path, ONE)],
        (true, Some("")) => vec![Error::required(&at, "must specify non empty persistentVolumeName")],
        (true, Some(_)) => ErrorList::new(),
        (false, None) => volume::validate_inline(inline, &path.child("inlineVolumeSpec")),
    }
}

const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_BYTES_MAX: usize = 1024;

fn status(status: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let metadata = meta::map(status, "attachmentMetadata").iter();
    if metadata.map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len()).sum::<usize>()
        > METADATA_BYTES_MAX
    {
        errors.push(Error::too_long(&path.child("attachmentMetadata"), METADATA_BYTES_MAX));
    }
    for field in ["attachError", "detachError"] {
        let (error, at) = (&status[field], path.child(field));
        if meta::text(error, "message").len() > MESSAGE_BYTES_MAX {
            // Upstream tells the other limit.
            errors.push(Error::too_long(&at.child("message"), METADATA_BYTES_MAX));
        }
        if let Some(code) = error["errorCode"].as_i64().filter(|code| *code < 0) {
            let why = names::range_error(0, i64::from(i32::MAX));
            errors.push(Error::invalid(&at.child("errorCode"), code, why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_one_source() {
        let told = |source: Value| -> Vec<String> {
            let attachment = json!({"spec": {"attacher": "d.io", "nodeName": "n", "source": source}});
            validate_attachment(&attachment).iter().map(Error::to_string).collect()
        };
        assert_eq!(told(json!({"persistentVolumeName": "p"})), [""; 0]);
        assert_eq!(told(json!({"persistentVolumeName": "p", "inlineVolumeSpec": {}})).len(), 1);
        assert_eq!(
            told(
                json!({"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}, "capacity": {"storage": "1"}}})
            ),
            [
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
            ]
        );
    }

    #[test]
    fn an_inline_volume_has_a_volumes_defaults() {
        let inline = json!({"hostPath": {"path": "/x"}, "capacity": {"storage": "1n"}});
        let mut attachment = json!({"spec": {"source": {"inlineVolumeSpec": inline}}});
        (HOOKS.default)(&mut attachment);
        let inline = &attachment["spec"]["source"]["inlineVolumeSpec"];
        assert_eq!(*inline, json!({"hostPath": {"path": "/x", "type": ""}, "capacity": {"storage": "1m"}}));
    }

    #[test]
    fn codes_of_errors_are_not_negative() {
        let status = json!({"attachError": {"message": "x".repeat(1025), "errorCode": -1}});
        let told: Vec<String> = super::status(&status, &Path::new("status")).iter().map(Error::to_string).collect();
        assert_eq!(
            told,
            [
                "status.attachError.message: Too long: may not be more than 262144 bytes",
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ]
        );
    }
}
