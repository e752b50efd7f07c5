//! Images for containers: pull policy, credentials, back-off, at most so many pulls at once, events in upstream's words.
//!
//! Enter at [`Puller::ensure`], which answers with what the decision core keeps in mind. Two pods that want the same image
//! at once share one pull. [`auth`] finds a pod's credentials, [`providers`] the node's, `matching` those of an image,
//! [`access`] says who may use what is here already by the [`records`] of pulls, [`name`] reads image names, [`collect`]
//! removes images that nothing uses.

pub mod access;
pub mod auth;
pub mod collect;
pub mod logins;
mod matching;
pub mod name;
pub mod providers;
pub mod records;
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

use self::{
    access::{Access, Credential, Judgement, Policy, Source},
    providers::Providers,
    records::Records,
};

use crate::{
    env::Sources,
    pod::{
        backoff::{Backoff, after},
        configs::security::ImageUser,
        memory::ImageState,
        spec,
    },
    rate::{Bucket, Rate},
    reporting::Reporter,
    runtime::{Error, SharedRuntime},
};

type Shared = Arc<OnceCell<Result<Pulled, PullError>>>;

/// CRI's ID of the image, and how long the pull itself took.
#[derive(Debug, Clone)]
struct Pulled {
    image_ref: String,
    took: Duration,
}

/// The reason, as a status has it, and the words.
#[derive(Debug, Clone)]
struct PullError {
    reason: &'static str,
    problem: String,
    message: String,
}

/// How images are pulled.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub serialize: bool,
    /// None for no limit.
    pub parallel_max: Option<usize>,
    pub rate: Option<Rate>,
    /// Who may use what is here already.
    pub access: Policy,
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
    rate: Option<Rate>,
    access: Policy,
    records: Arc<Records>,
}

