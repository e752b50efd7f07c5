//! The mounts of one container: its volumes, the hosts file, the termination log.
//!
//! Enter at [`of_container`]. Blocking where a sub path has to be pinned; else only names.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use k8s_cri::v1;
use k8s_openapi::api::core::v1::{Container, Pod, VolumeDevice, VolumeMount};

use super::{VolumeManager, subpath};
use crate::{
    env::expand,
    pod::{configs::hosts, spec},
};

const ETC_HOSTS: &str = "/etc/hosts";

/// What mounts may depend on besides the spec.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub pod_ips: &'a [String],
    pub env: &'a [(String, String)],
    pub cluster_domain: &'a str,
    pub restart_count: i32,
    /// The runtime can make all mounts below a read-only one read-only too.
    pub has_recursive_read_only: bool,
    /// By volume: the images that the runtime is to mount by itself.
    pub images: &'a BTreeMap<String, v1::ImageSpec>,
}

/// Makes what the container's mounts need, and answers them in the order of the spec.
///
/// # Errors
/// For `CreateContainerConfigError`, in upstream's words.
pub fn of_container(volumes: &VolumeManager, inputs: &Inputs<'_>) -> Result<Vec<v1::Mount>, String> {
    let mut mounts = Vec::new();
    for (index, mount) in inputs.container.volume_mounts.iter().flatten().enumerate() {
        mounts.push(volume_mount(volumes, inputs, index, mount)?);
    }
    let has_own = |path: &str| inputs.container.volume_mounts.iter().flatten().any(|it| it.mount_path == path);
    let has_network = !inputs.pod_ips.is_empty() || spec::is_host_network(inputs.pod);
    if has_network && !has_own(ETC_HOSTS) {
        let path = write_hosts(volumes, inputs).map_err(|error| format!("writing the pod's hosts file: {error}"))?;
        mounts.push(plain(ETC_HOSTS, &path));
    }
    if let Some(at) = inputs.container.termination_message_path.as_deref().filter(|path| !path.is_empty()) {
        let path =
            make_termination_log(volumes, inputs).map_err(|error| format!("making the termination log: {error}"))?;
        mounts.push(plain(&absolute(at), &path));
    }
    Ok(mounts)
}

/// The block devices of the container.
///
/// # Errors
/// A volume that is none.
pub fn devices(volumes: &VolumeManager, pod: &Pod, container: &Container) -> Result<Vec<v1::Device>, String> {
    let one = |device: &VolumeDevice| {
        let path = volumes.host_path(pod, &device.name).filter(|_| volumes.is_block(pod, &device.name));
        let path = path.ok_or_else(|| {
            format!("cannot find block volume {:?} to map into container {:?}", device.name, container.name)
        })?;
        let permissions = if volumes.is_read_only(pod, &device.name) { "r" } else { "mrw" };
        Ok(v1::Device {
            container_path: device.device_path.clone(),
            host_path: path.to_string_lossy().into_owned(),
            permissions: permissions.to_owned(),
        })
    };
    container.volume_devices.iter().flatten().map(one).collect()
}

/// Is the mount to be read-only all the way down (KEP-3857)?
///
/// # Errors
/// That it cannot be, in upstream's words.
pub fn recursive_read_only(mount: &VolumeMount, is_supported: bool) -> Result<bool, String> {
    let name = &mount.name;
    let refused = |why: String| {
        let problem = format!("volume {name:?} requested recursive read-only mode, but it is {why}");
        Err(format!("failed to resolve recursive read-only mode: {problem}"))
    };
    let mode = match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => return Ok(false),
        Some(mode) => mode,
    };
    if mount.read_only != Some(true) {
        return refused("not read-only".into());
    }
    match mount.mount_propagation.as_deref() {
        None | Some("None") => {}
        Some(propagation) => return refused(format!("not compatible with propagation {propagation:?}")),
    }
    if mode == "Enabled" && !is_supported { refused("not supported by the runtime".into()) } else { Ok(is_supported) }
}

