//! What the processes of a cgroup have open, by `/proc`. Blocking.

use std::{fs, path::Path};

/// Files and sockets of all processes together, and how many files the first of them may open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) descriptors: u64,
    pub(super) sockets: u64,
    /// -1 for no limit.
    pub(super) files_max: Option<i64>,
}

impl Open {
    /// Processes that end meanwhile count as far as they were seen.
    pub(super) fn of(pids: &[u32], proc: &Path) -> Self {
        let mut open = Self { files_max: pids.iter().min().and_then(|pid| files_max(proc, *pid)), ..Self::default() };
        let folders = pids.iter().filter_map(|pid| fs::read_dir(proc.join(pid.to_string()).join("fd")).ok());
        for descriptor in folders.flatten().flatten() {
            open.descriptors += 1;
            let target = fs::read_link(descriptor.path());
            open.sockets += u64::from(target.is_ok_and(|target| target.to_string_lossy().starts_with("socket")));
        }
        open
    }
}

/// The soft limit.
fn files_max(proc: &Path, pid: u32) -> Option<i64> {
    let text = fs::read_to_string(proc.join(pid.to_string()).join("limits")).ok()?;
    let soft = text.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if soft == "unlimited" { Some(-1) } else { soft.parse().ok() }
}

#[test]
fn files_and_sockets_are_counted() {
    let root = tempfile::tempdir().expect("a folder");
    for (pid, targets, soft) in
        [("7", &["/dev/null", "socket:[1]"][..], "1024"), ("12", &["pipe:[2]"][..], "unlimited")]
    {
        let folder = root.path().join(pid);
        fs::create_dir_all(folder.join("fd")).expect("a folder");
        let limits = format!("Limit  Soft Limit  Hard Limit  Units\nMax open files  {soft}  4096  files\n");
        fs::write(folder.join("limits"), limits).expect("a file");
        for (number, target) in targets.iter().enumerate() {
            std::os::unix::fs::symlink(target, folder.join("fd").join(number.to_string())).expect("a link");
        }
    }
    let of = |pids: &[u32]| Open::of(pids, root.path());
    assert_eq!(of(&[12, 7, 99]), Open { descriptors: 3, sockets: 1, files_max: Some(1024) });
    assert_eq!(of(&[12]).files_max, Some(-1));
    assert_eq!(of(&[]), Open::default());
}
