//! PriorityLevelConfigurations: how many requests of a level run at once, and what becomes of the others.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Map, Value};

use super::super::defaults::{set_number, within};
use super::super::{Hooks, MetadataRounds, RESETS_WITH_METADATA, reset_status, text_column, validate};
use super::standard;
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::WHOLE,
    status_metadata: MetadataRounds::NONE,
    default: |level| {
        let Some(fields) = level.get_mut("spec").and_then(Value::as_object_mut) else { return };
        if let Some(exempt) = within(fields, "exempt") {
            set_absent(exempt, "nominalConcurrencyShares", 0);
            set_absent(exempt, "lendablePercent", 0);
        }
        let Some(limited) = within(fields, "limited") else { return };
        set_absent(limited, "nominalConcurrencyShares", 30);
        set_absent(limited, "lendablePercent", 0);
        let queuing = within(limited, "limitResponse").and_then(|response| within(response, "queuing"));
        if let Some(queuing) = queuing {
            set_number(queuing, "handSize", 8);
            set_number(queuing, "queues", 64);
            set_number(queuing, "queueLengthLimit", 50);
        }
    },
    prepare_create: reset_status,
    resets: RESETS_WITH_METADATA,
    prepare_status: super::keep_all_metadata,
    validate: validate_level,
    validate_status: |new, _| validate::conditions(new),
    has_generation: true,
    columns: &[
        NAME,
        text_column("Type", "Whether it is limited."),
        text_column("NominalConcurrencyShares", "Its part of the server's places."),
        text_column("Queues", "How many queues it has."),
        text_column("HandSize", "Among how many of them a flow is spread."),
        text_column("QueueLengthLimit", "How many requests wait in each."),
        AGE,
    ],
    cells: |level, now| {
        let number = |path: &str| match meta::at(level, path) {
            Value::Null => "<none>".into(),
            number => number.clone(),
        };
        vec![
            meta::name(level).into(),
            meta::text(level, "spec.type").into(),
            number("spec.limited.nominalConcurrencyShares"),
            number("spec.limited.limitResponse.queuing.queues"),
            number("spec.limited.limitResponse.queuing.handSize"),
            number("spec.limited.limitResponse.queuing.queueLengthLimit"),
            age(level, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

fn set_absent(fields: &mut Map<String, Value>, name: &str, value: i64) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

fn validate_level(level: &Value) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &level["spec"]);
    let mut errors = ErrorList::new();
    if meta::annotation(level, ZERO_SHARES).is_some() {
        let at = validate::path(&["metadata", "annotations"]);
        errors.push(Error::forbidden(&at, format!("annotation '{ZERO_SHARES}' is forbidden")));
    }
    errors.extend(validate_spec(spec, meta::name(level), &path));
    errors.extend(mandatory(spec, meta::name(level), &path));
    errors.extend(validate::conditions(level));
    errors
}

/// The two levels that every cluster needs stay as they are, but for the shares of the exempt one.
fn mandatory(spec: &Value, name: &str, path: &Path) -> Option<Error> {
    let wanted = standard::mandatory_level(name)?;
    let mut have = spec.clone();
    let why = if name == "exempt" {
        have["exempt"] = wanted["exempt"].clone();
        format!("spec of '{name}' except the 'spec.exempt' field must equal the fixed value")
    } else {
        format!("spec of '{name}' must equal the fixed value")
    };
    (!validate::is_alike(&have, &wanted)).then(|| Error::invalid(path, spec.clone(), why))
}

fn validate_spec(spec: &Value, name: &str, path: &Path) -> ErrorList {
    let kind = meta::text(spec, "type");
    let mut errors = ErrorList::new();
    if (name == "exempt") != (kind == "Exempt") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(&path.child("type"), kind, why));
    }
    let (exempt, limited) = (&spec["exempt"], &spec["limited"]);
    match kind {
        "Exempt" => {
            if !limited.is_null() {
                errors.push(Error::forbidden(&path.child("limited"), "must be nil if the type is not Limited"));
            }
            errors.extend(shares(exempt, &path.child("exempt")));
        }
        "Limited" => {
            if !exempt.is_null() {
                errors.push(Error::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
            }
            if limited.is_null() {
                errors.push(Error::required(&path.child("limited"), "must not be empty when type is Limited"));
            } else {
                errors.extend(validate_limited(limited, &path.child("limited")));
            }
        }
        other => errors.push(Error::not_supported(&path.child("type"), other, &["Exempt", "Limited"])),
    }
    errors
}

