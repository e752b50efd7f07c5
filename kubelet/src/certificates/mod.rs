//! The kubelet's own certificates: the first one by a bootstrap kubeconfig, new ones before they run out
//! (`pkg/kubelet/certificate`).
//!
//! Enter at [`ensure_kubeconfig`] before the API client is made, and at [`keep`] for as long as the kubelet runs.
//! [`request`] asks for a certificate, [`store`] keeps it as upstream does, so that either kubelet goes on with the
//! other's files. Who approves a request is not known here.

mod request;
mod store;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use component::{
    client::{self, ClientConfig},
    clock::Clock,
    random::Random,
    shutdown::Shutdown,
};
use serde_json::{Value, json};

use self::{request::Wish, store::Pair};

/// How soon a request that failed is made again; it doubles to the most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to run Kubelet: unable to load bootstrap kubeconfig: {operation} {path}: {problem}")]
    Kubeconfig { operation: &'static str, path: PathBuf, problem: String },
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("certificate store {path}: {source}")]
    Store { path: PathBuf, source: std::io::Error },
    #[error("certificate request {name}: {problem}")]
    Request { name: String, problem: String },
    #[error("making a key: {0}")]
    Key(#[from] rcgen::Error),
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To speak to the API server.
    Client,
    /// To serve the kubelet's port.
    Serving,
}

/// Where certificates lie, and whose they are.
#[derive(Debug, Clone)]
pub struct Settings {
    pub cert_dir: PathBuf,
    pub node_name: String,
    /// Names and addresses of the serving certificate.
    pub names: Vec<String>,
}

/// Makes the kubeconfig with a certificate of the node's own, where it does not exist yet and `bootstrap` names a
/// kubeconfig that may ask for one. Waits until the request is approved.
///
/// # Errors
/// A bootstrap kubeconfig that cannot be used. Refusals and failures of the API server are tried again until shutdown.
pub async fn ensure_kubeconfig(
    kubeconfig: &Path,
    bootstrap: &Path,
    settings: &Settings,
    clock: Clock,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    if kubeconfig.exists() && store::current(&settings.cert_dir, Purpose::Client, clock.now()).is_some() {
        return Ok(());
    }
    if kubeconfig.exists() && !names_store(kubeconfig, settings) {
        return Ok(());
    }
    if !bootstrap.exists() && kubeconfig.exists() {
        return Ok(());
    }
    let cluster = cluster_of(bootstrap)?;
    tracing::info!(path = %bootstrap.display(), "asking for a client certificate with the bootstrap kubeconfig");
    let api = client::connect(ClientConfig::from_kubeconfig("kubelet", bootstrap))?;
    let wish = Wish::new(Purpose::Client, settings);
    let mut pause = RETRY_MIN;
    let pair = loop {
        match shutdown.run_until(obtain(&api, &wish, settings)).await {
            None => return Ok(()),
            Some(Ok(pair)) => break pair,
            Some(Err(error)) => tracing::warn!(%error, "the client certificate cannot be had; it is asked for again"),
        }
        if shutdown.run_until(tokio::time::sleep(pause)).await.is_none() {
            return Ok(());
        }
        pause = (pause * 2).min(RETRY_MAX);
    };
    let current = store::put(&settings.cert_dir, Purpose::Client, &pair, clock.now())?;
    let text = kubeconfig_text(&cluster, &current);
    write(kubeconfig, &text).map_err(|error| Error::Kubeconfig {
        operation: "write",
        path: kubeconfig.to_owned(),
        problem: error.to_string(),
    })
}

/// Does a kubeconfig use the certificate that is kept here? Then it is renewed here as well.
pub fn names_store(kubeconfig: &Path, settings: &Settings) -> bool {
    let current = store::current_path(&settings.cert_dir, Purpose::Client);
    fs::read_to_string(kubeconfig).is_ok_and(|text| text.contains(&*current.to_string_lossy()))
}

/// The serving certificate's file; a self-signed one stands in until the first is approved.
///
/// # Errors
/// It cannot be made or written.
pub fn serving_file(settings: &Settings, clock: Clock) -> Result<PathBuf, Error> {
    let path = store::current_path(&settings.cert_dir, Purpose::Serving);
    if path.exists() {
        return Ok(path);
    }
    let made = rcgen::generate_simple_self_signed(settings.names.clone())?;
    let pair = Pair { certificate_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() };
    store::put(&settings.cert_dir, Purpose::Serving, &pair, clock.now())
}

