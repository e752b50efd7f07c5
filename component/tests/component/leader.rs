//! Elections over a scripted API server, in simulated time.

use std::time::Duration;

use component::{
    context::Context,
    leader::{self, Error, Identity, Settings},
    testing::FakeApi,
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Event};
use tokio::{sync::oneshot, time::Instant};

use crate::support::{context, soon};

fn unique(context: &Context) -> Settings {
    Settings::new("test-component", Identity::unique("node-1", &context.random))
}

fn holding(context: &Context) -> Settings {
    let address = "127.0.0.1:10257".parse().unwrap();
    Settings::new("test-component", Identity::holding("node-1", "test-component", address, &context.random))
}

fn holder(fake: &FakeApi) -> String {
    let lease: Lease = fake.get("kube-system", "test-component").unwrap();
    lease.spec.unwrap().holder_identity.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_renews_tells_and_gives_the_lease_up_at_its_end() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    let settings = unique(&context);
    let identity = settings.identity.as_str().to_owned();
    let seen = fake.clone();
    let led = leader::run(settings, &context, |_| async move {
        let first: Lease = seen.get("kube-system", "test-component").unwrap();
        assert_eq!(first.spec.as_ref().unwrap().holder_identity.as_deref(), Some(&*identity));
        assert_eq!(first.spec.as_ref().unwrap().lease_duration_seconds, Some(15));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later: Lease = seen.get("kube-system", "test-component").unwrap();
        let renewed = |lease: &Lease| lease.spec.clone().unwrap().renew_time.unwrap().0;
        assert!(renewed(&later).duration_since(renewed(&first)).as_secs() >= 58);
        "done"
    });
    assert_eq!(soon_in(Duration::from_secs(120), led).await.unwrap(), Some("done"));
    assert_eq!(holder(&fake), "");
    soon(fake.until(|all| all.iter().any(|request| request.resource == "events"))).await;
    let event = &fake.list::<Event>()[0];
    assert_eq!(event.reason.as_deref(), Some("LeaderElection"));
    assert!(event.message.as_deref().unwrap().ends_with(" became leader"));
}

async fn soon_in<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("in time")
}

#[tokio::test(start_paused = true)]
async fn a_standby_waits_until_the_leader_is_silent_for_the_lease_duration() {
    let fake = FakeApi::new();
    let (one, two) = (context(&fake, 1), context(&fake, 2));
    let (leads, led) = oneshot::channel();
    let first = tokio::spawn(async move {
        let settings = unique(&one);
        leader::run(settings, &one, |_| async move {
            let _ = leads.send(());
            std::future::pending::<()>().await;
        })
        .await
    });
    soon(led).await.unwrap();
    let second = tokio::spawn(async move { leader::run(unique(&two), &two, |_| async { Instant::now() }).await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!second.is_finished(), "the leader renews");
    first.abort();
    let died = Instant::now();
    let took_over = soon_in(Duration::from_secs(60), second).await.unwrap().unwrap().unwrap();
    let waited = took_over.duration_since(died).as_secs();
    assert!((13..=20).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_process_takes_its_own_lease_at_once() {
    let fake = FakeApi::new();
    let (one, two) = (context(&fake, 1), context(&fake, 2));
    let (leads, led) = oneshot::channel();
    let first = tokio::spawn(async move {
        leader::run(holding(&one), &one, |_| async move {
            let _ = leads.send(());
            std::future::pending::<()>().await;
        })
        .await
    });
    soon(led).await.unwrap();
    let before = holder(&fake);
    first.abort();
    let start = Instant::now();
    soon(leader::run(holding(&two), &two, |_| async {})).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    let lease: Lease = fake.get("kube-system", "test-component").unwrap();
    assert_eq!(lease.spec.unwrap().lease_transitions, Some(1));
    assert_ne!(before, "");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_its_lease_ends() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    let scripted = fake.clone();
    let start = Instant::now();
    let lost = leader::run(unique(&context), &context, |leading| async move {
        scripted.fail("update", "leases", u32::MAX, 500, "InternalError");
        leading.cancelled().await;
    });
    let error = soon_in(Duration::from_secs(60), lost).await.unwrap_err();
    assert!(matches!(error, Error::Lost));
    assert!((10..15).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_no_lead() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    fake.fail("create", "leases", 1, 409, "AlreadyExists");
    let start = Instant::now();
    soon(leader::run(unique(&context), &context, |_| async {})).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_election_or_before_leading_shutdown_ends_it() {
    let fake = FakeApi::new();
    let context = context(&fake, 1);
    let mut settings = unique(&context);
    settings.elect = false;
    assert_eq!(leader::run(settings, &context, |_| async { 7 }).await.unwrap(), Some(7));
    assert!(fake.received().is_empty());
    fake.fail("get", "leases", u32::MAX, 500, "InternalError");
    context.shutdown.trigger();
    assert_eq!(soon(leader::run(unique(&context), &context, |_| async { 7 })).await.unwrap(), None);
}
