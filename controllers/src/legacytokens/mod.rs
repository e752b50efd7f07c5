//! The legacy ServiceAccount token cleaner: token Secrets that the control plane once made and that nobody uses.
//!
//! Enter by [`run`]; [`decide`] is pure. Once a day: a Secret that was not used for the clean-up period, is no pod's, and is
//! listed by its ServiceAccount is first marked as invalid, and after the same period deleted. Reference: "Managing
//! Service Accounts", "Legacy ServiceAccount token cleaner".

mod decide;

use std::collections::HashSet;
use std::time::Duration;

use component::context::Context;
use component::informer::{Informer, Selection};
use component::queue::{self, Queue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use self::decide::{Verdict, World};
use crate::common::error::{self, Doing, Error};
use crate::common::pod::Pod;
use crate::common::token_secrets;

const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// Where the API server notes since when it tells when tokens are used.
const TRACKING: (&str, &str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking", "since");

struct Controller {
    ctx: Context,
    period: Duration,
    accounts: Informer<ServiceAccount>,
    secrets: Informer<Secret>,
    pods: Informer<Pod>,
}

/// Runs until the context's shutdown.
pub(crate) async fn run(ctx: Context, period: Duration) {
    let controller = Controller {
        period,
        accounts: ctx.informers.of(),
        secrets: ctx.informers.selected(Selection::fields(format!("type={}", token_secrets::TYPE))),
        pods: ctx.informers.of(),
        ctx,
    };
    let synced = async {
        controller.accounts.synced().await;
        controller.secrets.synced().await;
        controller.pods.synced().await;
    };
    let shutdown = controller.ctx.shutdown.clone();
    let queue = Queue::new("legacy_service_account_token_cleaner");
    queue.add(());
    if shutdown.run_until(synced).await.is_some() {
        let again = queue.clone();
        queue::run(queue, 1, shutdown, |()| controller.sync(&again)).await;
    }
}

impl Controller {
    async fn sync(&self, queue: &Queue<()>) -> Result<(), Error> {
        queue.add_after((), INTERVAL);
        let Some(tracked_since) = self.tracked_since().await? else { return Ok(()) };
        let mut errors = Vec::new();
        for secret in self.secrets.list() {
            let namespace = secret.namespace().unwrap_or_default();
            let account = token_secrets::account_of(&secret).and_then(|name| self.accounts.get(&namespace, name));
            let verdict = {
                let mounted = || self.mounted(&namespace);
                let world =
                    World { account: account.as_deref(), mounted: &mounted, period: self.period, tracked_since };
                decide::verdict(&secret, &world, self.ctx.clock.now())
            };
            let done = match verdict {
                Verdict::Keep => Ok(()),
                Verdict::Invalidate(date) => self.invalidate(&secret, &date).await,
                Verdict::Delete => self.delete(&secret).await,
            };
            errors.extend(done.err());
        }
        error::all(errors)
    }

    /// The first day from which on every use of a token is known; None while none is.
    async fn tracked_since(&self) -> Result<Option<Timestamp>, Error> {
        let (namespace, name, key) = TRACKING;
        let api = Api::<ConfigMap>::namespaced(self.ctx.client.clone(), namespace);
        let map = api.get_opt(name).await.doing("get config map", name)?;
        let since = map.and_then(|map| map.data?.get(key).cloned());
        Ok(since.and_then(|day| decide::day_after(&day)))
    }

    fn mounted(&self, namespace: &str) -> HashSet<String> {
        self.pods.in_namespace(namespace).iter().flat_map(|pod| decide::secrets_of(pod)).collect()
    }

    async fn invalidate(&self, secret: &Secret, date: &str) -> Result<(), Error> {
        let name = secret.name_any();
        let patch = json!({"metadata": {"uid": secret.uid(), "labels": {decide::INVALID_SINCE: date}}});
        let patched = self.api(secret).patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        match patched.doing("mark legacy token as invalid", &name) {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Only as it was looked at: a use in between changes it.
    async fn delete(&self, secret: &Secret) -> Result<(), Error> {
        let name = secret.name_any();
        let seen = Preconditions { resource_version: secret.resource_version(), ..Default::default() };
        let params = DeleteParams::default().preconditions(seen);
        match self.api(secret).delete(&name, &params).await.doing("delete legacy token", &name) {
            Err(e) if !(e.is_conflict() || e.is_not_found()) => Err(e),
            _ => Ok(()),
        }
    }

    fn api(&self, secret: &Secret) -> Api<Secret> {
        Api::namespaced(self.ctx.client.clone(), &secret.namespace().unwrap_or_default())
    }
}