fn plain(container_path: &str, host_path: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        ..v1::Mount::default()
    }
}

fn volume_mount(
    volumes: &VolumeManager,
    inputs: &Inputs<'_>,
    index: usize,
    mount: &VolumeMount,
) -> Result<v1::Mount, String> {
    let Some(volume) = volumes.host_path(inputs.pod, &mount.name) else {
        return Err(format!("cannot find volume {:?} to mount into container {:?}", mount.name, inputs.container.name));
    };
    let sub_path = sub_path(mount, inputs.env)?;
    if let Some(image) = inputs.images.get(&mount.name) {
        if sub_path.is_some() && !volumes.images().takes_sub_paths() {
            return Err(format!(
                "subPath of image volume {:?} is not supported with this runtime, which would mount the whole image: \
                 containerd 2.2 or CRI-O 1.33 is needed",
                mount.name
            ));
        }
        return Ok(v1::Mount {
            container_path: absolute(&mount.mount_path),
            host_path: sub_path.unwrap_or_default(),
            readonly: true,
            image: Some(image.clone()),
            ..v1::Mount::default()
        });
    }
    let host_path = match &sub_path {
        None => volume,
        Some(sub_path) => {
            let uid = spec::uid(inputs.pod);
            let name = &inputs.container.name;
            let target = volumes.paths().subpaths(uid).join(&mount.name).join(name).join(index.to_string());
            let pinned = subpath::pin(&volume, sub_path, &target);
            pinned.map_err(|error| {
                format!("failed to prepare subPath for volumeMount {:?} of container {name:?}: {error}", mount.name)
            })?
        }
    };
    let recursive = recursive_read_only(mount, inputs.has_recursive_read_only)?;
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    };
    Ok(v1::Mount {
        readonly: mount.read_only.unwrap_or(false) || volumes.is_read_only(inputs.pod, &mount.name),
        recursive_read_only: recursive,
        propagation: propagation as i32,
        ..plain(&absolute(&mount.mount_path), &host_path)
    })
}

/// A path in a container; what is not absolute counts from its root.
pub fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Result<Option<String>, String> {
    let given = |path: &Option<String>| path.clone().filter(|path| !path.is_empty());
    let path = match (given(&mount.sub_path_expr), given(&mount.sub_path)) {
        (Some(expression), _) => {
            // A name that is not there is an error here, unlike in commands: the folder would be a wrong one.
            let find = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            let missing = std::cell::RefCell::new(None);
            let expanded = expand::expand(&expression, |name| {
                let value = find(name);
                if value.is_none() {
                    missing.replace(Some(name.to_owned()));
                }
                value
            });
            if let Some(name) = missing.into_inner() {
                return Err(format!("missing value for {name:?}"));
            }
            expanded
        }
        (None, Some(path)) => path,
        (None, None) => return Ok(None),
    };
    subpath::check(&path)?;
    Ok(Some(path))
}

fn write_hosts(volumes: &VolumeManager, inputs: &Inputs<'_>) -> io::Result<PathBuf> {
    let path = volumes.paths().etc_hosts(spec::uid(inputs.pod));
    let node_hosts = if spec::is_host_network(inputs.pod) { fs::read_to_string(ETC_HOSTS)? } else { String::new() };
    let text = hosts::file(inputs.pod, inputs.pod_ips, inputs.cluster_domain, &node_hosts);
    // Written in place: running containers have this very file mounted.
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

/// One file per run, which any user of the container may write.
fn make_termination_log(volumes: &VolumeManager, inputs: &Inputs<'_>) -> io::Result<PathBuf> {
    let folder = volumes.paths().container(spec::uid(inputs.pod), &inputs.container.name);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{:08x}", inputs.restart_count));
    fs::write(&path, "")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    Ok(path)
}
