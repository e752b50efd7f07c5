//! Events: kept for an hour, in the shape of the core group, and shown in that of events.k8s.io too (Kubernetes
//! reference: Event).

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::go_form::{self, Form, NUMBER, POINTER, TEXT};
use super::volume::form::OBJECT;
use super::{Column, Conversion, Hooks, MetadataRounds, validate};
use crate::rest::table::{NAME, since};

const fn column(name: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind: "string", priority, description }
}

pub static CORE: Hooks = HOOKS;

const HOOKS: Hooks = Hooks {
    judges_metadata_last: true,
    metadata: MetadataRounds::NONE,
    validate: |event| validate_event(event, "reportingComponent"),
    creates_on_update: true,
    has_dependents: false,
    is_forgotten: true,
    fields: &[
        ("involvedObject.kind", "involvedObject.kind"),
        ("involvedObject.namespace", "involvedObject.namespace"),
        ("involvedObject.name", "involvedObject.name"),
        ("involvedObject.uid", "involvedObject.uid"),
        ("involvedObject.apiVersion", "involvedObject.apiVersion"),
        ("involvedObject.resourceVersion", "involvedObject.resourceVersion"),
        ("involvedObject.fieldPath", "involvedObject.fieldPath"),
        ("reason", "reason"),
        ("reportingComponent", "reportingComponent"),
        ("source", "source.component|reportingComponent"),
        ("type", "type"),
    ],
    columns: &[
        column("Last Seen", 0, "Time when this event was last observed."),
        column("Type", 0, "Normal or Warning."),
        column("Reason", 0, "A word for machines."),
        column("Object", 0, "What the event is about."),
        column("Subobject", 1, "Which part of it."),
        column("Source", 1, "Who tells it."),
        column("Message", 0, "What happened."),
        column("First Seen", 1, "Time when this event was first observed."),
        Column { name: "Count", kind: "string", priority: 1, description: "How often it was observed." },
        Column { priority: 1, ..NAME },
    ],
    cells,
    ..Hooks::PLAIN
};

/// The shape of events.k8s.io, and its stricter rules.
pub static NEW: Hooks = Hooks {
    conversion: Some(&Conversion {
        to_stored: |event| rename(event, |(shown, stored)| (shown, stored)),
        from_stored: |event| rename(event, |(shown, stored)| (stored, shown)),
    }),
    judges_metadata_last: false,
    metadata: MetadataRounds::CHANGE,
    validate: |event| validate_event(event, "reportingController"),
    validate_against: |new, old| match old {
        Some(old) => validate_new_update(new, old),
        None => validate_new_create(new),
    },
    fields: &[
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
        ("reason", "reason"),
        ("reportingController", "reportingComponent"),
        ("type", "type"),
    ],
    ..HOOKS
};

/// Names of fields in events.k8s.io, and in the core group.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(event: &mut Value, direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(fields) = event.as_object_mut() else { return };
    for (from, to) in NAMES.map(direction) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

fn cells(event: &Value, now: i64) -> Vec<Value> {
    let first = match meta::text(event, "firstTimestamp") {
        "" => since(meta::text(event, "eventTime"), now),
        time => since(time, now),
    };
    let (last, count) = match (&event["series"], meta::text(event, "lastTimestamp")) {
        (Value::Null, time) => {
            let last = if time.is_empty() { first.clone() } else { since(time, now) };
            // One that happened once need not say so.
            (last, event["count"].as_i64().filter(|count| *count != 0).unwrap_or(1))
        }
        (series, _) => (since(meta::text(series, "lastObservedTime"), now), series["count"].as_i64().unwrap_or(0)),
    };
    let (kind, name) = (meta::text(event, "involvedObject.kind"), meta::text(event, "involvedObject.name"));
    let about = kind.to_lowercase() + if name.is_empty() { "" } else { "/" } + name;
    let said = |path: &str, otherwise: &str| match meta::text(event, path) {
        "" => meta::text(event, otherwise).to_owned(),
        text => text.to_owned(),
    };
    let mut source = said("source.component", "reportingComponent");
    let instance = said("source.host", "reportingInstance");
    if !instance.is_empty() {
        source.extend([", ", &instance]);
    }
    vec![
        last.into(),
        meta::text(event, "type").into(),
        meta::text(event, "reason").into(),
        about.into(),
        meta::text(event, "involvedObject.fieldPath").into(),
        source.into(),
        meta::text(event, "message").trim().into(),
        first.into(),
        count.into(),
        meta::name(event).into(),
    ]
}

