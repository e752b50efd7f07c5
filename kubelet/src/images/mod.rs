//! Images for containers: pull policy, credentials, back-off, at most so many pulls at once, events in upstream's words.
//!
//! Enter at [`Puller::ensure`], which answers with what the decision core keeps in mind. Two pods that want the same image
//! at once share one pull. [`auth`] finds a pod's credentials, [`providers`] the node's, [`name`] reads image names,
//! [`collect`] removes images that nothing uses.

pub mod auth;
pub mod collect;
pub mod name;
pub mod providers;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use component::{clock::Clock, recorder::Type};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{OnceCell, Semaphore};

use self::providers::Providers;

use crate::{
    env::Sources,
    pod::{
        backoff::{Backoff, after},
        configs::security::ImageUser,
        memory::ImageState,
        spec,
    },
    reporting::Reporter,
    runtime::{Error, SharedRuntime},
};

type Shared = Arc<OnceCell<Result<String, Error>>>;

/// How images are pulled.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub serialize: bool,
    /// None for no limit.
    pub parallel_max: Option<usize>,
}

/// See the module.
pub struct Puller {
    runtime: SharedRuntime,
    sources: Arc<dyn Sources>,
    providers: Providers,
    reporter: Reporter,
    clock: Clock,
    state: Mutex<State>,
    permits: Semaphore,
}

#[derive(Default)]
struct State {
    backoff: Backoff,
    /// By pod UID and image: when the last pull failed, and why.
    failed: HashMap<String, (jiff::Timestamp, String)>,
    /// By image and credentials.
    pulling: HashMap<String, Shared>,
}

/// An image that the runtime has: what containers are made from, and the user that it was made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub id: String,
    pub user: ImageUser,
}

impl From<k8s_cri::v1::Image> for Image {
    fn from(image: k8s_cri::v1::Image) -> Self {
        let user = ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username };
        Self { id: image.id, user }
    }
}

impl Puller {
    pub fn new(
        runtime: SharedRuntime,
        sources: Arc<dyn Sources>,
        reporter: Reporter,
        clock: Clock,
        settings: Settings,
        providers: Providers,
    ) -> Self {
        let parallel = if settings.serialize { 1 } else { settings.parallel_max.unwrap_or(Semaphore::MAX_PERMITS) };
        let (state, permits) = (Mutex::default(), Semaphore::new(parallel));
        Self { runtime, sources, providers, reporter, clock, state, permits }
    }

    /// Makes sure that the container's image is there, by its pull policy.
    pub async fn ensure(&self, pod: &Pod, container: &Container) -> ImageState {
        let requested = container.image.clone().unwrap_or_default();
        let tell = |kind, reason: &str, message: String| {
            self.reporter.container(pod, &container.name, kind, reason, message);
        };
        let image = match name::with_default_tag(&requested) {
            Ok(image) => image,
            Err(error) => {
                let message = format!("Failed to apply default image tag {requested:?}: {error}");
                tell(Type::Warning, "InspectFailed", message.clone());
                return self.failed(pod, container, "InvalidImageName", message, Duration::from_secs(10));
            }
        };
        let present = match self.runtime.image_status(&image).await {
            Ok(found) => found.map(Image::from),
            Err(error) => {
                let message = format!("Failed to inspect image {image:?}: {}", error.rpc());
                tell(Type::Warning, "InspectFailed", message.clone());
                return self.failed(pod, container, "ImageInspectError", message, Duration::from_secs(10));
            }
        };
        match (container.image_pull_policy.as_deref().unwrap_or(default_policy(&image)), present) {
            ("Never", None) => {
                let message = format!("Container image {requested:?} is not present with pull policy of Never");
                tell(Type::Warning, "ErrImageNeverPull", message.clone());
                self.failed(pod, container, "ErrImageNeverPull", message, Duration::from_secs(10))
            }
            ("Never" | "IfNotPresent", Some(image)) => {
                let message =
                    format!("Container image {requested:?} already present on machine and can be accessed by the pod");
                tell(Type::Normal, "Pulled", message);
                ImageState::Ready(image)
            }
            _ => self.pull(pod, container, &image).await,
        }
    }

    /// Forgets what failed for a pod that is gone.
    pub fn forget(&self, pod_uid: &str) {
        let prefix = format!("{pod_uid}_");
        let mut state = self.lock();
        let keys: Vec<String> = state.failed.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for key in keys {
            state.failed.remove(&key);
            state.backoff.forget(&key);
        }
    }

