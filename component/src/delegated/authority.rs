//! Where the client authorities come from: a file that may change, or what the API server publishes.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use k8s_openapi::api::core::v1::ConfigMap;

use super::ClientAuthority;
use crate::{
    informer::{Event, Informers, Selection},
    tls::{self, ReloadingBundle},
};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
const MEMBER: &str = "client-ca-file";

pub(super) struct Authorities {
    file: Option<ReloadingBundle>,
    published: Arc<RwLock<Option<ClientAuthority>>>,
}

impl Authorities {
    pub(super) fn new(file: Option<PathBuf>) -> Result<Self, tls::Error> {
        let file = file.map(ReloadingBundle::load).transpose()?;
        Ok(Self { file, published: Arc::default() })
    }

    /// What to judge client certificates by; `None` when none are taken.
    pub(super) fn current(&self) -> Option<ClientAuthority> {
        match &self.file {
            Some(file) => Some(ClientAuthority::new(file.current())),
            None => self.published.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(super) fn follow(&self, informers: &Informers) {
        if self.file.is_some() {
            return;
        }
        let selection = Selection::fields(format!("metadata.name={NAME}"));
        let published = self.published.clone();
        informers.namespaced::<ConfigMap>(NAMESPACE, selection).on_event(move |event| {
            let found = match event {
                Event::Deleted(_) => None,
                event => read(event.object()),
            };
            *published.write().unwrap_or_else(PoisonError::into_inner) = found;
        });
    }
}

fn read(published: &ConfigMap) -> Option<ClientAuthority> {
    let pem = published.data.as_ref()?.get(MEMBER)?;
    match tls::certificates_from_pem(pem.as_bytes(), &format!("{NAMESPACE}/{NAME} {MEMBER}")) {
        Ok(authorities) => Some(ClientAuthority::new(authorities)),
        Err(error) => {
            tracing::warn!(%error, "published client authorities cannot be read");
            None
        }
    }
}