/// Longest texts of events that carry a micro time.
const LIMITS: [(&str, usize); 4] = [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)];

/// `controller`: what the request calls the field that names who tells.
fn validate_event(event: &Value, controller: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let (own, involved) = (meta::namespace(event), meta::text(event, "involvedObject.namespace"));
    let is_new = !meta::text(event, "eventTime").is_empty();
    let agrees = match (is_new, involved.is_empty()) {
        (false, true) => matches!(own, "" | "default"),
        (false, false) => own == involved,
        (true, true) => matches!(own, "default" | "kube-system"),
        (true, false) => true,
    };
    if !agrees {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(Error::invalid(&path, involved, "does not match event.namespace"));
    }
    if is_new {
        errors.extend(validate_new_style(event, controller));
    }
    errors
}

fn validate_new_style(event: &Value, controller_field: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let controller = meta::text(event, "reportingComponent");
    let path = Path::new(controller_field);
    if controller.is_empty() {
        errors.push(Error::required(&path, ""));
    }
    errors.extend(validate::named(controller, names::qualified_name, &path));
    for (field, length_max) in LIMITS {
        let (text, path) = (meta::text(event, field), Path::new(field));
        if text.is_empty() && field != "message" {
            errors.push(Error::required(&path, ""));
        }
        if text.len() > length_max {
            errors.push(Error::invalid(&path, "", format!("can have at most {length_max} characters")));
        }
    }
    errors
}

/// A series has been seen at least twice.
fn validate_series(event: &Value) -> ErrorList {
    let (series, path) = (&event["series"], Path::new("series"));
    let mut errors = ErrorList::new();
    if series.is_object() && series["count"].as_i64().unwrap_or(0) < 2 {
        errors.push(Error::invalid(&path.child("count"), "", "should be at least 2"));
    }
    if series.is_object() && meta::text(series, "lastObservedTime").is_empty() {
        errors.push(Error::required(&path.child("lastObservedTime"), ""));
    }
    errors
}

/// Who makes an event in the new shape says nothing in the old fields. Their names here are the core group's.
fn validate_new_create(event: &Value) -> ErrorList {
    let mut errors = validate_series(event);
    if meta::text(event, "eventTime").is_empty() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = meta::text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = &event["source"];
    let is_told = |field: &&str| match *field {
        "source" => ["component", "host"].iter().any(|part| !meta::text(source, part).is_empty()),
        "count" => event["count"].as_i64().unwrap_or(0) != 0,
        time => !meta::text(event, time).is_empty(),
    };
    let told = ["firstTimestamp", "lastTimestamp", "count", "source"].into_iter().filter(is_told);
    errors.extend(told.map(|field| Error::invalid(&Path::new(field), "", "needs to be unset")));
    errors
}

