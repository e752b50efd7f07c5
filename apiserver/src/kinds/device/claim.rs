//! ResourceClaims and ResourceClaimTemplates: devices that a pod asks for.

use machinery::field::{ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::super::defaults::{spec, within};
use super::super::{
    Hooks, MetadataRounds, RESETS_WITH_METADATA, reset_status, template_metadata, text_column, validate,
};
use super::{form, request, status};
use crate::rest::table::{AGE, NAME, age};

pub static CLAIM: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    default: |claim| request::default_requests(spec(claim)),
    prepare_create: reset_status,
    resets: RESETS_WITH_METADATA,
    prepare_status: |new, old| {
        validate::keep_metadata(new, old);
        status::drop_deallocated(new, old);
    },
    // The spec cannot change, so on an update only that is looked at.
    validate_against: |new, old| match old {
        Some(old) => immutable_claim(new, old),
        None => request::all(&new["spec"], &Path::new("spec")),
    },
    validate_status: status::validate,
    columns: &[NAME, text_column("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE],
    cells: |claim, now| vec![meta::name(claim).into(), state(claim).into(), age(claim, now).into()],
    ..Hooks::PLAIN
};

pub static TEMPLATE: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    default: |template| {
        if let Some(claim) = within(spec(template), "spec") {
            request::default_requests(claim);
        }
    },
    validate: |template| {
        let (spec, path) = (&template["spec"], Path::new("spec"));
        let mut errors = template_metadata::validate(&spec["metadata"], &path.child("metadata"));
        errors.extend(request::all(&spec["spec"], &path.child("spec")));
        errors
    },
    validate_update: immutable_template,
    ..Hooks::PLAIN
};

fn immutable_claim(new: &Value, old: &Value) -> ErrorList {
    validate::immutable_as(&form::CLAIM, &new["spec"], &old["spec"], &Path::new("spec")).into_iter().collect()
}

fn immutable_template(new: &Value, old: &Value) -> ErrorList {
    let error = validate::immutable(&new["spec"], &old["spec"], &Path::new("spec"));
    error.map(|error| error.showing(form::template(&new["spec"]))).into_iter().collect()
}

fn state(claim: &Value) -> String {
    let (deleted, allocated) = (meta::is_deleting(claim), claim["status"]["allocation"].is_object());
    let reserved = allocated && !meta::list(claim, "status.reservedFor").is_empty();
    let words =
        [(deleted, "deleted"), (!allocated && !deleted, "pending"), (allocated, "allocated"), (reserved, "reserved")];
    let words: Vec<&str> = words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tells_its_state() {
        assert_eq!(state(&json!({})), "pending");
        let used = json!({"status": {"allocation": {}, "reservedFor": [{}]}});
        assert_eq!(state(&used), "allocated,reserved");
        assert_eq!(state(&json!({"metadata": {"deletionTimestamp": "x"}})), "deleted");
    }
}
