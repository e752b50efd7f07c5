//! A host of the test's own: a network namespace for the thread, a mount namespace with an empty `/run`, containers as
//! named network namespaces.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

/// Where a set of plugins lies.
#[derive(Clone, Debug)]
pub(crate) struct Plugins(pub(crate) PathBuf);

impl Plugins {
    /// Links to the program under test.
    pub(crate) fn ours(folder: &Path) -> Plugins {
        let folder = folder.join("plugins");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["bridge", "host-local", "loopback", "portmap"] {
            let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cni-bridge"), folder.join(name));
        }
        Plugins(folder)
    }

    /// Debian's, when they are installed.
    pub(crate) fn debian() -> Option<Plugins> {
        let folder = PathBuf::from("/usr/lib/cni");
        if folder.join("bridge").exists() {
            return Some(Plugins(folder));
        }
        println!("skipped: the package containernetworking-plugins is not installed");
        None
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// Moves the calling thread; what it starts from now on is there, too.
    pub(crate) fn enter() -> World {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("needs root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        sh("ip link set lo up");
        World { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn container(&self, name: &str) {
        sh(&format!("ip netns add {name} && ip -n {name} link set lo up"));
    }

    /// `conf` with DATA replaced by a folder of this world.
    pub(crate) fn conf(&self, conf: &str) -> String {
        conf.replace("DATA", self.folder.path().to_str().unwrap())
    }
}

/// One call of a plugin.
pub(crate) fn call(plugins: &Plugins, plugin: &str, verb: &str, container: &str, conf: &str) -> Output {
    finish(start(plugins, plugin, verb, container, conf), conf)
}

/// Such a call, in a process group with all that it starts.
pub(crate) fn start(plugins: &Plugins, plugin: &str, verb: &str, container: &str, _conf: &str) -> std::process::Child {
    Command::new(plugins.0.join(plugin))
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", container)
        .env("CNI_NETNS", format!("/run/netns/{container}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", &plugins.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

pub(crate) fn finish(mut child: std::process::Child, conf: &str) -> Output {
    use std::io::Write;
    let _ = child.stdin.take().unwrap().write_all(conf.as_bytes());
    child.wait_with_output().unwrap()
}

/// The result of a call that must succeed.
pub(crate) fn result(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_default()
}

pub(crate) fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