fn shares(fields: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(shares) = fields["nominalConcurrencyShares"].as_i64().filter(|shares| *shares < 0) {
        let why = "must be a non-negative integer";
        errors.push(Error::invalid(&path.child("nominalConcurrencyShares"), shares, why));
    }
    if let Some(percent) = fields["lendablePercent"].as_i64().filter(|percent| !(0..=100).contains(percent)) {
        let why = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(&path.child("lendablePercent"), percent, why));
    }
    errors
}

fn validate_limited(limited: &Value, path: &Path) -> ErrorList {
    let mut errors = shares(limited, path);
    errors.extend(response(&limited["limitResponse"], &path.child("limitResponse")));
    if let Some(percent) = limited["borrowingLimitPercent"].as_i64().filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(&path.child("borrowingLimitPercent"), percent, why));
    }
    errors
}

fn response(response: &Value, path: &Path) -> ErrorList {
    let (queuing, at) = (&response["queuing"], path.child("queuing"));
    match meta::text(response, "type") {
        "Reject" if queuing.is_null() => ErrorList::new(),
        "Reject" => vec![Error::forbidden(&at, "must be nil if limited.limitResponse.type is not Limited")],
        "Queue" if queuing.is_null() => {
            vec![Error::required(&at, "must not be empty if limited.limitResponse.type is Limited")]
        }
        "Queue" => validate_queuing(queuing, &at),
        other => vec![Error::not_supported(&path.child("type"), other, &["Queue", "Reject"])],
    }
}

const QUEUES_MAX: i64 = 10_000_000;
/// Bits of a flow's hash by which its queues are dealt.
const HASH_BITS_MAX: i64 = 60;

fn validate_queuing(queuing: &Value, path: &Path) -> ErrorList {
    let number = |field: &str| queuing[field].as_i64().unwrap_or(0);
    let (queues, hand, length) = (number("queues"), number("handSize"), number("queueLengthLimit"));
    let mut errors = ErrorList::new();
    let mut refuse = |field: &str, value: i64, why: String| errors.push(Error::invalid(&path.child(field), value, why));
    let positive = || "must be positive".to_owned();
    if length <= 0 {
        refuse("queueLengthLimit", length, positive());
    }
    if queues <= 0 {
        refuse("queues", queues, positive());
    } else if queues > QUEUES_MAX {
        refuse("queues", queues, format!("must not be greater than {QUEUES_MAX}"));
    }
    // Queues and hands are at most ten millions here, far from what a float cannot hold.
    let entropy = ((queues as f64).log2() * hand as f64).ceil() as i64;
    if hand <= 0 {
        refuse("handSize", hand, positive());
    } else if hand > queues {
        refuse("handSize", hand, format!("should not be greater than queues ({queues})"));
    } else if entropy > HASH_BITS_MAX {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        refuse("handSize", hand, why);
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(name: &str, spec: Value) -> Vec<String> {
        let mut level = json!({"metadata": {"name": name}, "spec": spec});
        (HOOKS.default)(&mut level);
        validate_level(&level).iter().map(Error::to_string).collect()
    }

    #[test]
    fn levels_good_and_bad() {
        let queue = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
        assert_eq!(told("a", queue(json!({}))), [""; 0]);
        assert_eq!(
            told("a", queue(json!({"queues": 1024, "handSize": 7}))),
            [
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should not be greater than 60"
            ]
        );
        assert_eq!(
            told(
                "a",
                json!({"type": "Limited", "exempt": {}, "limited": {"lendablePercent": 101, "borrowingLimitPercent": -1, "nominalConcurrencyShares": -1, "limitResponse": {"type": "Reject", "queuing": {}}}})
            ),
            [
                "spec.exempt: Forbidden: must be nil if the type is Limited",
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
            ]
        );
        assert_eq!(
            told("a", json!({"type": "Exempt"})),
            ["spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"]
        );
    }

    #[test]
    fn mandatory_levels_stay() {
        for name in ["exempt", "catch-all"] {
            assert_eq!(told(name, standard::mandatory_level(name).unwrap()), [""; 0]);
        }
        assert_eq!(told("exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 5}})), [""; 0]);
        assert_eq!(
            told("catch-all", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}})).len(),
            1
        );
    }
}
