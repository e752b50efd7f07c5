//! Image volumes: the file system of an image, read-only, in a folder of the pod.
//!
//! Runtimes that mount images themselves (containerd from 2.1 on, CRI-O) are told to in the container's configuration.
//! For older containerd the kubelet takes a view of the unpacked image from its snapshot service and mounts that; the
//! view is held by a label against containerd's garbage collection and given back with the pod.

use std::{collections::HashMap, fs, io, path::Path};

use containerd_client::{
    services::v1::snapshots::{RemoveSnapshotRequest, ViewSnapshotRequest, snapshots_client::SnapshotsClient},
    types::Mount,
};
use k8s_cri::v1::{
    ImageSpec, ImageStatusRequest, StatusRequest, VersionResponse, image_service_client::ImageServiceClient,
    runtime_service_client::RuntimeServiceClient,
};
use nix::mount::{MsFlags, mount};
use serde_json::Value;
use tonic::{Code, transport::Channel};

use super::mount_table;
use crate::runtime::containerd::in_namespace;

const SNAPSHOTTER: &str = "overlayfs";
/// The first versions of runtimes that mount images, and that mount a path in one.
const HAVE_IMAGES: (&str, u32, u32) = ("containerd", 2, 1);
const HAVE_SUB_PATHS: [(&str, u32, u32); 2] = [("containerd", 2, 2), ("cri-o", 1, 33)];
/// What has this label is no garbage to containerd.
const ROOT: &str = "containerd.io/gc.root";

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct ImageMounts {
    /// None where the runtime mounts images by itself.
    containerd: Option<Channel>,
    takes_sub_paths: bool,
}

impl ImageMounts {
    /// For the runtime behind `channel`.
    pub fn new(channel: Channel, version: &VersionResponse) -> Self {
        let (name, version) = (version.runtime_name.as_str(), version.runtime_version.as_str());
        Self {
            containerd: is_older(name, version, HAVE_IMAGES).then_some(channel),
            takes_sub_paths: takes_sub_paths(name, version),
        }
    }

    /// A runtime that does everything by itself.
    pub fn native() -> Self {
        Self { containerd: None, takes_sub_paths: true }
    }

    /// One that does not know of paths in images.
    #[cfg(test)]
    pub(super) fn without_sub_paths() -> Self {
        Self { containerd: None, takes_sub_paths: false }
    }

    pub fn is_native(&self) -> bool {
        self.containerd.is_none()
    }

    /// Whether a runtime that mounts images by itself can mount a path in one. Where it does not know of that it mounts
    /// the whole image, and says nothing.
    pub fn takes_sub_paths(&self) -> bool {
        self.takes_sub_paths
    }

    /// Mounts the image onto `folder`; it may be mounted there already. `key` names the view.
    ///
    /// # Errors
    /// The step that failed, with the runtime's words.
    pub async fn ensure(&self, image_ref: &str, key: &str, folder: &Path) -> Result<(), String> {
        let Some(channel) = &self.containerd else { return Ok(()) };
        let at = folder.to_owned();
        if blocking(move || mount_table::is_mounted(&at)).await? {
            return Ok(());
        }
        let parent = chain_id(channel, image_ref).await?;
        let snapshotter = snapshotter(channel).await;
        let mut snapshots = SnapshotsClient::new(channel.clone());
        let view = ViewSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: key.to_owned(),
            parent,
            labels: HashMap::from([(ROOT.to_owned(), "kubelet".to_owned())]),
        };
        let made = match snapshots.view(in_namespace(view)).await {
            Ok(answer) => answer.into_inner().mounts,
            // Left by a kubelet that died before the mount.
            Err(status) if status.code() == Code::AlreadyExists => {
                let request =
                    containerd_client::services::v1::snapshots::MountsRequest { snapshotter, key: key.to_owned() };
                let answer = snapshots.mounts(in_namespace(request)).await;
                answer
                    .map_err(|status| format!("reading the view of the image: {}", status.message()))?
                    .into_inner()
                    .mounts
            }
            Err(status) => return Err(format!("making a view of the image: {}", status.message())),
        };
        let folder = folder.to_owned();
        blocking(move || {
            fs::create_dir_all(&folder)?;
            made.iter().try_for_each(|mount| mount_one(mount, &folder))
        })
        .await
    }

    /// Gives the view back; it must not be mounted any more.
    pub async fn release(&self, key: &str) -> io::Result<()> {
        let Some(channel) = &self.containerd else { return Ok(()) };
        let snapshotter = snapshotter(channel).await;
        let request = RemoveSnapshotRequest { snapshotter, key: key.to_owned() };
        match SnapshotsClient::new(channel.clone()).remove(in_namespace(request)).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(io::Error::other(format!("removing the view {key} of an image: {}", status.message())))
            }
            _ => Ok(()),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| format!("mounting the image: {error}"))
}

