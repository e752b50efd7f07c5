//! Informers over a scripted API server: lists, watches, expiry, handlers.

use std::sync::{Arc, Mutex};

use component::{
    informer::{Event, Informers, Selection},
    random::Random,
    shutdown::Shutdown,
    testing::FakeApi,
};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::{sync::watch, time::Instant};

use crate::support::{config_map, soon};

/// Writes down each event as `+name`, `~name` or `-name`.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<String>>>, watch::Sender<usize>);

impl Log {
    fn new() -> Self {
        Self(Arc::default(), watch::Sender::new(0))
    }

    fn write(&self, event: &Event<ConfigMap>) {
        let sign = match event {
            Event::Added(_) => '+',
            Event::Updated { .. } => '~',
            Event::Deleted(_) => '-',
        };
        let name = event.object().metadata.name.clone().unwrap_or_default();
        self.0.lock().unwrap().push(format!("{sign}{name}"));
        self.1.send_modify(|count| *count += 1);
    }

    async fn has(&self, wanted: &[&str]) {
        soon(self.1.subscribe().wait_for(|count| *count >= wanted.len())).await.unwrap();
        assert_eq!(*self.0.lock().unwrap(), wanted);
    }
}

fn informers(fake: &FakeApi) -> Informers {
    Informers::new(fake.client(), Random::seeded(1), Shutdown::new())
}

#[tokio::test(start_paused = true)]
async fn handlers_see_what_was_there_and_every_change_in_order() {
    let fake = FakeApi::new();
    fake.put(&config_map("ns", "a", "1"));
    let informer = informers(&fake).of::<ConfigMap>();
    soon(informer.synced()).await;
    let log = Log::new();
    let writer = log.clone();
    informer.on_event(move |event| writer.write(event));
    fake.put(&config_map("ns", "b", "1"));
    fake.put(&config_map("ns", "a", "2"));
    fake.remove::<ConfigMap>("ns", "b");
    log.has(&["+a", "+b", "~a", "-b"]).await;
    assert_eq!(informer.len(), 1);
    let a = informer.get("ns", "a").unwrap();
    assert_eq!(a.data.as_ref().unwrap()["k"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_breaks_is_resumed_and_one_too_old_lists_again() {
    let fake = FakeApi::new();
    fake.put(&config_map("ns", "a", "1"));
    fake.put(&config_map("ns", "b", "1"));
    let informer = informers(&fake).of::<ConfigMap>();
    let log = Log::new();
    let writer = log.clone();
    informer.on_event(move |event| writer.write(event));
    log.has(&["+a", "+b"]).await;

    fake.break_watches();
    fake.put(&config_map("ns", "c", "1"));
    log.has(&["+a", "+b", "+c"]).await;

    fake.put(&config_map("other", "x", "1"));
    log.has(&["+a", "+b", "+c", "+x"]).await;
    fake.break_watches();
    fake.remove::<ConfigMap>("ns", "a");
    fake.put(&config_map("ns", "b", "2"));
    fake.compact();
    log.has(&["+a", "+b", "+c", "+x", "~b", "-a"]).await;
    assert_eq!(informer.in_namespace("ns").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_is_asked_again() {
    let fake = FakeApi::new();
    fake.put(&config_map("ns", "a", "1"));
    fake.fail("list", "configmaps", 3, 503, "ServiceUnavailable");
    let start = Instant::now();
    let informer = informers(&fake).of::<ConfigMap>();
    assert!(!informer.has_synced());
    soon(informer.synced()).await;
    // 100, 200 and 400 ms, each at most doubled by jitter.
    assert!((700..=1400).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert_eq!(informer.len(), 1);
    assert_eq!(fake.received().iter().filter(|request| request.verb == "list").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn indexes_follow_the_objects_and_selections_have_stores_of_their_own() {
    let fake = FakeApi::new();
    for (name, value) in [("a", "x"), ("b", "y"), ("c", "x")] {
        fake.put(&config_map("ns", name, value));
    }
    let informers = informers(&fake);
    let all = informers.of::<ConfigMap>();
    soon(all.synced()).await;
    all.index("value", |object| object.data.iter().flatten().map(|(_, value)| value.clone()).collect());
    let names = |value: &str| -> Vec<String> {
        all.by_index("value", value).iter().map(|object| object.metadata.name.clone().unwrap()).collect()
    };
    assert_eq!(names("x"), ["a", "c"]);

    let some = informers.selected::<ConfigMap>(Selection::labels("app=b"));
    soon(some.synced()).await;
    assert_eq!(some.len(), 1);

    let log = Log::new();
    let writer = log.clone();
    all.on_event(move |event| writer.write(event));
    fake.put(&config_map("ns", "a", "y"));
    log.has(&["+a", "+b", "+c", "~a"]).await;
    assert_eq!((names("x"), names("y")), (vec!["c".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn one_reflector_serves_all_who_ask_for_a_kind() {
    let fake = FakeApi::new();
    let informers = informers(&fake);
    let (one, other) = (informers.of::<ConfigMap>(), informers.clone().of::<ConfigMap>());
    soon(one.synced()).await;
    soon(other.synced()).await;
    assert_eq!(fake.received().iter().filter(|request| request.verb == "list").count(), 1);
}