/// Renews a certificate in the last third of its life, until shutdown. Whoever reads the file finds the new one there.
pub async fn keep(
    purpose: Purpose,
    settings: Settings,
    api: kube::Client,
    (clock, random): (Clock, Random),
    shutdown: Shutdown,
) {
    let wish = Wish::new(purpose, &settings);
    let mut pause = RETRY_MIN;
    loop {
        let due = store::current(&settings.cert_dir, purpose, clock.now()).map(|life| life.renew_at(&random));
        if let Some(at) = due {
            // In pieces: a machine that slept must not wait out the rest.
            let wait = clock.until(at);
            if !wait.is_zero() {
                if shutdown.run_until(tokio::time::sleep(wait.min(Duration::from_secs(3600)))).await.is_none() {
                    return;
                }
                continue;
            }
        }
        let obtained = shutdown.run_until(obtain(&api, &wish, &settings)).await;
        let result = match obtained {
            None => return,
            Some(result) => result.and_then(|pair| store::put(&settings.cert_dir, purpose, &pair, clock.now())),
        };
        match result {
            Ok(path) => {
                tracing::info!(path = %path.display(), "a new certificate is in use");
                pause = RETRY_MIN;
            }
            Err(error) => {
                tracing::warn!(%error, ?purpose, "a certificate cannot be renewed; it is asked for again");
                if shutdown.run_until(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

/// With a key that outlives a kubelet that dies meanwhile: the next one finds its own request again.
async fn obtain(api: &kube::Client, wish: &Wish, settings: &Settings) -> Result<Pair, Error> {
    let key = store::pending_key(&settings.cert_dir, wish.purpose)?;
    let certificate_pem = request::certificate(api, wish, &key).await?;
    let key_pem = key.serialize_pem();
    store::forget_pending_key(&settings.cert_dir, wish.purpose)?;
    Ok(Pair { certificate_pem, key_pem })
}

/// The cluster of a kubeconfig's current context, as it stands there; files by their whole paths.
fn cluster_of(path: &Path) -> Result<Value, Error> {
    let failed = |operation, problem: String| Error::Kubeconfig { operation, path: path.to_owned(), problem };
    let text = fs::read_to_string(path).map_err(|error| failed("read", error.to_string()))?;
    let config: Value = serde_yaml_ng::from_str(&text).map_err(|error| failed("decode", error.to_string()))?;
    let named = |list: &str, name: &Value| {
        config[list].as_array().into_iter().flatten().find(|it| it["name"] == *name).cloned()
    };
    let context = named("contexts", &config["current-context"]);
    let context = context.ok_or_else(|| failed("decode", "there is no current context".into()))?;
    let cluster = named("clusters", &context["context"]["cluster"]);
    let mut cluster =
        cluster.ok_or_else(|| failed("decode", "the context's cluster is missing".into()))?["cluster"].take();
    let authority = cluster["certificate-authority"].as_str().map(PathBuf::from);
    if let (Some(authority), Some(folder)) = (authority.filter(|it| it.is_relative()), path.parent()) {
        cluster["certificate-authority"] = folder.join(authority).to_string_lossy().into();
    }
    Ok(cluster)
}

fn kubeconfig_text(cluster: &Value, certificate: &Path) -> String {
    let file = certificate.to_string_lossy();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default-cluster", "cluster": cluster}],
        "users": [{"name": "default-auth", "user": {"client-certificate": file, "client-key": file}}],
        "contexts": [{"name": "default-context",
            "context": {"cluster": "default-cluster", "namespace": "default", "user": "default-auth"}}],
        "current-context": "default-context",
    });
    serde_yaml_ng::to_string(&config).unwrap_or_else(|_| config.to_string())
}

/// Whole or not at all; for its owner only.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_made_from_the_bootstrap_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let bootstrap = folder.path().join("bootstrap.kubeconfig");
        let text = "clusters: [{name: c, cluster: {server: 'https://api:6443', certificate-authority: ca.crt}}]\n\
                    contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n\
                    users: [{name: u, user: {token: t}}]\n";
        fs::write(&bootstrap, text).expect("writes");
        let cluster = cluster_of(&bootstrap).expect("a cluster");
        let made = kubeconfig_text(&cluster, Path::new("/pki/kubelet-client-current.pem"));
        let authority = folder.path().join("ca.crt").to_string_lossy().into_owned();
        let made: Value = serde_yaml_ng::from_str(&made).expect("YAML");
        assert_eq!(made["clusters"][0]["cluster"]["certificate-authority"], authority);
        assert_eq!(made["users"][0]["user"]["client-key"], "/pki/kubelet-client-current.pem");
        assert!(!made.to_string().contains("token"), "the bootstrap's own credentials stay behind");
        fs::write(&bootstrap, "current-context: nowhere\n").expect("writes");
        assert!(cluster_of(&bootstrap).is_err());
    }
}
