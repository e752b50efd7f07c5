//! A local volume that is a device with a file system: made where there is none, mounted. Blocking.
//!
//! Enter at [`mount_device`]. The programs `blkid` and `mkfs.TYPE` know file systems; nothing here does.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::Path,
    process::{Command, Stdio},
};

use nix::mount::{MsFlags, mount};

/// The file system of volumes that name none.
const FS_TYPE: &str = "ext4";

pub(super) fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
}

/// Mounts the device on `folder`, with a new file system where it has none yet.
///
/// # Errors
/// A device that has another file system than the one asked for, or programs and mounts that fail.
pub(super) fn mount_device(device: &Path, folder: &Path, fs_type: Option<&str>, may_format: bool) -> io::Result<()> {
    let wanted = fs_type.filter(|fs_type| !fs_type.is_empty());
    let found = match found(device)? {
        Some(found) => found,
        None if may_format => format(device, wanted.unwrap_or(FS_TYPE))?,
        None => return Err(failed(device, "cannot mount unformatted disk as it is read-only")),
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(failed(device, &format!("it has the file system {found}, {wanted} was asked for")));
    }
    fs::create_dir_all(folder)?;
    mount(Some(device), folder, Some(found.as_str()), MsFlags::empty(), None::<&str>).map_err(io::Error::from)
}

/// The file system that the device has.
fn found(device: &Path) -> io::Result<Option<String>> {
    let output = run(Command::new("blkid").args(["-p", "-s", "TYPE", "-o", "value"]).arg(device))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) if !text.is_empty() => Ok(Some(text)),
        // Nothing that it knows.
        Some(0 | 2) => Ok(None),
        _ => Err(failed(device, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn format(device: &Path, fs_type: &str) -> io::Result<String> {
    // Both forms of "do not ask"; nothing of the disk is kept for root, as upstream has it.
    let options: &[&str] = match fs_type {
        "ext3" | "ext4" => &["-q", "-F", "-m0"],
        "xfs" => &["-f"],
        _ => &[],
    };
    tracing::info!(device = %device.display(), fs_type, "a volume gets its file system");
    let output = run(Command::new(format!("mkfs.{fs_type}")).args(options).arg(device))?;
    match output.status.success() {
        true => Ok(fs_type.to_owned()),
        false => Err(failed(device, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn run(command: &mut Command) -> io::Result<std::process::Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|error| io::Error::new(error.kind(), format!("run {program}: {error}")))
}

fn failed(device: &Path, problem: &str) -> io::Error {
    io::Error::other(format!("local volume {}: {problem}", device.display()))
}

#[test]
fn a_blank_device_gets_a_file_system_and_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = folder.path().join("device");
    fs::File::create(&device).and_then(|file| file.set_len(8 << 20)).expect("a file in its place");
    assert_eq!(found(&device).expect("is looked at"), None);
    assert_eq!(format(&device, "ext4").expect("is made"), "ext4");
    assert_eq!(found(&device).expect("is looked at").as_deref(), Some("ext4"));
    let other = mount_device(&device, folder.path(), Some("xfs"), true).expect_err("not what it has").to_string();
    assert!(other.ends_with("it has the file system ext4, xfs was asked for"), "{other}");
    assert!(!is_device(&device));
}