    async fn pull(&self, pod: &Pod, container: &Container, image: &str) -> ImageState {
        let key = format!("{}_{image}", spec::uid(pod));
        let tell = |kind, reason: &str, message: String| {
            self.reporter.container(pod, &container.name, kind, reason, message);
        };
        if let Some((until, why)) = self.held_back(&key) {
            let message = format!("Back-off pulling image {image:?}");
            tell(Type::Normal, "BackOff", message.clone());
            tell(Type::Warning, "Failed", "Error: ImagePullBackOff".into());
            let message = format!("{message}: ErrImagePull: {why}");
            return ImageState::Failed { reason: "ImagePullBackOff".into(), message, retry_at: until };
        }
        tell(Type::Normal, "Pulling", format!("Pulling image {image:?}"));
        let asked = Instant::now();
        match self.pull_shared(pod, image).await {
            Ok((image_ref, took)) => {
                self.lock().failed.remove(&key);
                let found = self.runtime.image_status(image).await.ok().flatten();
                let size = found.as_ref().map_or(0, |image| image.size);
                let (took, waited) = (go_seconds(took), go_seconds(asked.elapsed()));
                tell(
                    Type::Normal,
                    "Pulled",
                    format!(
                        "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {size} bytes."
                    ),
                );
                ImageState::Ready(Image { id: image_ref, user: found.map(Image::from).unwrap_or_default().user })
            }
            Err(error) => {
                let now = self.clock.now();
                let message = format!("failed to pull image {image:?}: {}", error.rpc());
                let mut state = self.lock();
                state.backoff.advance(&key, now, now);
                state.failed.insert(key, (now, message.clone()));
                drop(state);
                tell(Type::Warning, "Failed", format!("Failed to pull image {image:?}: {}", error.rpc()));
                // Asked again at once, it is told that it must wait: the status then says ImagePullBackOff.
                self.failed(pod, container, "ErrImagePull", message, Duration::from_secs(1))
            }
        }
    }

    fn held_back(&self, key: &str) -> Option<(jiff::Timestamp, String)> {
        let state = self.lock();
        let (failed_at, why) = state.failed.get(key)?.clone();
        let (until, _) = state.backoff.blocked_until(key, failed_at, self.clock.now())?;
        Some((until, why))
    }

    /// One pull at a time for the same image with the same secrets; the time is that of the pull itself.
    async fn pull_shared(&self, pod: &Pod, image: &str) -> Result<(String, Duration), Error> {
        // The pod's own secrets come first.
        let mut credentials = auth::for_image(pod, image, self.sources.as_ref());
        credentials.extend(self.providers.for_image(image).await);
        let key = format!("{image} {credentials:?}");
        let cell: Shared = self.lock().pulling.entry(key.clone()).or_default().clone();
        let started = Instant::now();
        let result = cell
            .get_or_init(|| async {
                let _permit = self.permits.acquire().await;
                self.try_credentials(image, credentials).await
            })
            .await
            .clone();
        self.lock().pulling.remove(&key);
        result.map(|image_ref| (image_ref, started.elapsed()))
    }

    async fn try_credentials(&self, image: &str, credentials: Vec<k8s_cri::v1::AuthConfig>) -> Result<String, Error> {
        let mut result = None;
        for auth in credentials.into_iter().map(Some) {
            match self.runtime.pull_image(image, auth, None).await {
                Ok(image_ref) => return Ok(image_ref),
                Err(error) => result = Some(error),
            }
        }
        match result {
            Some(error) => Err(error),
            None => self.runtime.pull_image(image, None, None).await,
        }
    }

    fn failed(&self, pod: &Pod, container: &Container, reason: &str, message: String, wait: Duration) -> ImageState {
        self.reporter.container(pod, &container.name, Type::Warning, "Failed", format!("Error: {reason}"));
        ImageState::Failed { reason: reason.to_owned(), message, retry_at: after(self.clock.now(), wait) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The policy where the API server had no chance to default it.
fn default_policy(image: &str) -> &'static str {
    if image.ends_with(":latest") { "Always" } else { "IfNotPresent" }
}

/// Seconds as Go prints a duration: `1.234s`, `12ms`.
fn go_seconds(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms < 1000 { format!("{ms}ms") } else { format!("{}.{:03}s", ms / 1000, ms % 1000) }
}
