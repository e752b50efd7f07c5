//! How many pulls run at once, over a runtime in memory.

use std::sync::Arc;

use component::{clock::Clock, recorder::Recorder};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Puller, Settings, providers::Providers};
use crate::{pod::memory::ImageState, reporting::Reporter, runtime::fake::FakeRuntime, sources::ObjectSources};

/// Pulls at the same time; answers how many the runtime saw, and how many of them at once.
async fn pulled(settings: Settings, images: &[&str]) -> (usize, usize) {
    let runtime = Arc::new(FakeRuntime::default());
    let sources = Arc::new(ObjectSources::new(None, Arc::new(|_: &str| {})));
    let (clock, reporter) = (Clock::system(), Reporter::new(Recorder::silent(), "node-1"));
    let puller = Puller::new(runtime.clone(), sources, reporter, clock, settings, Providers::none(clock));
    let pod = Pod::default();
    let containers: Vec<Container> = images
        .iter()
        .map(|image| Container {
            image: Some((*image).to_owned()),
            image_pull_policy: Some("Always".into()),
            ..Container::default()
        })
        .collect();
    let pulls = containers.iter().map(|container| puller.ensure(&pod, container));
    let states = futures::future::join_all(pulls).await;
    assert!(states.iter().all(|state| matches!(state, ImageState::Ready(_))), "{states:?}");
    let state = runtime.state();
    (state.pulls.len(), state.pulling_max)
}

#[tokio::test]
async fn no_more_pulls_run_at_once_than_may() {
    let different = ["a:1", "b:1", "c:1", "d:1", "e:1", "f:1"];
    let of = |serialize, parallel_max| Settings { serialize, parallel_max };
    assert_eq!(pulled(of(false, None), &different).await, (6, 6));
    assert_eq!(pulled(of(false, Some(2)), &different).await, (6, 2));
    assert_eq!(pulled(of(true, None), &different).await, (6, 1));
    assert_eq!(pulled(of(false, None), &["a:1"; 4]).await, (1, 1), "who wants the same shares one pull");
}
