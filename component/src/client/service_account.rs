//! Clients that act as ServiceAccounts: what `--use-service-account-credentials` asks for.
//!
//! Upstream's bootstrap policy has a role for each controller and binds it to a ServiceAccount. Each such client gets its
//! token by TokenRequest from the component's own client; all of them share one connection without certificate.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use tokio::{sync::Mutex, time::Instant};

use super::{
    ClientConfig, Endpoint, Error, Identity,
    connections::Connections,
    credentials::{Header, sensitive},
    limit::Limiter,
    transport::Transport,
};
use crate::version;

/// As upstream's client builder: an hour, asked for anew after four fifths of it.
const LIFETIME: Duration = Duration::from_secs(3600);
const REFRESH_AFTER: Duration = Duration::from_secs(3600 * 4 / 5);

/// Makes clients that act as ServiceAccounts. Cheap to clone.
#[derive(Clone)]
pub struct ServiceAccountClients {
    own: Client,
    component: String,
    connections: Arc<Connections>,
}

impl ServiceAccountClients {
    /// For the server of `config`; tokens are asked for with `own`, which may also have to make the accounts.
    pub fn new(config: &ClientConfig, own: Client) -> Result<Self, Error> {
        let endpoint = Endpoint { identity: Identity::default(), ..Endpoint::load(config)? };
        let connections = Arc::new(Connections::new(&endpoint, config.pipes.clone())?);
        Ok(Self { own, component: config.component.clone(), connections })
    }

    /// A client that acts as `system:serviceaccount:<namespace>:<name>`. The account is made when it is missing; nothing
    /// is asked before the first request.
    pub fn client(&self, namespace: &str, name: &str) -> Result<Client, Error> {
        let accounts = Api::namespaced(self.own.clone(), namespace);
        let token = AskedToken { accounts, name: name.to_owned(), last: Mutex::new(None) };
        let user_agent = format!("{}/{name}", version::user_agent(&self.component));
        let connections = self.connections.clone();
        let transport =
            Transport::new(connections, &user_agent, Header::Asked(Box::new(token)), Limiter::new(None, None))?;
        Ok(Client::new(transport, namespace))
    }
}

/// A ServiceAccount's token, asked for when it is needed.
pub(super) struct AskedToken {
    accounts: Api<ServiceAccount>,
    name: String,
    last: Mutex<Option<(HeaderValue, Instant)>>,
}

impl AskedToken {
    /// Requests that come while a token is asked for wait for that one.
    pub(super) async fn current(&self) -> kube::Result<HeaderValue> {
        let mut last = self.last.lock().await;
        if let Some((value, asked)) = last.as_ref()
            && asked.elapsed() < REFRESH_AFTER
        {
            return Ok(value.clone());
        }
        let value = self.ask().await?;
        *last = Some((value.clone(), Instant::now()));
        Ok(value)
    }

    async fn ask(&self) -> kube::Result<HeaderValue> {
        let expiration_seconds = i64::try_from(LIFETIME.as_secs()).ok();
        let spec = TokenRequestSpec { expiration_seconds, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let post = PostParams::default();
        let answer = match self.accounts.create_token_request(&self.name, &post, &request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.make().await?;
                self.accounts.create_token_request(&self.name, &post, &request).await?
            }
            answer => answer?,
        };
        let token = answer.status.and_then(|status| status.token).unwrap_or_default();
        sensitive(&format!("Bearer {token}")).map_err(|error| kube::Error::Service(error.into()))
    }

    async fn make(&self) -> kube::Result<()> {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(self.name.clone());
        match self.accounts.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
            made => made.map(drop),
        }
    }
}
