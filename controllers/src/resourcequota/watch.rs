//! Watches of kinds that some quota counts by number, or that cost the same all their life, for what goes.
//!
//! Started when a quota first names the kind, and only then: a cluster without such quotas has no such watch. Kinds that a
//! shared cache holds anyway are not watched here.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

use component::context::Context;
use futures::StreamExt;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, ResourceExt};
use machinery::quota::Evaluator;

use super::Gone;
use crate::common::discovery::Resource;

pub(super) struct Watches {
    ctx: Context,
    gone: Gone,
    running: Mutex<BTreeSet<Resource>>,
}

impl Watches {
    pub(super) fn new(ctx: Context, gone: Gone) -> Self {
        Watches { ctx, gone, running: Mutex::default() }
    }

    pub(super) fn follow(&self, resource: &Resource) {
        let by_number = Evaluator::of(&resource.group, &resource.resource);
        let Some(evaluator @ (Evaluator::Objects(_) | Evaluator::DeviceClaims(_))) = by_number else {
            return;
        };
        let new = self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(resource.clone());
        if new && resource.supports("watch") {
            let watch = follow(self.ctx.clone(), resource.clone(), evaluator, self.gone.clone());
            tokio::spawn(watch);
        }
    }
}

/// Until shutdown. What goes while the watch is broken is found by the next full count.
async fn follow(ctx: Context, resource: Resource, evaluator: Evaluator, gone: Gone) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(ctx.client.clone(), &resource.api_resource());
    let mut events = pin!(watcher(api, Config::default()).default_backoff());
    while let Some(Some(event)) = ctx.shutdown.run_until(events.next()).await {
        match event {
            Ok(Event::Delete(object)) => gone.tell(&object.namespace().unwrap_or_default(), &evaluator),
            Ok(_) => {}
            Err(error) => tracing::debug!(resource = resource.resource, %error, "watch for quotas broke, trying again"),
        }
    }
}
