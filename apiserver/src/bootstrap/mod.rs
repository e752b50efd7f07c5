//! What a cluster has from its first moment: namespaces, roles, priority classes, levels of flow control, its own Service.
//!
//! Enter at [`run`]. Everything is converged (made when missing, mended where the server owns it), through the same
//! create and update as any client's, so that several servers may do it at once.

mod api_services;
mod authentication;
mod flow;
mod follow;
mod identity;
mod namespaces;
mod policy;
mod priorities;
mod service;
mod service_cidr;
mod token_tracking;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::OptionFuture;
use http::{HeaderMap, Method, Uri};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

pub use service::Advertised;

use self::identity::Identity;

use crate::api::Api;
use crate::audit::Trail;
use crate::catalogue::Served;
use crate::fairness;
use crate::request::{MASTERS, Query, RequestInfo, User};
use crate::rest::Call;
use crate::rest::create::create_object;
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};
use crate::rest::warnings::Warnings;
use crate::services::repair::{self, Repair};

/// What of all that is wanted only sometimes.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// The roles and bindings of RBAC.
    pub roles: bool,
    /// The Lease that tells of this server.
    pub identity: bool,
}

/// Makes what is missing, then keeps the `kubernetes` Service's endpoints true until shutdown.
/// `ready` is called once everything stands.
pub async fn run(api: Arc<Api>, advertised: Advertised, wishes: Wishes, ready: impl FnOnce() + Send) {
    let identity = wishes.identity.then(|| Identity::new(&api, &advertised));
    let repair = Repair::default();
    let mut wait = Duration::from_millis(100);
    let converged = api.shutdown.run_until(async {
        while let Err(status) = converge(&api, &advertised, identity.as_ref(), &repair, wishes.roles).await {
            tracing::error!(%status, "bootstrapping the cluster failed; trying again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    });
    if converged.await.is_none() {
        if let Some(identity) = &identity {
            identity::leave(&api, identity).await;
        }
        return;
    }
    ready();
    tokio::join!(
        repair::keep(&api, &repair),
        service::keep(&api, &advertised),
        authentication::keep(&api),
        token_tracking::keep(&api),
        OptionFuture::from(identity.as_ref().map(|identity| identity::keep(&api, identity))),
    );
}

async fn converge(
    api: &Api,
    advertised: &Advertised,
    identity: Option<&Identity>,
    repair: &Repair,
    with_roles: bool,
) -> Result<(), Status> {
    namespaces::ensure(api).await?;
    authentication::publish(api).await?;
    if with_roles {
        policy::ensure(api).await?;
    }
    priorities::ensure(api).await?;
    flow::ensure(api).await?;
    api_services::ensure(api).await?;
    service::ensure(api, advertised).await?;
    if let Some(identity) = identity {
        identity::ensure_or_tell(api, identity).await;
    }
    repair.once(api).await?;
    // Whoever is told that the server is ready has its rights already.
    api.consistent().await?;
    crate::authz::rbac::rebuild(api);
    if let Some(fairness) = &api.limits.fairness {
        fairness::settle(api, fairness).await;
        // So that who follows does not tell it again.
        api.consistent().await?;
    }
    Ok(())
}

/// A call that the server makes of itself.
pub fn own_call(served: &Arc<Served>, verb: &str, namespace: &str, name: &str) -> Call {
    Call {
        method: Method::POST,
        uri: Uri::default(),
        peer: None,
        info: RequestInfo {
            verb: verb.to_owned(),
            is_resource: true,
            group: served.row.group.to_string(),
            version: served.row.version.to_string(),
            namespace: namespace.to_owned(),
            resource: served.row.plural.to_string(),
            name: name.to_owned(),
            ..RequestInfo::default()
        },
        query: Query::default(),
        headers: HeaderMap::new(),
        user: User { name: "system:apiserver".into(), groups: vec![MASTERS.into()], ..User::default() },
        served: served.clone(),
        body: Bytes::new(),
        upgrade: None,
        warnings: Warnings::default(),
        trail: Trail::default(),
    }
}

fn row<'a>(api: &'a Api, group: &str, plural: &str) -> Result<&'a Arc<Served>, Status> {
    api.catalogue.find(group, "v1", plural).ok_or_else(|| Status::internal_error(format!("{plural} are not served")))
}

/// Makes the object unless one of its name is there. Returns whether it was made.
async fn ensure(api: &Api, group: &str, plural: &str, object: Value) -> Result<bool, Status> {
    let served = row(api, group, plural)?;
    let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
    if api.peek(served, &namespace, &name)?.is_some() {
        return Ok(false);
    }
    let call = own_call(served, "create", &namespace, "");
    match create_object(api, &call, object, &WriteOptions::default()).await {
        Ok(_) => Ok(true),
        Err(status) if status.reason == "AlreadyExists" => Ok(false),
        Err(status) => Err(status),
    }
}

/// Makes the object, or mends the one that is there.
async fn ensure_as(
    api: &Api,
    group: &str,
    plural: &str,
    object: Value,
    mend: impl Fn(&Value) -> Value,
) -> Result<(), Status> {
    let (namespace, name) = (meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
    if ensure(api, group, plural, object).await? {
        return Ok(());
    }
    let served = row(api, group, plural)?;
    let call = own_call(served, "update", &namespace, &name);
    change(api, &call, Part::Main, &WriteOptions::default(), |old| Ok(mend(old))).await.map(|_| ())
}