#[derive(Default)]
struct State {
    backoff: Backoff,
    /// By pod UID and image: when the last pull failed, and why.
    failed: HashMap<String, (jiff::Timestamp, String)>,
    /// By image and credentials.
    pulling: HashMap<String, Shared>,
    bucket: Bucket,
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
        records: Arc<Records>,
    ) -> Self {
        let parallel = if settings.serialize { 1 } else { settings.parallel_max.unwrap_or(Semaphore::MAX_PERMITS) };
        let (state, permits) = (Mutex::default(), Semaphore::new(parallel));
        let Settings { rate, access, .. } = settings;
        Self { runtime, sources, providers, reporter, clock, state, permits, rate, access, records }
    }

    /// Makes sure that the container's image is there, by its pull policy.
    pub async fn ensure(&self, pod: &Pod, container: &Container) -> ImageState {
        let requested = container.image.clone().unwrap_or_default();
        let tell = |kind, reason: &str, message: String| {
            self.reporter.container(pod, &container.name, kind, reason, message);
        };
        self.tell_missing_secrets(pod);
        let image = match name::with_default_tag(&requested) {
            Ok(image) => image,
            Err(error) => {
                let message = format!("Failed to apply default image tag {requested:?}: {error}");
                tell(Type::Warning, "InspectFailed", message.clone());
                return self.failed(pod, container, "InvalidImageName", message, Duration::from_secs(10));
            }
        };
        let policy = container.image_pull_policy.as_deref().unwrap_or(default_policy(&image));
        if policy == "Always" {
            return self.pull(pod, container, &requested, &image).await;
        }
        let present = match self.runtime.image_status(&image).await {
            Ok(found) => found.map(Image::from),
            Err(error) => {
                let message = format!("Failed to inspect image {image:?}: {}", error.rpc());
                tell(Type::Warning, "InspectFailed", message.clone());
                return self.failed(pod, container, "ImageInspectError", message, Duration::from_secs(10));
            }
        };
        let is_usable = match &present {
            Some(found) => self.may_use(pod, &requested, &image, found).await,
            None => false,
        };
        match (policy, present) {
            (_, Some(image)) if is_usable => {
                let message =
                    format!("Container image {requested:?} already present on machine and can be accessed by the pod");
                tell(Type::Normal, "Pulled", message);
                ImageState::Ready(image)
            }
            // Nor is it told to whom may not use it that it is here.
            ("Never", _) => {
                let message = format!("Container image {requested:?} is not present with pull policy of Never");
                tell(Type::Warning, "ErrImageNeverPull", message.clone());
                self.failed(pod, container, "ErrImageNeverPull", message, Duration::from_secs(10))
            }
            _ => self.pull(pod, container, &requested, &image).await,
        }
    }

    fn tell_missing_secrets(&self, pod: &Pod) {
        let missing = auth::missing(pod, self.sources.as_ref());
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.reporter.pod(pod, Type::Warning, "FailedToRetrieveImagePullSecret", message);
        }
    }

    /// Whether the pod may use an image that is here without showing by a pull that it may.
    async fn may_use(&self, pod: &Pod, requested: &str, image: &str, found: &Image) -> bool {
        let known = match self.records.known(requested, &found.id) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, image, "the record of an image cannot be read: it is pulled again");
                return false;
            }
        };
        let credentials = auth::for_image(pod, image, self.sources.as_ref());
        let secrets: Vec<_> = credentials
            .into_iter()
            .filter_map(|it| if let Source::Secret(secret) = it.source { Some(secret) } else { None })
            .collect();
        let mut judgement = access::judge(&self.access, requested, &known, &secrets, None);
        if judgement == Judgement::Pull && known.has_accounts(requested) {
            let account = self.providers.for_image(image, pod).await.into_iter().find_map(|it| match it.source {
                Source::Account(account) => Some(account),
                _ => None,
            });
            judgement = access::judge(&self.access, requested, &known, &secrets, account.as_ref());
        }
        match judgement {
            Judgement::Use => true,
            Judgement::Pull => false,
            Judgement::UseAndNote(secret) => {
                let access = Access { kubernetes_secrets: vec![secret], ..Access::default() };
                if let Err(error) = self.records.note(requested, &found.id, Some(&access)) {
                    tracing::warn!(%error, image, "the record of an image cannot be written");
                }
                true
            }
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

    /// Words are about what was asked for, `requested`; it is `image` that is pulled.
    async fn pull(&self, pod: &Pod, container: &Container, requested: &str, image: &str) -> ImageState {
        let key = format!("{}_{requested}", spec::uid(pod));
        let tell = |kind, reason: &str, message: String| {
            self.reporter.container(pod, &container.name, kind, reason, message);
        };
        if let Some((until, why)) = self.held_back(&key) {
            let message = format!("Back-off pulling image {requested:?}");
            tell(Type::Normal, "BackOff", message.clone());
            tell(Type::Warning, "Failed", "Error: ImagePullBackOff".into());
            let message = format!("{message}: {why}");
            return ImageState::Failed { reason: "ImagePullBackOff".into(), message, retry_at: until };
        }
        tell(Type::Normal, "Pulling", format!("Pulling image {requested:?}"));
        let asked = Instant::now();
        match self.pull_shared(pod, requested, image).await {
            Ok(Pulled { image_ref, took }) => {
                self.lock().failed.remove(&key);
                let found = self.runtime.image_status(image).await.ok().flatten();
                let size = found.as_ref().map_or(0, |image| image.size);
                tell(Type::Normal, "Pulled", pulled_words(requested, took, asked.elapsed(), size));
                ImageState::Ready(Image { id: image_ref, user: found.map(Image::from).unwrap_or_default().user })
            }
            Err(PullError { reason, problem, message }) => {
                let now = self.clock.now();
                let mut state = self.lock();
                state.backoff.advance(&key, now, now);
                state.failed.insert(key, (now, format!("{reason}: {message}")));
                drop(state);
                tell(Type::Warning, "Failed", format!("Failed to pull image {requested:?}: {problem}"));
                // Asked again at once, it is told that it must wait: the status then says ImagePullBackOff.
                self.failed(pod, container, reason, message, Duration::from_secs(1))
            }
        }
    }

    fn held_back(&self, key: &str) -> Option<(jiff::Timestamp, String)> {
        let state = self.lock();
        let (failed_at, why) = state.failed.get(key)?.clone();
        let (until, _) = state.backoff.blocked_until(key, failed_at, self.clock.now())?;
        Some((until, why))
    }

    /// One pull at a time for the same image with the same secrets.
    async fn pull_shared(&self, pod: &Pod, requested: &str, image: &str) -> Result<Pulled, PullError> {
        // The pod's own secrets come first.
        let mut credentials = auth::for_image(pod, image, self.sources.as_ref());
        credentials.extend(self.providers.for_image(image, pod).await);
        let key = format!("{image} {credentials:?}");
        let cell: Shared = self.lock().pulling.entry(key.clone()).or_default().clone();
        let result = cell
            .get_or_init(|| async {
                let _permit = self.permits.acquire().await;
                let started = Instant::now();
                let image_ref = self.pull_once(requested, image, credentials).await?;
                Ok(Pulled { image_ref, took: started.elapsed() })
            })
            .await
            .clone();
        self.lock().pulling.remove(&key);
        result
    }

    /// A pull, and the record of it.
    async fn pull_once(&self, requested: &str, image: &str, credentials: Vec<Credential>) -> Result<String, PullError> {
        let failed = |error: std::io::Error| {
            let message = format!("Failed to record image pull intent for container image {requested:?}: {error}");
            PullError { reason: "ErrImagePull", problem: message.clone(), message }
        };
        let begun = self.records.begin(requested).map_err(failed)?;
        let result = self.try_credentials(image, &credentials).await;
        let access = result.as_ref().ok().map(|(image_ref, used)| (image_ref.as_str(), Access::of(*used)));
        if let Err(error) = begun.end(access.as_ref().map(|(image_ref, access)| (*image_ref, access))) {
            tracing::warn!(%error, image, "the record of a pull cannot be written");
        }
        result.map(|(image_ref, _)| image_ref).map_err(|problems| pull_error(requested, &problems))
    }

    /// Each of the credentials until one is taken; without any a pull as nobody. Answers with the ones that were taken.
    async fn try_credentials<'a>(
        &self,
        image: &str,
        credentials: &'a [Credential],
    ) -> Result<(String, Option<&'a Credential>), Vec<String>> {
        if self.rate.is_some_and(|rate| !self.lock().bucket.take(rate, tokio::time::Instant::now())) {
            return Err(vec!["pull QPS exceeded".to_owned()]);
        }
        let ways: Vec<Option<&Credential>> =
            if credentials.is_empty() { vec![None] } else { credentials.iter().map(Some).collect() };
        let mut problems = Vec::new();
        for way in ways {
            match self.runtime.pull_image(image, way.map(|it| it.auth.clone()), None).await {
                Ok(image_ref) => return Ok((image_ref, way)),
                Err(error) => problems.push(pull_words(&error)),
            }
        }
        Err(problems)
    }

    fn failed(&self, pod: &Pod, container: &Container, reason: &str, message: String, wait: Duration) -> ImageState {
        self.reporter.container(pod, &container.name, Type::Warning, "Failed", format!("Error: {reason}"));
        ImageState::Failed { reason: reason.to_owned(), message, retry_at: after(self.clock.now(), wait) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of a pull, as upstream shows it: a code that says nothing is left out.
fn pull_words(error: &Error) -> String {
    if error.code == tonic::Code::Unknown { error.message.clone() } else { error.rpc() }
}

/// The runtime may say by the first word what kept it from the image.
fn pull_error(image: &str, problems: &[String]) -> PullError {
    let problem = match problems {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    for (reason, words) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = problem.strip_prefix(reason) {
            let message = format!("image pull failed for {image} because {words}{rest}");
            return PullError { reason, problem, message };
        }
    }
    PullError { reason: "ErrImagePull", message: problem.clone(), problem }
}

/// The policy where the API server had no chance to default it.
fn default_policy(image: &str) -> &'static str {
    if image.ends_with(":latest") { "Always" } else { "IfNotPresent" }
}

/// Times as Go prints them, in whole milliseconds.
fn pulled_words(requested: &str, took: Duration, waited: Duration, size_bytes: u64) -> String {
    let [took, waited] = [took, waited].map(|it| {
        component::config::Duration(Duration::from_millis(u64::try_from(it.as_millis()).unwrap_or(u64::MAX)))
    });
    format!(
        "Successfully pulled image {requested:?} in {took} ({waited} including waiting). Image size: {size_bytes} bytes."
    )
}

#[test]
fn pulls_are_told_as_upstream_does() {
    for (took_us, waited_us, times) in [
        (0, 999, "0s (0s including waiting)"),
        (12_900, 12_999, "12ms (12ms including waiting)"),
        (1_500_000, 2_000_000, "1.5s (2s including waiting)"),
        (61_234_567, 3_600_000_000, "1m1.234s (1h0m0s including waiting)"),
    ] {
        let words = pulled_words("nginx", Duration::from_micros(took_us), Duration::from_micros(waited_us), 42);
        assert_eq!(words, format!("Successfully pulled image \"nginx\" in {times}. Image size: 42 bytes."));
    }
}
