//! Credentials of the node: its logins, and programs that are asked for them
//! (`kubelet.config.k8s.io/v1 CredentialProviderConfig`, KEP-2133).
//!
//! Enter at [`Providers::load`] and [`Providers::for_image`]. A program answers for an image; how long its answer holds,
//! and for what else, it says itself. [`accounts`] is what it is told of a pod's ServiceAccount, where it acts for pods.

mod accounts;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use component::clock::Clock;
use jiff::Timestamp;
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use self::accounts::{Account, Asked, TokenAttributes};
use super::{
    access::{Credential, Source},
    logins::Logins,
    matching::{self, fits},
    name,
};
use crate::{config::GoDuration, pod::backoff::after, volumes::tokens::Tokens};

const KIND: &str = "CredentialProviderConfig";
const API_VERSIONS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1beta1", "kubelet.config.k8s.io/v1alpha1"];
const REQUEST_VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
/// Upstream's limit of one run.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Why credentials cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Configuration(#[from] component::config::Error),
    #[error("{operation} {path}: {problem}", path = path.display())]
    Files { operation: &'static str, path: PathBuf, problem: String },
    #[error("duplicate provider name {0:?} found in configuration file(s)")]
    Twice(String),
    #[error("credential provider {name}: {problem}")]
    Provider { name: String, problem: String },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    providers: Vec<Provider>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Provider {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: Option<GoDuration>,
    api_version: String,
    args: Vec<String>,
    env: Vec<Variable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_attributes: Option<TokenAttributes>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Variable {
    name: String,
    value: String,
}

/// What a program answers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    kind: String,
    api_version: String,
    cache_key_type: String,
    cache_duration: Option<GoDuration>,
    auth: BTreeMap<String, Login>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Login {
    username: String,
    password: String,
}

/// By provider, what they are for and for whom: the logins and until when they hold.
type Cache = HashMap<(String, String, String), (BTreeMap<String, Login>, Timestamp)>;

/// See the module.
pub struct Providers {
    providers: Vec<Provider>,
    programs: PathBuf,
    logins: Logins,
    tokens: Tokens,
    clock: Clock,
    cache: Mutex<Cache>,
}

impl Providers {
    /// `configuration` is a file, or a folder of files, that names the providers, `programs` the folder of their programs.
    ///
    /// # Errors
    /// A configuration that cannot be read, and everything in it that is wrong.
    pub fn load(
        configuration: Option<&Path>,
        programs: &Path,
        logins: Logins,
        tokens: Tokens,
        clock: Clock,
    ) -> Result<Self, Error> {
        let configuration: Configuration = match configuration {
            Some(path) => read(path)?,
            None => Configuration::default(),
        };
        for provider in &configuration.providers {
            check(provider, programs).map_err(|problem| Error::Provider { name: provider.name.clone(), problem })?;
        }
        Ok(Self {
            providers: configuration.providers,
            programs: programs.to_owned(),
            logins,
            tokens,
            clock,
            cache: Mutex::default(),
        })
    }

    /// A node without credentials of its own.
    pub fn none(clock: Clock) -> Self {
        let (programs, logins, tokens) = (PathBuf::new(), Logins::default(), Tokens::new(None, clock));
        Self { providers: Vec::new(), programs, logins, tokens, clock, cache: Mutex::default() }
    }

    /// Every credential of the node, or of the pod's ServiceAccount, for an image. A provider that fails is told and passed
    /// over.
    pub async fn for_image(&self, image: &str, pod: &Pod) -> Vec<Credential> {
        let logins = matching::choose(self.logins.read(), image).into_iter();
        let mut found: Vec<_> = logins.map(|auth| Credential { auth, source: Source::Node }).collect();
        let mut answers = Vec::new();
        for provider in self.providers.iter().filter(|it| it.match_images.iter().any(|pattern| fits(pattern, image))) {
            match self.ask(provider, image, pod).await {
                Ok((logins, source)) => answers.extend(logins.into_iter().map(|(at, Login { username, password })| {
                    let auth = AuthConfig { username, password, server_address: at.clone(), ..AuthConfig::default() };
                    (at, Credential { auth, source: source.clone() })
                })),
                Err(error) => tracing::warn!(%error, image, "a credential provider failed"),
            }
        }
        found.extend(matching::choose(answers, image));
        found
    }

    async fn ask(
        &self,
        provider: &Provider,
        image: &str,
        pod: &Pod,
    ) -> Result<(BTreeMap<String, Login>, Source), Error> {
        let failed = |problem: String| Error::Provider { name: provider.name.clone(), problem };
        let asked = match &provider.token_attributes {
            Some(attributes) => attributes.of_pod(pod, &self.tokens).await.map_err(failed)?,
            None => Asked::Plainly,
        };
        let (account, source) = match asked {
            Asked::Not => return Ok((BTreeMap::new(), Source::Node)),
            Asked::Plainly => (None, Source::Node),
            Asked::For(account) => (Some(account.clone()), Source::Account(account.account)),
        };
        let whose = provider.token_attributes.as_ref().zip(account.as_ref());
        let for_whom = whose.map(|(attributes, account)| attributes.key(account)).unwrap_or_default();
        let now = self.clock.now();
        let registry = name::registry(image);
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.retain(|_, (_, until)| now < *until);
            for base in [format!("Image {image}"), format!("Registry {registry}"), "Global ".to_owned()] {
                if let Some((logins, _)) = cache.get(&(provider.name.clone(), base, for_whom.clone())) {
                    return Ok((logins.clone(), source));
                }
            }
        }
        let answer = self.run(provider, image, account.as_ref()).await.map_err(failed)?;
        for login in answer.auth.values() {
            whose
                .map_or(Ok(()), |(attributes, account)| attributes.check_password(account, &login.password))
                .map_err(failed)?;
        }
        let base = match answer.cache_key_type.as_str() {
            "Image" => format!("Image {image}"),
            "Registry" => format!("Registry {registry}"),
            "Global" => "Global ".to_owned(),
            other => return Err(failed(format!("did not return a valid cacheKeyType: {other:?}"))),
        };
        let holds = answer.cache_duration.or(provider.default_cache_duration).unwrap_or_default().0;
        if !holds.is_zero() {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.insert((provider.name.clone(), base, for_whom), (answer.auth.clone(), after(now, holds)));
        }
        Ok((answer.auth, source))
    }

    async fn run(&self, provider: &Provider, image: &str, account: Option<&Account>) -> Result<Answer, String> {
        let mut request = serde_json::json!({
            "kind": "CredentialProviderRequest", "apiVersion": provider.api_version, "image": image,
        });
        if let Some(Account { annotations, token, .. }) = account {
            request["serviceAccountToken"] = token.as_str().into();
            if !annotations.is_empty() {
                request["serviceAccountAnnotations"] = serde_json::json!(annotations);
            }
        }
        let mut command = tokio::process::Command::new(self.programs.join(&provider.name));
        command.args(&provider.args).envs(provider.env.iter().map(|it| (&it.name, &it.value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let exchange = async {
            let mut child = command.spawn()?;
            if let Some(mut input) = child.stdin.take() {
                // A program that does not read its input may have an answer all the same.
                let _ = input.write_all(request.to_string().as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(RUN_LIMIT, exchange).await;
        let output = output.map_err(|_| "took longer than a minute".to_owned())?.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
        }
        // What is wrong with it may quote a credential.
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|_| "error decoding credential provider plugin response from stdout".to_owned())?;
        if (answer.kind.as_str(), &answer.api_version) != ("CredentialProviderResponse", &provider.api_version) {
            return Err(format!("answered with {} {}", answer.api_version, answer.kind));
        }
        Ok(answer)
    }
}

/// A file, or all `*.json`, `*.yaml` and `*.yml` of a folder in the order of their names.
fn read(path: &Path) -> Result<Configuration, Error> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let failed = |problem: String| Error::Files { operation: "read directory", path: path.to_owned(), problem };
        let entries = std::fs::read_dir(path).map_err(|error| failed(error.to_string()))?;
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.to_string()))?;
        let is_ours = |path: &PathBuf| path.extension().is_some_and(|it| it == "json" || it == "yaml" || it == "yml");
        files = entries.into_iter().map(|entry| entry.path()).filter(|path| is_ours(path) && !path.is_dir()).collect();
        files.sort();
        if files.is_empty() {
            return Err(failed("no configuration files found in directory".into()));
        }
    }
    let mut whole = Configuration::default();
    for file in files {
        let own: Configuration = component::config::load(&file, KIND, &API_VERSIONS)?;
        whole.providers.extend(own.providers);
    }
    let mut known = HashSet::new();
    match whole.providers.iter().find(|provider| !known.insert(provider.name.as_str())) {
        Some(twice) => Err(Error::Twice(twice.name.clone())),
        None => Ok(whole),
    }
}

fn check(provider: &Provider, programs: &Path) -> Result<(), String> {
    if provider.name.is_empty() || provider.name.contains(['/', ' ']) || provider.name.starts_with('.') {
        return Err("name must be the name of a program".into());
    }
    if provider.match_images.is_empty() {
        return Err("matchImages is required".into());
    }
    if !REQUEST_VERSIONS.contains(&provider.api_version.as_str()) {
        return Err(format!("apiVersion {:?} must be one of {}", provider.api_version, REQUEST_VERSIONS.join(", ")));
    }
    if provider.default_cache_duration.is_none() {
        return Err("defaultCacheDuration is required".into());
    }
    if let Some(attributes) = &provider.token_attributes {
        attributes.check(&provider.api_version)?;
    }
    if !programs.join(&provider.name).is_file() {
        return Err(format!("there is no such program in {}", programs.display()));
    }
    Ok(())
}