/// All but the series stays as it was told.
fn validate_new_update(new: &Value, old: &Value) -> ErrorList {
    const SOURCE: Form = Form::Inline(&[("component", TEXT), ("host", TEXT)]);
    // Upstream tells of the reason twice.
    const FIXED: [(&str, &str, Form); 14] = [
        ("involvedObject", "involvedObject", Form::Inline(OBJECT)),
        ("reason", "reason", TEXT),
        ("message", "message", TEXT),
        ("source", "source", SOURCE),
        ("firstTimestamp", "firstTimestamp", POINTER),
        ("lastTimestamp", "lastTimestamp", POINTER),
        ("count", "count", NUMBER),
        ("reason", "reason", TEXT),
        ("type", "type", TEXT),
        ("eventTime", "eventTime", POINTER),
        ("action", "action", TEXT),
        ("related", "related", Form::Struct(OBJECT)),
        ("reportingComponent", "reportingController", TEXT),
        ("reportingInstance", "reportingInstance", TEXT),
    ];
    let mut errors = if new["series"] == old["series"] { ErrorList::new() } else { validate_series(new) };
    let changed = FIXED.iter().filter(|(field, _, _)| !validate::is_alike(&new[field], &old[field]));
    errors.extend(changed.map(|(field, told, form)| {
        let error = Error::invalid(&Path::new(told), new[field].clone(), "field is immutable");
        error.showing(go_form::write(&new[field], form))
    }));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    fn event() -> Value {
        json!({
            "metadata": {"name": "e", "namespace": "default"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingController": "a.io/b", "reportingInstance": "i", "action": "Do", "reason": "Why", "type": "Normal",
            "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "note": "n",
        })
    }

    #[test]
    fn a_row_tells_when_how_often_and_by_whom() {
        let row = |said: Value| {
            let mut event = json!({"involvedObject": {"kind": "Pod", "name": "p"}, "reportingComponent": "c"});
            event.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            let cells = cells(&event, 1_704_067_300);
            [0, 3, 5, 7, 8].map(|cell| cells[cell].to_string().replace('"', "")).join(" ")
        };
        let (first, last) = ("2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z");
        assert_eq!(row(json!({})), "<unknown> pod/p c <unknown> 1");
        assert_eq!(row(json!({"firstTimestamp": first})), "100s pod/p c 100s 1");
        assert_eq!(row(json!({"eventTime": first, "reportingInstance": "i"})), "100s pod/p c, i 100s 1");
        assert_eq!(row(json!({"firstTimestamp": first, "lastTimestamp": last, "count": 3})), "40s pod/p c 100s 3");
        let series = json!({"eventTime": first, "count": 3, "series": {"count": 7, "lastObservedTime": last}});
        assert_eq!(row(series), "40s pod/p c 100s 7");
        let source = json!({"involvedObject": {"kind": "Node"}, "source": {"component": "k", "host": "h"}});
        assert_eq!(row(source), "<unknown> node k, h <unknown> 1");
    }

    #[test]
    fn shapes_turn_into_each_other() {
        let conversion = NEW.conversion.unwrap();
        let mut turned = event();
        (conversion.to_stored)(&mut turned);
        assert_eq!((&turned["involvedObject"]["name"], &turned["message"]), (&json!("p"), &json!("n")));
        (conversion.from_stored)(&mut turned);
        assert_eq!(turned, event());
    }

    #[test]
    fn the_new_shape_is_strict() {
        let stored = |more: Value| {
            let mut event = event();
            more.as_object().unwrap().iter().for_each(|(name, value)| event[name] = value.clone());
            (NEW.conversion.unwrap().to_stored)(&mut event);
            event
        };
        let check = |more: Value| {
            let event = stored(more);
            told([(NEW.validate)(&event), (NEW.validate_against)(&event, None)].concat())
        };
        assert_eq!(check(json!({})), [""; 0]);
        assert_eq!(
            check(
                json!({"type": "Odd", "deprecatedCount": 1, "deprecatedSource": {"host": "h"}, "series": {"count": 1}, "reportingController": ""})
            ),
            [
                "reportingController: Required value",
                "reportingController: Invalid value: \"\": name part must be non-empty",
                "reportingController: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
                "type: Invalid value: \"\": has invalid value: Odd",
                "count: Invalid value: \"\": needs to be unset",
                "source: Invalid value: \"\": needs to be unset",
            ]
        );
        assert_eq!(
            told((NEW.validate_against)(&stored(json!({"note": "other"})), Some(&stored(json!({}))))),
            ["message: Invalid value: \"other\": field is immutable"]
        );
    }
}