fn takes_sub_paths(name: &str, version: &str) -> bool {
    !HAVE_SUB_PATHS.iter().any(|first| is_older(name, version, *first))
}

/// Is this runtime the one that is named first, in a version before that?
fn is_older(name: &str, version: &str, first: (&str, u32, u32)) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().flatten(), numbers.next().flatten());
    name == first.0 && matches!((major, minor), (Some(major), Some(minor)) if (major, minor) < (first.1, first.2))
}

/// The name of the image's unpacked file system, which containerd tells in the details of an image.
async fn chain_id(channel: &Channel, image_ref: &str) -> Result<String, String> {
    let image = ImageSpec { image: image_ref.to_owned(), ..ImageSpec::default() };
    let request = ImageStatusRequest { image: Some(image), verbose: true };
    let answer = ImageServiceClient::new(channel.clone()).image_status(request).await;
    let info = answer.map_err(|status| status.message().to_owned())?.into_inner().info;
    let details = info.get("info").and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or_default();
    let chain = details["chainID"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    chain.ok_or_else(|| format!("the runtime does not tell where the image {image_ref} is unpacked"))
}

async fn snapshotter(channel: &Channel) -> String {
    let answer = RuntimeServiceClient::new(channel.clone()).status(StatusRequest { verbose: true }).await;
    let config = answer.ok().and_then(|answer| answer.into_inner().info.get("config").cloned()).unwrap_or_default();
    let config: Value = serde_json::from_str(&config).unwrap_or_default();
    config["containerd"]["snapshotter"].as_str().filter(|it| !it.is_empty()).unwrap_or(SNAPSHOTTER).to_owned()
}

/// One mount as containerd describes it; always read-only.
fn mount_one(from: &Mount, folder: &Path) -> io::Result<()> {
    let (flags, data) = options(&from.options);
    let data = Some(data.as_str()).filter(|data| !data.is_empty());
    let source = Some(Path::new(&from.source));
    if flags.contains(MsFlags::MS_BIND) {
        mount(source, folder, None::<&str>, flags - MsFlags::MS_RDONLY, None::<&str>)?;
        // A bind mount takes no other flags at first.
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        return mount(None::<&str>, folder, None::<&str>, again, None::<&str>).map_err(io::Error::from);
    }
    mount(source, folder, Some(from.r#type.as_str()), flags | MsFlags::MS_RDONLY, data).map_err(io::Error::from)
}

/// Options in the words of fstab as flags and the rest.
fn options(words: &[String]) -> (MsFlags, String) {
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for word in words {
        match word.as_str() {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "rw" => {}
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_that_mount_images_themselves_are_known() {
        for (name, version, wanted) in [
            ("containerd", "1.6.20~ds1", (true, false)),
            ("containerd", "1.7.27", (true, false)),
            ("containerd", "v2.0.4", (true, false)),
            ("containerd", "2.1.9", (false, false)),
            ("containerd", "v2.2.0-rc.1", (false, true)),
            ("cri-o", "1.32.4", (false, false)),
            ("cri-o", "1.33.0", (false, true)),
            ("another", "0.1", (false, true)),
        ] {
            let found = (is_older(name, version, HAVE_IMAGES), takes_sub_paths(name, version));
            assert_eq!(found, wanted, "{name} {version}");
        }
    }

    #[test]
    fn options_become_flags() {
        let words = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(options(&words(&["ro", "rbind"])).0, MsFlags::MS_RDONLY | MsFlags::MS_BIND | MsFlags::MS_REC);
        let (flags, data) = options(&words(&["index=off", "lowerdir=/a:/b"]));
        assert_eq!((flags, data.as_str()), (MsFlags::empty(), "index=off,lowerdir=/a:/b"));
    }
}
