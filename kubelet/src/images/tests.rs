//! How many pulls run at once, and who may use what is here, over a runtime in memory.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use component::{clock::Clock, recorder::Recorder};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use serde_json::json;

use super::{Puller, Settings, providers::Providers, records::Records};
use crate::{env::Sources, pod::memory::ImageState, reporting::Reporter, runtime::fake::FakeRuntime};

/// Secrets by name.
#[derive(Default)]
struct Secrets(BTreeMap<String, Arc<Secret>>);

impl Sources for Secrets {
    fn config_map(&self, _: &str, _: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        Ok(None)
    }

    fn secret(&self, _: &str, name: &str) -> Result<Option<Arc<Secret>>, String> {
        Ok(self.0.get(name).cloned())
    }
}

fn puller(runtime: &Arc<FakeRuntime>, folder: &Path, secrets: Secrets, settings: Settings) -> Puller {
    telling_puller(runtime, folder, secrets, settings, Recorder::silent())
}

fn telling_puller(
    runtime: &Arc<FakeRuntime>,
    folder: &Path,
    secrets: Secrets,
    settings: Settings,
    recorder: Recorder,
) -> Puller {
    let (clock, reporter) = (Clock::system(), Reporter::new(recorder, "node-1"));
    let records = Arc::new(Records::new(folder, clock));
    Puller::new(runtime.clone(), Arc::new(secrets), reporter, clock, settings, Providers::none(clock), records)
}

/// Pulls at the same time; answers how many the runtime saw, and how many of them at once.
async fn pulled(settings: Settings, images: &[&str]) -> (usize, usize) {
    let runtime = Arc::new(FakeRuntime::default());
    let folder = tempfile::tempdir().expect("a folder");
    let puller = puller(&runtime, folder.path(), Secrets::default(), settings);
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
    let of = |serialize, parallel_max| Settings { serialize, parallel_max, ..Settings::default() };
    assert_eq!(pulled(of(false, None), &different).await, (6, 6));
    assert_eq!(pulled(of(false, Some(2)), &different).await, (6, 2));
    assert_eq!(pulled(of(true, None), &different).await, (6, 1));
    assert_eq!(pulled(of(false, None), &["a:1"; 4]).await, (1, 1), "who wants the same shares one pull");
}

#[tokio::test]
async fn a_private_image_is_for_those_who_can_pull_it() {
    let runtime = Arc::new(FakeRuntime::default());
    runtime.state().is_private = true;
    let login = r#"{"auths": {"registry.example": {"username": "u", "password": "p"}}}"#;
    let secret = json!({"metadata": {"name": "login", "namespace": "ns", "uid": "s"},
        "data": {".dockerconfigjson": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, login)}});
    let secret: Secret = serde_json::from_value(secret).expect("a secret");
    let folder = tempfile::tempdir().expect("a folder");
    let make = || {
        let secrets = Secrets(BTreeMap::from([("login".to_owned(), Arc::new(secret.clone()))]));
        puller(&runtime, folder.path(), secrets, Settings::default())
    };
    let pod = |uid: &str, secrets: serde_json::Value| -> Pod {
        let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": uid},
            "spec": {"containers": [], "imagePullSecrets": secrets}});
        serde_json::from_value(object).expect("a pod")
    };
    let (owner, stranger) = (pod("o", json!([{"name": "login"}])), pod("s", json!([])));
    let container = |policy: &str| Container {
        image: Some("registry.example/a:1".into()),
        image_pull_policy: Some(policy.into()),
        ..Container::default()
    };
    let reason = |state: &ImageState| match state {
        ImageState::Failed { reason, message, .. } => format!("{reason}: {message}"),
        state => format!("{state:?}"),
    };
    let is_ready = |state: &ImageState| matches!(state, ImageState::Ready(_));
    let first = make();
    assert!(is_ready(&first.ensure(&owner, &container("Always")).await), "pulled with the secret");
    // What is known outlives the kubelet.
    let again = make();
    assert!(is_ready(&again.ensure(&owner, &container("IfNotPresent")).await));
    assert!(is_ready(&again.ensure(&owner, &container("Never")).await));
    assert_eq!(runtime.state().pulls.len(), 1, "the owner of the secret needs no other pull");
    let denied = again.ensure(&stranger, &container("IfNotPresent")).await;
    assert_eq!(reason(&denied), "ErrImagePull: pull access denied");
    let held = again.ensure(&stranger, &container("IfNotPresent")).await;
    let words = "ImagePullBackOff: Back-off pulling image \"registry.example/a:1\": ErrImagePull: pull access denied";
    assert_eq!(reason(&held), words);
    // Words are about the image as it was asked for.
    let plain = Container { image: Some("a".into()), ..container("Always") };
    again.ensure(&stranger, &plain).await;
    let held = reason(&again.ensure(&stranger, &plain).await);
    assert!(held.starts_with("ImagePullBackOff: Back-off pulling image \"a\": "), "{held}");
    let never = again.ensure(&stranger, &container("Never")).await;
    let words = "Container image \"registry.example/a:1\" is not present with pull policy of Never";
    assert_eq!(reason(&never), format!("ErrImageNeverPull: {words}"));
}

#[test]
fn the_runtimes_first_word_is_the_reason() {
    let found = super::pull_error("a:1", &["RegistryUnavailable: it is down".to_owned()]);
    assert_eq!(found.reason, "RegistryUnavailable");
    assert_eq!(found.message, "image pull failed for a:1 because the registry is unavailable: it is down");
    assert_eq!(super::pull_error("a:1", &["x".to_owned(), "y".to_owned()]).message, "[x, y]");
}

#[tokio::test]
async fn missing_pull_secrets_are_told_about_the_pod() {
    let runtime = Arc::new(FakeRuntime::default());
    let folder = tempfile::tempdir().expect("a folder");
    let (queue, mut events) = tokio::sync::mpsc::channel(10);
    let secrets = Secrets(BTreeMap::from([("here".to_owned(), Arc::default())]));
    let puller = telling_puller(&runtime, folder.path(), secrets, Settings::default(), Recorder::to(queue));
    let container = Container { image: Some("a:1".into()), ..Container::default() };
    for (names, wanted) in [(vec!["", "here"], None), (vec!["gone", "here", "lost"], Some("gone, lost"))] {
        let names: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "imagePullSecrets": names}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        assert!(matches!(puller.ensure(&pod, &container).await, ImageState::Ready(_)), "it is tried all the same");
        let told = std::iter::from_fn(|| events.try_recv().ok());
        let mut told = told.filter(|event| event.reason.as_deref() == Some("FailedToRetrieveImagePullSecret"));
        let event = told.next().map(|event| (event.type_, event.message, event.involved_object.field_path));
        let words = wanted.map(|names| {
            format!(
                "Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
            )
        });
        assert_eq!(event, words.map(|words| (Some("Warning".to_owned()), Some(words), None)));
    }
}
