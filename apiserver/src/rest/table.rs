//! The server's own rendering of objects as rows, which `kubectl get` prints.
//!
//! Kubernetes API concept: "Receiving resources as Tables". Columns and cells are the kind's hooks.

use machinery::field::{Error, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::respond::{metadata_alone, partial};
use crate::catalogue::Served;
use crate::kinds::Column;
use crate::request::Query;

pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    priority: 0,
    description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
};
pub const AGE: Column = Column {
    name: "Age",
    kind: "string",
    priority: 0,
    description: "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
};

/// What upstream shows of a kind without a printer of its own: when it was made, in the place of how long ago.
pub const CREATED_COLUMNS: &[Column] = &[NAME, Column { name: "Created At", kind: "date", ..AGE }];

pub fn created_cells(object: &Value, _: i64) -> Vec<Value> {
    let time = match meta::text(object, "metadata.creationTimestamp") {
        "" => "0001-01-01T00:00:00Z",
        time => time,
    };
    vec![meta::name(object).into(), time.into()]
}

/// What is shown of a kind whose hooks name no columns.
pub const PLAIN_COLUMNS: &[Column] = &[NAME, AGE];

pub fn plain_cells(object: &Value, now: i64) -> Vec<Value> {
    vec![meta::name(object).into(), age(object, now).into()]
}

/// A table of one object.
pub fn of_object(served: &Served, object: &Value, now: i64, include: Include) -> Value {
    let metadata = json!({"resourceVersion": meta::resource_version(object)});
    of_rows(served, metadata, vec![row(served, object, now, include)], true)
}

/// A table of one object that is a view of a stored one, such as a Scale. Upstream marks no column as the name there.
pub fn of_view(columns: &[Column], object: &Value, cells: Vec<Value>, include: Include) -> Value {
    let metadata = json!({"resourceVersion": meta::resource_version(object)});
    let row = included(json!({"cells": cells}), include, || partial(object), || object.clone());
    let columns = columns.iter().map(|column| definition(column, "")).collect();
    table(metadata, Some(columns), vec![row])
}

/// What each row carries of its object (`includeObject` of the request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Of a request for a table. Upstream asks when it has the answer and not before, so a write may have happened.
    pub fn of(query: &Query) -> Result<Self, Status> {
        match query.text("includeObject") {
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some("Metadata") | None => Ok(Self::Metadata),
            Some(other) => {
                let why = "must be 'Metadata', 'Object', 'None', or empty";
                let error = Error::invalid(&Path::new("includeObject"), other, why);
                Err(Status::bad_request(format!("Unable to convert to Table as requested: {error}")))
            }
        }
    }
}

/// The row of a stored object.
pub fn row(served: &Served, object: &Value, now: i64, include: Include) -> Value {
    let mut row = json!({"cells": (served.hooks.cells)(object, now)});
    if let Some(condition) = (served.hooks.row_condition)(object) {
        row["conditions"] = json!([condition]);
    }
    included(row, include, || metadata_alone(served, object), || served.shown(object))
}

fn included(
    mut row: Value,
    include: Include,
    metadata: impl FnOnce() -> Value,
    whole: impl FnOnce() -> Value,
) -> Value {
    match include {
        Include::None => row["object"] = Value::Null,
        Include::Metadata => row["object"] = metadata(),
        Include::Object => row["object"] = whole(),
    }
    row
}

/// `with_columns` is false for all but the first table of a watch.
pub fn of_rows(served: &Served, metadata: Value, rows: Vec<Value>, with_columns: bool) -> Value {
    // Upstream marks a VolumeAttachment's attacher so, too.
    let format = |column: &Column| if matches!(column.name, "Name" | "Attacher") { "name" } else { "" };
    let columns = || served.hooks.columns.iter().map(|column| definition(column, format(column))).collect();
    table(metadata, with_columns.then(columns), rows)
}

fn table(metadata: Value, columns: Option<Vec<Value>>, rows: Vec<Value>) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn definition(column: &Column, format: &str) -> Value {
    json!({
        "name": column.name, "type": column.kind, "format": format,
        "description": column.description, "priority": column.priority,
    })
}

/// How long ago the object was made, as `kubectl` shows ages.
pub fn age(object: &Value, now: i64) -> String {
    since(meta::text(object, "metadata.creationTimestamp"), now)
}

/// How long before `now` (seconds since the epoch) the RFC 3339 `time` was.
pub fn since(time: &str, now: i64) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(then) => human_duration(now - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Two units at most, the coarser the longer it is: 7s, 3m20s, 15m, 4h2m, 26h, 3d, 2y40d.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |major: i64, a: &str, minor: i64, b: &str| {
        if minor == 0 { format!("{major}{a}") } else { format!("{major}{a}{minor}{b}") }
    };
    match seconds {
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn shows_ages_as_kubectl_does() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (900, "15m"),
            (4 * 3600 + 120, "4h2m"),
            (26 * 3600, "26h"),
            (3 * 86400, "3d"),
            (40 * 86400, "40d"),
            (365 * 2 * 86400 + 86400, "2y1d"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(human_duration(seconds), shown);
        }
    }
}
