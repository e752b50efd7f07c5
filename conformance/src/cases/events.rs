//! Events: one store with two views.

use anyhow::Result;
use serde_json::{Value, json};

use super::life::{Kind, life, replace};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Patch, Scope};
use crate::expect::{equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "events",
    area: Area::Kinds,
    capability: "Events, as v1 and as events.k8s.io/v1, of one store",
    cases: &[
        case!(core_events, "core Events live as every kind does"),
        case!(new_events, "Events of events.k8s.io live as every kind does"),
        case!(both_views_show_one_event, "an event made in one group is read in the other, field by field", quick),
        case!(fields_select_in_both, "an event is found by its source here, and by its controller there"),
        case!(a_time_is_required_in_the_new_group, "events.k8s.io refuses an event without eventTime"),
        case!(a_series_is_kept, "a series is patched, and read as it was written"),
    ],
};

fn modern(scope: &Scope, name: &str) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name, "namespace": scope.namespace},
        "regarding": {"kind": "Pod", "name": "p", "namespace": scope.namespace}, "eventTime": "2020-01-02T03:04:05.000006Z",
        "note": "words", "type": "Normal", "reason": "Test", "action": "Do",
        "reportingController": "test-controller", "reportingInstance": "test-instance"})
}

async fn core_events(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "Test", "message": "words",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": scope.namespace},
        "source": {"component": "test"}, "count": 1});
    life(scope, Kind::new("events", object)).await
}

async fn new_events(scope: &Scope) -> Result<()> {
    let mut object = modern(scope, "");
    object.as_object_mut().map(|fields| fields.remove("metadata"));
    life(scope, Kind::new("events", object)).await
}

async fn both_views_show_one_event(scope: &Scope) -> Result<()> {
    scope.resource("events.k8s.io/v1", "events").create(&modern(scope, "one")).await?;
    let core = scope.resource("v1", "events").get("one").await?;
    equal("message", &core["message"], &json!("words"))?;
    equal("involvedObject", &core["involvedObject"]["name"], &json!("p"))?;
    equal("reportingComponent", &core["reportingComponent"], &json!("test-controller"))?;
    equal("eventTime", &core["eventTime"], &json!("2020-01-02T03:04:05.000006Z"))?;
    let old = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "two"}, "message": "old words",
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": scope.namespace}, "reason": "Test", "type": "Normal",
        "source": {"component": "old-source"}, "count": 3, "firstTimestamp": "2020-01-02T03:04:05Z"});
    scope.resource("v1", "events").create(&old).await?;
    let view = scope.resource("events.k8s.io/v1", "events").get("two").await?;
    equal("note", &view["note"], &json!("old words"))?;
    equal("deprecatedSource", &view["deprecatedSource"]["component"], &json!("old-source"))?;
    equal("deprecatedCount", &view["deprecatedCount"], &json!(3))
}

async fn fields_select_in_both(scope: &Scope) -> Result<()> {
    scope.resource("events.k8s.io/v1", "events").create(&modern(scope, "one")).await?;
    let mut other = modern(scope, "two");
    other["reportingController"] = "other-controller".into();
    scope.resource("events.k8s.io/v1", "events").create(&other).await?;
    for (group_version, field) in [("v1", "source"), ("events.k8s.io/v1", "reportingController")] {
        let query = format!("fieldSelector={field}%3Dtest-controller");
        same(field, scope.resource(group_version, "events").names(&query).await?, vec!["one".to_owned()])?;
    }
    for field in ["involvedObject.name%3Dp", "involvedObject.kind%3DPod", "type%3DNormal", "reason%3DTest"] {
        let names = scope.resource("v1", "events").names(&format!("fieldSelector={field}")).await?;
        same(field, names, vec!["one".to_owned(), "two".to_owned()])?;
    }
    Ok(())
}

async fn a_time_is_required_in_the_new_group(scope: &Scope) -> Result<()> {
    let mut event = modern(scope, "one");
    event.as_object_mut().map(|fields| fields.remove("eventTime"));
    refused(scope.resource("events.k8s.io/v1", "events").create(&event).await, 422, "Invalid").map(drop)
}

async fn a_series_is_kept(scope: &Scope) -> Result<()> {
    let events = scope.resource("events.k8s.io/v1", "events");
    events.create(&modern(scope, "one")).await?;
    let series = json!({"count": 2, "lastObservedTime": "2020-01-02T03:04:06.000000Z"});
    let patched = events.patch("one", Patch::Strategic(json!({"series": series}))).await?;
    equal("series", &patched["series"], &series)?;
    equal("series, read again", &events.get("one").await?["series"], &series)?;
    equal("in core", &scope.resource("v1", "events").get("one").await?["series"], &series)?;
    for (group_version, count) in [("v1", 100), ("events.k8s.io/v1", 101)] {
        let events = scope.resource(group_version, "events");
        let series = json!({"count": count, "lastObservedTime": "2017-09-19T13:49:11.000000Z"});
        let put = replace(&events, "one", |event| event["series"] = series.clone()).await?;
        equal("series by PUT", &put["series"], &series)?;
        equal("all of it, read again", &events.get("one").await?, &put)?;
    }
    Ok(())
}
