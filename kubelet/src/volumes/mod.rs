//! A pod's volumes on this node: made before its containers, kept up to date while they run, gone with the pod.
//!
//! Enter at [`VolumeManager::set_up`] (idempotent; also renews contents), [`mounts::of_container`] and
//! [`VolumeManager::tear_down`]. What a volume holds is decided in [`payload`]; [`atomic`] writes it. Volume types that
//! are not built are refused by name.

pub mod atomic;
mod host_path;
mod mount_table;
pub mod mounts;
mod ownership;
mod payload;
mod subpath;
pub mod tokens;

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc};

use component::clock::Clock;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, ProjectedVolumeSource, Volume};

use self::{atomic::Payload, ownership::Ownership, payload::Inputs, tokens::Tokens};
use crate::{
    env::Sources,
    paths::Paths,
    pod::{configs::NodeFacts, spec},
};

/// The default mode of the files of configMap, secret, downwardAPI and projected volumes.
const FILE_MODE: i32 = 0o644;

/// A volume that could not be set up, in the words of upstream's `FailedMount` event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct Error {
    pub volume: String,
    pub message: String,
}

/// The kind of a volume, with what is needed to make it.
pub(crate) enum Kind<'a> {
    EmptyDir(&'a EmptyDirVolumeSource),
    HostPath {
        path: &'a str,
        type_: &'a str,
    },
    /// Files made from API objects: the plugin's name, and whether they stay in memory.
    Files {
        plugin: &'static str,
        in_memory: bool,
    },
    Unsupported(&'static str),
}

pub(crate) fn kind(volume: &Volume) -> Kind<'_> {
    let files = |plugin, in_memory| Kind::Files { plugin, in_memory };
    if let Some(source) = &volume.empty_dir {
        return Kind::EmptyDir(source);
    }
    if let Some(source) = &volume.host_path {
        return Kind::HostPath { path: &source.path, type_: source.type_.as_deref().unwrap_or_default() };
    }
    if volume.config_map.is_some() {
        return files("kubernetes.io/configmap", false);
    }
    if volume.secret.is_some() {
        return files("kubernetes.io/secret", true);
    }
    if volume.downward_api.is_some() {
        return files("kubernetes.io/downward-api", true);
    }
    if volume.projected.is_some() {
        return files("kubernetes.io/projected", true);
    }
    let others = [
        (volume.persistent_volume_claim.is_some(), "persistentVolumeClaim"),
        (volume.csi.is_some(), "csi"),
        (volume.ephemeral.is_some(), "ephemeral"),
        (volume.image.is_some(), "image"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.fc.is_some(), "fc"),
    ];
    Kind::Unsupported(others.into_iter().find(|(is, _)| *is).map_or("of no known type", |(_, name)| name))
}

/// See the module.
#[derive(Clone)]
pub struct VolumeManager {
    paths: Paths,
    sources: Arc<dyn Sources>,
    tokens: Tokens,
    clock: Clock,
}

/// One volume, decided and ready to be written by a blocking thread.
enum Task {
    EmptyDir { folder: PathBuf, in_memory: bool, size_bytes: Option<i64> },
    HostPath { path: String, type_: String },
    Files { folder: PathBuf, in_memory: bool, payload: Payload, token_owner: Option<u32> },
}

impl VolumeManager {
    pub fn new(paths: Paths, sources: Arc<dyn Sources>, tokens: Tokens, clock: Clock) -> Self {
        Self { paths, sources, tokens, clock }
    }

    /// Makes every volume of the pod, or brings it up to date. Answers when it wants to be called again to renew a
    /// token.
    ///
    /// # Errors
    /// The first volume that could not be made; the others are made all the same.
    pub async fn set_up(&self, pod: &Pod, pod_ips: &[String], facts: &NodeFacts) -> Result<Option<Timestamp>, Error> {
        let mut renew_at: Option<Timestamp> = None;
        let mut failure = None;
        let mut tasks = Vec::new();
        for volume in spec::spec(pod).volumes.iter().flatten() {
            let inputs = Inputs { pod, pod_ips, sources: self.sources.as_ref(), facts };
            match self.task(volume, &inputs, &mut renew_at).await {
                Ok(task) => tasks.push((volume.name.clone(), task)),
                Err(message) => failure = failure.or(Some(Error { volume: volume.name.clone(), message })),
            }
        }
        let ownership = Ownership::of_pod(pod);
        let now = self.clock.now();
        let pod_folder = self.paths.pod(spec::uid(pod));
        let written = tokio::task::spawn_blocking(move || -> Result<(), Error> {
            let base = fs::create_dir_all(&pod_folder);
            base.map_err(|error| Error { volume: String::new(), message: error.to_string() })?;
            tasks.into_iter().try_for_each(|(volume, task)| {
                make(&task, ownership, now).map_err(|error| Error { volume, message: error.to_string() })
            })
        });
        let written = written.await.map_err(|error| Error { volume: String::new(), message: error.to_string() })?;
        written.and(failure.map_or(Ok(renew_at), Err))
    }

