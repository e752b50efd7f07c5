//! Events: kept for an hour (Kubernetes reference: Event).

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::{Column, Hooks, validate};
use crate::rest::table::{NAME, age, since};

const fn column(name: &'static str, priority: i32, description: &'static str) -> Column {
    Column { name, kind: "string", priority, description }
}

pub static HOOKS: Hooks = Hooks {
    // Upstream never judged the names of core Events.
    name: |_| Vec::new(),
    validate: validate_event,
    creates_on_update: true,
    time_to_live_seconds: Some(3600),
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
        ("source", "source.component"),
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
        Column { name: "Count", kind: "integer", priority: 1, description: "How often it was observed." },
        Column { priority: 1, ..NAME },
    ],
    cells,
    ..Hooks::PLAIN
};

fn cells(event: &Value, now: i64) -> Vec<Value> {
    let micro = meta::text(event, "eventTime");
    let seen = |path: &str| match meta::text(event, path) {
        "" if micro.is_empty() => age(event, now),
        "" => since(micro, now),
        time => since(time, now),
    };
    let (kind, name) = (meta::text(event, "involvedObject.kind"), meta::text(event, "involvedObject.name"));
    let component = match meta::text(event, "source.component") {
        "" => meta::text(event, "reportingComponent"),
        component => component,
    };
    let source = match meta::text(event, "source.host") {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    };
    let last = meta::text(event, "series.lastObservedTime");
    vec![
        if last.is_empty() { seen("lastTimestamp") } else { since(last, now) }.into(),
        meta::text(event, "type").into(),
        meta::text(event, "reason").into(),
        format!("{}/{name}", kind.to_lowercase()).into(),
        meta::text(event, "involvedObject.fieldPath").into(),
        source.into(),
        meta::text(event, "message").trim().into(),
        seen("firstTimestamp").into(),
        meta::at(event, "count").as_i64().filter(|count| *count > 0).unwrap_or(1).into(),
        meta::name(event).into(),
    ]
}

/// Longest texts of events that carry a micro time.
const LIMITS: [(&str, usize); 4] = [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)];

fn validate_event(event: &Value) -> ErrorList {
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
        errors.extend(validate_new_style(event));
    }
    errors
}

fn validate_new_style(event: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let controller = meta::text(event, "reportingComponent");
    let path = Path::new("reportingComponent");
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
