//! A pod's volumes on this node: made before its containers, kept up to date while they run, gone with the pod.
//!
//! Enter at [`VolumeManager::set_up`] (idempotent; also renews contents), [`mounts::of_container`] and
//! [`VolumeManager::tear_down`]. What a volume holds is decided in [`payload`] and [`claims`]; [`make`](make::make) and
//! [`atomic`] write it, [`image`] mounts images. Volume types that are not built are refused by name.

pub mod atomic;
mod claims;
mod device;
mod error;
mod host_path;
mod huge_pages;
pub mod image;
mod kind;
mod make;
mod mount_table;
pub mod mounts;
mod once;
mod ownership;
mod payload;
mod subpath;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use component::{clock::Clock, removal::remove_tree};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, ProjectedVolumeSource, Volume};

use self::{
    atomic::Payload,
    claims::{Claims, Found, Place},
    error::{Problem, SET_UP, SET_UP_DEVICE},
    image::ImageMounts,
    kind::{Kind, kind},
    make::{Medium, Task, make},
    ownership::Ownership,
    payload::Inputs,
    tokens::Tokens,
};
use crate::{
    env::Sources,
    paths::Paths,
    pod::{
        configs::{NodeFacts, resources::PodTotal},
        spec,
    },
};

const IMAGE: &str = "kubernetes.io/image";
/// The most of a file of variables that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The default mode of the files of configMap, secret, downwardAPI and projected volumes.
const FILE_MODE: i32 = 0o644;
/// Upstream's words first, which name one of the two cases alone.
const NO_TRUST_BUNDLES: &str = "ClusterTrustBundle projection is not supported in static kubelet mode, or while the \
                                feature gate ClusterTrustBundleProjection is disabled, as it is here and by default";

pub use error::Error;

/// See the module.
#[derive(Clone)]
pub struct VolumeManager {
    paths: Paths,
    sources: Arc<dyn Sources>,
    tokens: Tokens,
    clock: Clock,
    claims: Claims,
    images: ImageMounts,
    /// By pod UID and volume: where claims' data lies.
    found: Arc<Mutex<HashMap<(String, String), Found>>>,
}

impl VolumeManager {
    /// `client` finds claims; None without an API server.
    pub fn new(
        paths: Paths,
        sources: Arc<dyn Sources>,
        tokens: Tokens,
        clock: Clock,
        client: Option<kube::Client>,
        images: ImageMounts,
    ) -> Self {
        Self { paths, sources, tokens, clock, claims: Claims::new(client), images, found: Arc::default() }
    }

    /// Makes every volume that a container of the pod uses, or brings it up to date. Answers when it wants to be called
    /// again to renew a token.
    ///
    /// # Errors
    /// Those that could not be made; the others are made all the same.
    pub async fn set_up(
        &self,
        pod: &Pod,
        pod_ips: &[String],
        facts: &NodeFacts,
    ) -> Result<Option<Timestamp>, Vec<Error>> {
        let pod_folder = self.paths.pod(spec::uid(pod));
        fs::create_dir_all(&pod_folder).map_err(|error| error::told(vec![(String::new(), error.into())]))?;
        let mut renew_at: Option<Timestamp> = None;
        let (mut problems, mut tasks) = (Vec::new(), Vec::new());
        for volume in spec::used_volumes(pod) {
            let inputs = Inputs { pod, pod_ips, sources: self.sources.as_ref(), facts };
            match self.task(volume, &inputs, &mut renew_at).await {
                Ok(task) => tasks.push((volume.name.clone(), task)),
                Err(problem) => problems.push((volume.name.clone(), problem)),
            }
        }
        let (ownership, now) = (Ownership::of_pod(pod), self.clock.now());
        let made = tokio::task::spawn_blocking(move || -> Vec<_> {
            tasks.into_iter().map(|(volume, task)| (volume, make(&task, ownership, now))).collect()
        });
        let made = made.await.map_err(|error| error::told(vec![(String::new(), error.to_string().into())]))?;
        for (name, error) in made.into_iter().filter_map(|(name, result)| Some((name, result.err()?))) {
            let volume = self.found(spec::uid(pod), &name).map(|found| found.volume);
            problems.push((name, Problem::Step { step: SET_UP, volume, message: error.to_string() }));
        }
        if problems.is_empty() { Ok(renew_at) } else { Err(error::told(problems)) }
    }

