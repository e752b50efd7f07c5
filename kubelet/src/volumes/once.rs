//! Volumes that one pod at a time may have (ReadWriteOncePod). Who has one says so in its own folder: it keeps the volume
//! when the kubelet starts again, whichever pod is looked at first then, and gives it back with the folder. Blocking, but
//! short.

use std::{fs, io, path::Path};

const FOLDER: &str = "volumes-of-one-pod";

/// Whether the pod has the volume now. One is asked at a time.
pub(super) fn take(pods: &Path, pod_uid: &str, volume: &str) -> io::Result<bool> {
    for entry in fs::read_dir(pods)? {
        let entry = entry?;
        if entry.file_name() != pod_uid && entry.path().join(FOLDER).join(volume).exists() {
            return Ok(false);
        }
    }
    let own = pods.join(pod_uid).join(FOLDER);
    fs::create_dir_all(&own)?;
    fs::write(own.join(volume), "").map(|()| true)
}
