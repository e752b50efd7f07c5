//! The kubeconfig format, as far as components use it (`k8s.io/client-go/tools/clientcmd/api/v1`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;

use super::{ClientConfig, Error};

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A kubeconfig file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kubeconfig {
    pub clusters: Vec<NamedCluster>,
    pub users: Vec<NamedUser>,
    pub contexts: Vec<NamedContext>,
    pub current_context: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamedCluster {
    pub name: String,
    pub cluster: Cluster,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Cluster {
    pub server: String,
    pub tls_server_name: String,
    pub insecure_skip_tls_verify: bool,
    pub certificate_authority: String,
    pub certificate_authority_data: String,
    pub proxy_url: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamedUser {
    pub name: String,
    pub user: User,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct User {
    pub client_certificate: String,
    pub client_certificate_data: String,
    pub client_key: String,
    pub client_key_data: String,
    pub token: String,
    #[serde(rename = "tokenFile")]
    pub token_file: String,
    pub username: String,
    pub password: String,
    #[serde(rename = "as")]
    pub impersonate: String,
    pub exec: Option<serde_json::Value>,
    pub auth_provider: Option<serde_json::Value>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User { .. }")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamedContext {
    pub name: String,
    pub context: Context,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Context {
    pub cluster: String,
    pub user: String,
    pub namespace: String,
}

/// PEM text, or the file that has it.
#[derive(Clone)]
pub enum Pem {
    Inline(Vec<u8>),
    File(PathBuf),
}

impl Pem {
    /// The text, and a name for errors.
    pub fn read(&self, what: &str) -> Result<(Vec<u8>, String), crate::tls::Error> {
        match self {
            Self::Inline(pem) => Ok((pem.clone(), what.to_owned())),
            Self::File(path) => match fs::read(path) {
                Ok(pem) => Ok((pem, path.display().to_string())),
                Err(source) => Err(crate::tls::Error::Read { path: path.display().to_string(), source }),
            },
        }
    }
}

/// As whom to connect.
#[derive(Clone, Default)]
pub struct Identity {
    pub certificate: Option<(Pem, Pem)>,
    pub token: Option<String>,
    /// Wins over `token`, and is read again as it changes.
    pub token_file: Option<PathBuf>,
    pub basic: Option<(String, String)>,
}

/// One server with one identity: what a context of a kubeconfig resolves to.
#[derive(Clone)]
pub struct Endpoint {
    /// With scheme, and perhaps with a path before `/api`.
    pub server: String,
    pub authority: Option<Pem>,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: Option<String>,
    pub namespace: Option<String>,
    pub identity: Identity,
}

impl Endpoint {
    /// What `config` names; a given `master` replaces the kubeconfig's server.
    pub fn load(config: &ClientConfig) -> Result<Self, Error> {
        let mut endpoint = match (&config.kubeconfig, &config.master) {
            (Some(path), _) => Self::from_file(path, config.context.as_deref())?,
            (None, Some(_)) => Self::anonymous(),
            (None, None) => Self::in_cluster(Path::new(SERVICE_ACCOUNT), |name| std::env::var(name).ok())?,
        };
        if let Some(master) = &config.master {
            endpoint.server.clone_from(master);
        }
        Ok(endpoint)
    }

    /// The API server as a pod sees it: its address by environment, a token and an authority in `folder`.
    pub(super) fn in_cluster(folder: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let named = |name| environment(name).filter(|value| !value.is_empty());
        let (host, port) = (named("KUBERNETES_SERVICE_HOST"), named("KUBERNETES_SERVICE_PORT"));
        let (Some(host), Some(port)) = (host, port) else {
            return Err(Error::Nothing);
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Ok(Self {
            server: format!("https://{host}:{port}"),
            authority: Some(Pem::File(folder.join("ca.crt"))),
            identity: Identity { token_file: Some(folder.join("token")), ..Identity::default() },
            ..Self::anonymous()
        })
    }

    fn anonymous() -> Self {
        Self {
            server: String::new(),
            authority: None,
            insecure_skip_tls_verify: false,
            tls_server_name: None,
            namespace: None,
            identity: Identity::default(),
        }
    }

    fn from_file(path: &Path, context: Option<&str>) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let problem = |problem: String| Error::Kubeconfig { path: path.to_owned(), problem };
        let parsed: Kubeconfig = serde_yaml_ng::from_str(&text).map_err(|error| problem(error.to_string()))?;
        parsed.resolve(context, path.parent().unwrap_or(Path::new("."))).map_err(problem)
    }
}

impl Kubeconfig {
    /// The endpoint of a context (the current one if `None`). Relative paths are relative to `folder`.
    pub fn resolve(&self, context: Option<&str>, folder: &Path) -> Result<Endpoint, String> {
        let name = context.unwrap_or(&self.current_context);
        if name.is_empty() {
            return Err("no current-context is set".to_owned());
        }
        let context = self.contexts.iter().find(|c| c.name == name).map(|c| &c.context);
        let context = context.ok_or_else(|| format!("context {name:?} does not exist"))?;
        let cluster = self.clusters.iter().find(|c| c.name == context.cluster).map(|c| &c.cluster);
        let cluster = cluster.ok_or_else(|| format!("cluster {:?} does not exist", context.cluster))?;
        let user = self.users.iter().find(|u| u.name == context.user).map(|u| &u.user);
        if user.is_none() && !context.user.is_empty() {
            return Err(format!("auth info {:?} does not exist", context.user));
        }
        if !cluster.proxy_url.is_empty() {
            return Err("proxy-url is not supported".to_owned());
        }
        let pem = |data: &str, file: &str, what| Pem::from_either(data, file, folder, what);
        Ok(Endpoint {
            server: cluster.server.clone(),
            authority: pem(
                &cluster.certificate_authority_data,
                &cluster.certificate_authority,
                "certificate-authority-data",
            )?,
            insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
            tls_server_name: non_empty(&cluster.tls_server_name),
            namespace: non_empty(&context.namespace),
            identity: user.map(|user| user.identity(folder)).transpose()?.unwrap_or_default(),
        })
    }
}

impl User {
    fn identity(&self, folder: &Path) -> Result<Identity, String> {
        if self.exec.is_some() || self.auth_provider.is_some() {
            return Err("exec and auth-provider credentials are not supported".to_owned());
        }
        if !self.impersonate.is_empty() {
            return Err("impersonation (as) is not supported".to_owned());
        }
        let pem = |data: &str, file: &str, what| Pem::from_either(data, file, folder, what);
        let certificate = pem(&self.client_certificate_data, &self.client_certificate, "client-certificate-data")?;
        let key = pem(&self.client_key_data, &self.client_key, "client-key-data")?;
        let certificate = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("client certificate and client key must be given together".to_owned()),
        };
        Ok(Identity {
            certificate,
            token: non_empty(&self.token),
            token_file: non_empty(&self.token_file).map(|file| folder.join(file)),
            basic: non_empty(&self.username).map(|name| (name, self.password.clone())),
        })
    }
}

impl Pem {
    /// Inline data wins over a file, as upstream's.
    fn from_either(data: &str, file: &str, folder: &Path, what: &str) -> Result<Option<Self>, String> {
        if !data.is_empty() {
            let packed: String = data.split_whitespace().collect();
            let decoded = BASE64_STANDARD.decode(packed).map_err(|error| format!("{what}: {error}"))?;
            return Ok(Some(Self::Inline(decoded)));
        }
        Ok(non_empty(file).map(|file| Self::File(folder.join(file))))
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(user: &str) -> Result<Endpoint, String> {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u, namespace: ns}}}}]\n\
             clusters: [{{name: k, cluster: {{server: 'https://a:6443', certificate-authority: pki/ca.crt}}}}]\n\
             users: [{{name: u, user: {user}}}]\n"
        );
        serde_yaml_ng::from_str::<Kubeconfig>(&text).unwrap().resolve(None, Path::new("/etc/kubernetes"))
    }

    #[test]
    fn relative_files_are_the_kubeconfigs() {
        let endpoint = resolved("{client-certificate: a.crt, client-key: /abs/a.key, tokenFile: token}").unwrap();
        assert!(matches!(endpoint.authority, Some(Pem::File(path)) if path == Path::new("/etc/kubernetes/pki/ca.crt")));
        let Some((Pem::File(certificate), Pem::File(key))) = endpoint.identity.certificate else {
            panic!("no files");
        };
        assert_eq!((certificate, key), ("/etc/kubernetes/a.crt".into(), "/abs/a.key".into()));
        assert_eq!(endpoint.identity.token_file, Some("/etc/kubernetes/token".into()));
        assert_eq!(endpoint.namespace.as_deref(), Some("ns"));
    }

    #[test]
    fn inline_data_wins_and_may_be_wrapped() {
        let endpoint = resolved("{client-certificate: x, client-certificate-data: \"YQ\\n==\", client-key-data: Yg==}");
        let Some((Pem::Inline(certificate), Pem::Inline(key))) = endpoint.unwrap().identity.certificate else {
            panic!("not inline");
        };
        assert_eq!((&*certificate, &*key), (&b"a"[..], &b"b"[..]));
        assert!(resolved("{client-certificate-data: '%'}").is_err());
        assert!(resolved("{exec: {command: x}}").err().unwrap().contains("not supported"));
    }

    #[test]
    fn a_pod_finds_its_server_by_environment() {
        let both = |name: &str| Some(if name.ends_with("HOST") { "fd00::1" } else { "443" }.to_owned());
        let endpoint = Endpoint::in_cluster(Path::new("/folder"), both).unwrap();
        assert_eq!(endpoint.server, "https://[fd00::1]:443");
        assert_eq!(endpoint.identity.token_file, Some("/folder/token".into()));
        assert!(matches!(Endpoint::in_cluster(Path::new("/folder"), |_| None), Err(Error::Nothing)));
    }
}