    /// Where a volume of the pod lies on this node.
    pub fn host_path(&self, pod: &Pod, name: &str) -> Option<PathBuf> {
        let volume = spec::spec(pod).volumes.iter().flatten().find(|volume| volume.name == name)?;
        match kind(volume) {
            Kind::EmptyDir(_) => Some(self.paths.volume(spec::uid(pod), "kubernetes.io/empty-dir", name)),
            Kind::HostPath { path, .. } => Some(path.into()),
            Kind::Files { plugin, .. } => Some(self.paths.volume(spec::uid(pod), plugin, name)),
            Kind::Claim => {
                let found = self.found(spec::uid(pod), name)?;
                Some(match &found.place {
                    Place::HostPath { path, .. } => path.into(),
                    Place::Local { path, .. } if found.is_block => path.into(),
                    Place::Local { .. } => self.local_folder(spec::uid(pod), &found),
                })
            }
            Kind::Image => Some(self.paths.volume(spec::uid(pod), IMAGE, name)),
            Kind::Unsupported(_) => None,
        }
    }

    fn found(&self, pod_uid: &str, volume: &str) -> Option<Found> {
        let key = (pod_uid.to_owned(), volume.to_owned());
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Notes where a pod's volume lies, unless another pod has what only one may have.
    fn note(&self, pod_uid: &str, volume: &str, found: Found) -> Result<Found, Problem> {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.is_for_one_pod && !once::take(&self.paths.pods(), pod_uid, &found.volume)? {
            return Err(Problem::Step {
                step: if found.is_block { SET_UP_DEVICE } else { SET_UP },
                volume: Some(found.volume),
                message: "volume uses the ReadWriteOncePod access mode and is already in use by another pod".into(),
            });
        }
        all.insert((pod_uid.to_owned(), volume.to_owned()), found.clone());
        Ok(found)
    }

    /// The groups of the pod's volumes.
    pub fn groups(&self, pod_uid: &str) -> Vec<i64> {
        let all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let of_pod = all.iter().filter(|((uid, _), _)| uid == pod_uid);
        let groups: BTreeSet<i64> = of_pod.filter_map(|(_, found)| found.group).collect();
        groups.into_iter().collect()
    }

    fn local_folder(&self, pod_uid: &str, found: &Found) -> PathBuf {
        self.paths.volume(pod_uid, "kubernetes.io/local-volume", &found.volume)
    }

    /// Reads a small file of a volume; no link leads out of it. Blocking, but short.
    ///
    /// # Errors
    /// A volume or file that is not there, or too large a file.
    pub fn read_file(&self, pod: &Pod, name: &str, path: &str) -> Result<String, String> {
        let folder = self.host_path(pod, name);
        let folder = folder.ok_or_else(|| format!("cannot find the volume {name:?} referenced by FileKeyRef"))?;
        subpath::read(&folder, path, FILE_BYTES_MAX).map_err(|error| format!("{path}: {error}"))
    }

    /// Is the volume one that containers must not write, whatever they ask for?
    pub fn is_read_only(&self, pod: &Pod, name: &str) -> bool {
        let volume = spec::spec(pod).volumes.iter().flatten().find(|volume| volume.name == name);
        match volume.map(kind) {
            // Files made from API objects are never written by containers: upstream mounts them read-only.
            Some(Kind::Files { .. } | Kind::Image) => true,
            Some(Kind::Claim) => self.found(spec::uid(pod), name).is_some_and(|found| found.is_read_only),
            _ => false,
        }
    }

    /// A volume that containers get as a device.
    pub fn is_block(&self, pod: &Pod, name: &str) -> bool {
        self.found(spec::uid(pod), name).is_some_and(|found| found.is_block)
    }

    pub fn images(&self) -> &ImageMounts {
        &self.images
    }

    /// The name of the view that an image volume is mounted from.
    pub fn image_key(pod_uid: &str, volume: &str) -> String {
        format!("kubelet-volume-{pod_uid}-{volume}")
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
        self.found.lock().unwrap_or_else(PoisonError::into_inner).retain(|(uid, _), _| uid != pod_uid);
        let folder = self.paths.pod(pod_uid);
        let images = fs::read_dir(self.paths.volumes(pod_uid).join(IMAGE.replace('/', "~"))).into_iter().flatten();
        let images: Vec<String> = images.flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        if !images.is_empty() {
            let volumes = self.paths.volumes(pod_uid);
            tokio::task::spawn_blocking(move || mount_table::unmount_below(&volumes))
                .await
                .map_err(io::Error::other)??;
        }
        // Before the folders, which are what tells of the views.
        for name in images {
            self.images.release(&Self::image_key(pod_uid, &name)).await?;
        }
        tokio::task::spawn_blocking(move || {
            mount_table::unmount_below(&folder)?;
            remove_tree(&folder)
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn task(
        &self,
        volume: &Volume,
        inputs: &Inputs<'_>,
        renew_at: &mut Option<Timestamp>,
    ) -> Result<Task, Problem> {
        let uid = spec::uid(inputs.pod);
        match kind(volume) {
            Kind::EmptyDir(source) => {
                let medium = source.medium.as_deref().unwrap_or_default();
                let medium = match medium {
                    "" => Medium::Disk,
                    "Memory" => Medium::Memory { size_bytes: memory_bytes(source, inputs) },
                    _ => match huge_pages::page_bytes(medium, inputs.pod) {
                        Some(page_bytes) => Medium::HugePages { page_bytes: page_bytes? },
                        None => return Err(format!("unknown storage medium {medium:?}").into()),
                    },
                };
                Ok(Task::EmptyDir { folder: self.paths.volume(uid, "kubernetes.io/empty-dir", &volume.name), medium })
            }
            Kind::HostPath { path, type_ } => Ok(Task::HostPath { path: path.to_owned(), type_: type_.to_owned() }),
            Kind::Files { plugin, in_memory } => Ok(Task::Files {
                folder: self.paths.volume(uid, plugin, &volume.name),
                in_memory,
                payload: self.payload(volume, inputs, renew_at).await?,
                token_owner: ownership::common_user(inputs.pod),
            }),
            Kind::Claim => self.claim(volume, inputs).await,
            Kind::Image => Ok(Task::Nothing),
            Kind::Unsupported(name) => Err(format!("volumes of type {name} are not supported by this kubelet").into()),
        }
    }

    async fn claim(&self, volume: &Volume, inputs: &Inputs<'_>) -> Result<Task, Problem> {
        let uid = spec::uid(inputs.pod);
        let found = match self.found(uid, &volume.name) {
            Some(found) => found,
            None => {
                let found = self.claims.resolve(inputs.pod, volume, &inputs.facts.node_name).await?;
                self.note(uid, &volume.name, found)?
            }
        };
        let context = spec::spec(inputs.pod).security_context.as_ref();
        let policy = context.and_then(|it| it.fs_group_change_policy.as_deref());
        Ok(match &found.place {
            Place::HostPath { path, type_ } => Task::HostPath { path: path.clone(), type_: type_.clone() },
            Place::Local { .. } if found.is_block => Task::Nothing,
            Place::Local { path, fs_type, options } => Task::Local {
                path: path.into(),
                how: device::How {
                    fs_type: fs_type.clone(),
                    is_read_only: found.is_read_only,
                    options: options.clone(),
                },
                folder: self.local_folder(uid, &found),
                pods: self.paths.pods(),
                only_on_mismatch: policy == Some("OnRootMismatch"),
            },
        })
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
                return Err(NO_TRUST_BUNDLES.into());
            } else {
                return Err("podCertificate projections are not supported by this kubelet (upstream's feature gate PodCertificateRequest is off)".into());
            }
        }
        Ok(payload)
    }
}

/// The size of a folder in memory: no more than the pod may use, or the node has, and no more than is asked for.
fn memory_bytes(source: &EmptyDirVolumeSource, inputs: &Inputs<'_>) -> Option<i64> {
    let asked = source.size_limit.as_ref().and_then(spec::quantity).map(|it| it.value());
    let of_node = inputs.facts.allocatable.get("memory").map(|it| it.value());
    let of_pod = Some(PodTotal::of(inputs.pod).memory_limit_bytes);
    [asked, of_node, of_pod].into_iter().flatten().filter(|it| *it > 0).min()
}
