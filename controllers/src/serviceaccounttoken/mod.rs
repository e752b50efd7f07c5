//! The ServiceAccount token controller: Secrets of type `kubernetes.io/service-account-token` get a token, the authority
//! and their namespace, and go with their account.
//!
//! Enter by [`run`]; `token` is pure. Tokens of pods are none of its business: the API server signs those.

mod token;

use std::path::PathBuf;
use std::sync::Arc;

use component::client::ClientConfig;
use component::context::Context;
use component::informer::{Event, Informer, Selection};
use component::key::Key;
use component::queue::{self, Queue};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

pub(crate) use self::token::Signer;
use crate::common::error::{self, Doing, Error};
use crate::common::root_ca;
use crate::common::token_secrets::{TYPE, account_of, account_uid};

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Secret(Key),
    /// An account that may be gone, with its tokens left behind.
    Account(Key),
    /// A Secret that is gone, which its account may still name.
    Gone {
        secret: String,
        account: Key,
    },
}

struct Controller {
    ctx: Context,
    signer: Signer,
    root_ca: Vec<u8>,
    accounts: Informer<ServiceAccount>,
    secrets: Informer<Secret>,
    queue: Queue<Work>,
}

/// How it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) private_key_file: PathBuf,
    pub(crate) root_ca_file: Option<PathBuf>,
    pub(crate) workers: usize,
}

/// Runs until the context's shutdown. Ends at once, with a word in the log, without a key that signs.
pub(crate) async fn run(ctx: Context, settings: Settings, config: ClientConfig) {
    let path = settings.private_key_file.display().to_string();
    let read = tokio::fs::read(&settings.private_key_file).await.map_err(|error| error.to_string());
    let signer = match read.and_then(|pem| Signer::from_pem(&pem)) {
        Ok(signer) => signer,
        Err(error) => return tracing::error!(path, error, "no key to sign ServiceAccount tokens with"),
    };
    let shutdown = ctx.shutdown.clone();
    let found = root_ca::found(&ctx.client, settings.root_ca_file.as_ref(), &config);
    let Some(root_ca) = shutdown.run_until(found).await else { return };
    let controller = Arc::new(Controller {
        signer,
        root_ca: root_ca.into_bytes(),
        accounts: ctx.informers.of(),
        secrets: ctx.informers.selected(Selection::fields(format!("type={TYPE}"))),
        queue: Queue::new("serviceaccount_tokens_service"),
        ctx,
    });
    controller.subscribe();
    let synced = async {
        controller.accounts.synced().await;
        controller.secrets.synced().await;
    };
    if shutdown.run_until(synced).await.is_some() {
        queue::run(controller.queue.clone(), settings.workers, shutdown, |work| controller.sync(work)).await;
    }
}

impl Controller {
    fn subscribe(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.secrets.on_event(move |event| {
            let secret = event.object();
            let key = Key::of(&**secret);
            match (event, account_of(secret)) {
                (Event::Deleted(_), Some(account)) => {
                    let account = Key::new(key.namespace.clone(), account.to_owned());
                    queue.add(Work::Gone { secret: key.name, account });
                }
                _ => queue.add(Work::Secret(key)),
            }
        });
        let (queue, secrets) = (self.queue.clone(), self.secrets.clone());
        self.accounts.on_event(move |event| {
            let key = Key::of(&**event.object());
            let replaced = event.old().is_some_and(|old| old.uid() != event.object().uid());
            if replaced || matches!(event, Event::Deleted(_)) {
                queue.add(Work::Account(key));
            } else if matches!(event, Event::Added(_)) {
                let of_it = secrets.in_namespace(&key.namespace);
                let of_it = of_it.iter().filter(|secret| account_of(secret) == Some(key.name.as_str()));
                of_it.for_each(|secret| queue.add(Work::Secret(Key::of(&**secret))));
            }
        });
    }

    async fn sync(&self, work: Work) -> Result<(), Error> {
        match work {
            Work::Secret(key) => self.fill(&key).await,
            Work::Account(key) => self.clear(&key).await,
            Work::Gone { secret, account } => self.forget(&secret, &account).await,
        }
    }

    async fn fill(&self, key: &Key) -> Result<(), Error> {
        let Some(secret) = self.secrets.get_key(key) else { return Ok(()) };
        let Some(name) = account_of(&secret) else { return Ok(()) };
        let Some(account) = self.account(&Key::new(key.namespace.clone(), name.to_owned()), &secret).await? else {
            return self.delete(&secret).await;
        };
        let filled = token::filled(&secret, &account, &self.root_ca, &self.signer);
        let Some(filled) = filled.map_err(|why| Error::refused("sign token for secret", key, why))? else {
            return Ok(());
        };
        let api = Api::<Secret>::namespaced(self.ctx.client.clone(), &key.namespace);
        match api.replace(&key.name, &PostParams::default(), &filled).await.doing("fill token secret", key) {
            // What changed meanwhile is the next event.
            Err(e) if !(e.is_conflict() || e.is_not_found()) => Err(e),
            _ => Ok(()),
        }
    }

    /// The account that the Secret names, if it still is that one. The cache may be behind.
    async fn account(&self, key: &Key, secret: &Secret) -> Result<Option<ServiceAccount>, Error> {
        let same =
            |account: &ServiceAccount| account_uid(secret).is_none_or(|uid| account.uid().as_deref() == Some(uid));
        if let Some(account) = self.accounts.get_key(key).filter(|account| same(account)) {
            return Ok(Some((*account).clone()));
        }
        let api = Api::<ServiceAccount>::namespaced(self.ctx.client.clone(), &key.namespace);
        Ok(api.get_opt(&key.name).await.doing("get service account", key)?.filter(same))
    }

    async fn clear(&self, key: &Key) -> Result<(), Error> {
        let mut errors = Vec::new();
        for secret in self.secrets.in_namespace(&key.namespace) {
            if account_of(&secret) == Some(key.name.as_str()) && self.account(key, &secret).await?.is_none() {
                errors.extend(self.delete(&secret).await.err());
            }
        }
        error::all(errors)
    }

    async fn delete(&self, secret: &Secret) -> Result<(), Error> {
        let (key, this_one) = (Key::of(secret), Preconditions { uid: secret.uid(), resource_version: None });
        let api = Api::<Secret>::namespaced(self.ctx.client.clone(), &key.namespace);
        let params = DeleteParams::default().preconditions(this_one);
        match api.delete(&key.name, &params).await.doing("delete token secret", &key) {
            Err(e) if !(e.is_not_found() || e.is_conflict()) => Err(e),
            _ => Ok(()),
        }
    }

    async fn forget(&self, secret: &str, account: &Key) -> Result<(), Error> {
        let api = Api::<ServiceAccount>::namespaced(self.ctx.client.clone(), &account.namespace);
        let found = api.get_opt(&account.name).await.doing("get service account", account)?;
        let Some(mut found) = found else { return Ok(()) };
        let named = |reference: &k8s_openapi::api::core::v1::ObjectReference| reference.name.as_deref() == Some(secret);
        if !found.secrets.iter().flatten().any(named) {
            return Ok(());
        }
        found.secrets.get_or_insert_default().retain(|reference| !named(reference));
        match api.replace(&account.name, &PostParams::default(), &found).await.doing("update service account", account)
        {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}