    /// Where a volume of the pod lies on this node.
    pub fn host_path(&self, pod: &Pod, name: &str) -> Option<PathBuf> {
        let volume = spec::spec(pod).volumes.iter().flatten().find(|volume| volume.name == name)?;
        match kind(volume) {
            Kind::EmptyDir(_) => Some(self.paths.volume(spec::uid(pod), "kubernetes.io/empty-dir", name)),
            Kind::HostPath { path, .. } => Some(path.into()),
            Kind::Files { plugin, .. } => Some(self.paths.volume(spec::uid(pod), plugin, name)),
            Kind::Unsupported(_) => None,
        }
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Unmounts everything below the pod's folder and removes it. What is gone already is fine.
    ///
    /// # Errors
    /// A mount that stays, or a folder that cannot be removed. Never removes anything through a mount.
    pub async fn tear_down(&self, pod_uid: &str) -> io::Result<()> {
        self.tokens.forget(pod_uid);
        let folder = self.paths.pod(pod_uid);
        tokio::task::spawn_blocking(move || {
            mount_table::unmount_below(&folder)?;
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn task(
        &self,
        volume: &Volume,
        inputs: &Inputs<'_>,
        renew_at: &mut Option<Timestamp>,
    ) -> Result<Task, String> {
        let uid = spec::uid(inputs.pod);
        match kind(volume) {
            Kind::EmptyDir(source) => {
                let medium = source.medium.as_deref().unwrap_or_default();
                if !matches!(medium, "" | "Memory") {
                    return Err(format!("emptyDir medium {medium:?} is not supported by this kubelet"));
                }
                Ok(Task::EmptyDir {
                    folder: self.paths.volume(uid, "kubernetes.io/empty-dir", &volume.name),
                    in_memory: medium == "Memory",
                    size_bytes: source.size_limit.as_ref().and_then(spec::quantity).map(|it| it.value()),
                })
            }
            Kind::HostPath { path, type_ } => Ok(Task::HostPath { path: path.to_owned(), type_: type_.to_owned() }),
            Kind::Files { plugin, in_memory } => Ok(Task::Files {
                folder: self.paths.volume(uid, plugin, &volume.name),
                in_memory,
                payload: self.payload(volume, inputs, renew_at).await?,
                token_owner: ownership::common_user(inputs.pod),
            }),
            Kind::Unsupported(name) => Err(format!("volumes of type {name} are not supported by this kubelet")),
        }
    }

    async fn payload(
        &self,
        volume: &Volume,
        inputs: &Inputs<'_>,
        renew_at: &mut Option<Timestamp>,
    ) -> Result<Payload, String> {
        if let Some(source) = &volume.config_map {
            let mode = source.default_mode.unwrap_or(FILE_MODE);
            return payload::config_map(inputs, &source.name, &source.items, mode, source.optional == Some(true));
        }
        if let Some(source) = &volume.secret {
            let mode = source.default_mode.unwrap_or(FILE_MODE);
            let name = source.secret_name.as_deref().unwrap_or_default();
            return payload::secret(inputs, name, &source.items, mode, source.optional == Some(true));
        }
        if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            return payload::downward_api(inputs, items, source.default_mode.unwrap_or(FILE_MODE));
        }
        match &volume.projected {
            Some(source) => self.projected(source, inputs, renew_at).await,
            None => Ok(Payload::new()),
        }
    }

    async fn projected(
        &self,
        volume: &ProjectedVolumeSource,
        inputs: &Inputs<'_>,
        renew_at: &mut Option<Timestamp>,
    ) -> Result<Payload, String> {
        let mode = volume.default_mode.unwrap_or(FILE_MODE);
        let mut payload = Payload::new();
        for source in volume.sources.iter().flatten() {
            if let Some(source) = &source.config_map {
                let optional = source.optional == Some(true);
                payload.extend(payload::config_map(inputs, &source.name, &source.items, mode, optional)?);
            } else if let Some(source) = &source.secret {
                let optional = source.optional == Some(true);
                payload.extend(payload::secret(inputs, &source.name, &source.items, mode, optional)?);
            } else if let Some(source) = &source.downward_api {
                let items = source.items.as_deref().unwrap_or_default();
                payload.extend(payload::downward_api(inputs, items, mode)?);
            } else if let Some(source) = &source.service_account_token {
                let audience = source.audience.as_deref().filter(|audience| !audience.is_empty());
                let token = self.tokens.get(inputs.pod, audience, source.expiration_seconds).await?;
                *renew_at = Some(renew_at.map_or(token.renew_at, |earlier| earlier.min(token.renew_at)));
                let has_owner =
                    Ownership::of_pod(inputs.pod).group.is_some() || ownership::common_user(inputs.pod).is_some();
                payload.extend(payload::token(source, &token.text, mode, has_owner));
            } else if source.cluster_trust_bundle.is_some() {
                return Err("clusterTrustBundle projections are not supported by this kubelet".into());
            } else {
                return Err("podCertificate projections are not supported by this kubelet".into());
            }
        }
        Ok(payload)
    }
}

fn make(task: &Task, ownership: Ownership, now: Timestamp) -> io::Result<()> {
    match task {
        Task::HostPath { path, type_ } => host_path::ensure(path.as_ref(), type_),
        Task::EmptyDir { folder, in_memory, size_bytes } => {
            // The kubelet was here before: what the pod's processes have made of the folder stays.
            if folder.exists() && (!in_memory || mount_table::is_mounted(folder)?) {
                return Ok(());
            }
            fs::create_dir_all(folder)?;
            if *in_memory {
                mount_table::mount_tmpfs(folder, *size_bytes)?;
            }
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
            ownership.apply(folder, false)
        }
        Task::Files { folder, in_memory, payload, token_owner } => {
            fs::create_dir_all(folder)?;
            if *in_memory && !mount_table::is_mounted(folder)? {
                mount_table::mount_tmpfs(folder, None)?;
            }
            let own = |next: &std::path::Path| {
                if let Some(uid) = token_owner {
                    ownership::give_private_files(next, *uid)?;
                }
                ownership.apply(next, true)
            };
            atomic::write(folder, payload, now, own)?;
            ownership.apply_top(folder, true)
        }
    }
}
