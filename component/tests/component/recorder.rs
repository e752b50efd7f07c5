//! What of many events reaches the API server.

use component::{recorder::Type, testing::FakeApi};
use k8s_openapi::api::core::v1::Event;

use crate::support::{config_map, context, soon};

/// Waits until so many requests about events were made.
async fn requests(fake: &FakeApi, count: usize) {
    soon(fake.until(|all| all.iter().filter(|request| request.resource == "events").count() >= count)).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_tells_who_what_and_when_and_repetitions_count_up() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    let object = config_map("ns", "a", "1");
    context.recorder.event(&object, Type::Warning, "Odd", "it is odd");
    requests(&fake, 1).await;
    context.recorder.event(&object, Type::Warning, "Odd", "it is odd");
    requests(&fake, 2).await;
    let events = fake.list::<Event>();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event.count, Some(2));
    assert_eq!(event.metadata.namespace.as_deref(), Some("ns"));
    let name = event.metadata.name.as_deref().unwrap();
    let nanoseconds = i128::from_str_radix(name.strip_prefix("a.").unwrap(), 16).unwrap();
    assert_eq!(nanoseconds, event.first_timestamp.as_ref().unwrap().0.as_nanosecond());
    assert_eq!(event.involved_object.kind.as_deref(), Some("ConfigMap"));
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("Odd")));
    let source = event.source.as_ref().unwrap();
    assert_eq!((source.component.as_deref(), source.host.as_deref()), (Some("test-component"), Some("node-1")));
    assert_eq!(event.reporting_component.as_deref(), Some("test-component"));
}

#[tokio::test(start_paused = true)]
async fn many_messages_of_one_reason_become_one_event() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    let object = config_map("ns", "a", "1");
    for number in 0..15 {
        context.recorder.event(&object, Type::Normal, "Many", format!("number {number}"));
        requests(&fake, number + 1).await;
    }
    let events = fake.list::<Event>();
    assert_eq!(events.len(), 10, "nine told singly, the rest combined");
    let combined = events.iter().find(|event| event.message.as_deref().unwrap().starts_with("(combined")).unwrap();
    assert_eq!(combined.message.as_deref(), Some("(combined from similar events): number 14"));
    assert_eq!(combined.count, Some(6));
}

#[tokio::test(start_paused = true)]
async fn a_flood_about_one_object_is_cut_and_other_objects_are_not() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    for number in 0..40 {
        let object = config_map("ns", "a", "1");
        context.recorder.event(&object, Type::Normal, &format!("Reason{number}"), "again");
    }
    context.recorder.event(&config_map("ns", "b", "1"), Type::Normal, "Reason", "once");
    requests(&fake, 26).await;
    let about = |name: &str| {
        fake.list::<Event>().iter().filter(|event| event.involved_object.name.as_deref() == Some(name)).count()
    };
    assert_eq!((about("a"), about("b")), (25, 1));
}

#[tokio::test(start_paused = true)]
async fn a_told_event_that_is_gone_is_made_again_and_errors_are_borne() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    let object = config_map("ns", "a", "1");
    fake.fail("create", "events", 1, 403, "Forbidden");
    context.recorder.event(&object, Type::Normal, "Lost", "refused for good");
    context.recorder.event(&object, Type::Normal, "Kept", "told");
    requests(&fake, 2).await;
    let first = fake.list::<Event>();
    assert_eq!(first.len(), 1);
    fake.remove::<Event>("ns", first[0].metadata.name.as_deref().unwrap());
    context.recorder.event(&object, Type::Normal, "Kept", "told");
    requests(&fake, 4).await;
    assert_eq!(fake.list::<Event>()[0].count, Some(2));
}
