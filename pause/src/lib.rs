//! The `pause` program that holds a pod's namespaces open, as bytes to put into an image.
//!
//! Enter at [`PROGRAM`]. The program itself is `program.rs`, built by `build.rs`: static, without the standard library,
//! a few kilobytes. This crate knows nothing of images, runtimes or Kubernetes.

/// A static executable for the build's target: it reaps the children that others leave to it and ends with status 0
/// on SIGINT or SIGTERM, the first process of a pod that shares its process namespace has no other duty.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

#[cfg(test)]
mod tests {
    use super::PROGRAM;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Child, Command};

    fn start() -> Child {
        let path = std::env::temp_dir().join(format!("pause-{}-{:?}", std::process::id(), std::thread::current().id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(PROGRAM).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
        drop(file);
        let child = Command::new(&path).spawn().unwrap();
        std::fs::remove_file(&path).unwrap();
        while !waits(&child) {
            std::thread::yield_now();
        }
        child
    }

    /// There is nothing that it sleeps for but signals. Earlier ones would not meet it: who ignores SIGINT, as a shell's
    /// background does, hands that on.
    fn waits(child: &Child) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        status.lines().any(|line| line.starts_with("State:\tS"))
    }

    fn ended_by(signal: &str) -> std::process::ExitStatus {
        let mut child = start();
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        child.wait().unwrap()
    }

    #[test]
    fn is_small_and_static() {
        assert!(PROGRAM.len() < 32 * 1024, "{} bytes", PROGRAM.len());
        assert!(!PROGRAM.windows(3).any(|window| window == b".so"), "names no shared library");
    }

    #[test]
    fn ends_on_request() {
        for name in ["-TERM", "-INT"] {
            let status = ended_by(name);
            assert_eq!(status.code(), Some(0), "{name}: {status}");
        }
    }
}
