//! The protocol of `sd_notify(3)`: how a program that starts tells the one that waits.
//!
//! containerd and etcd speak it, and so does `skiff up --foreground`: under a systemd unit of `Type=notify` it just
//! works, and the waiting `skiff up` shows the same messages as progress.

use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::net::UnixDatagram;

use crate::files;

pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Status(String),
    Ready,
    Stopping,
}

/// The waiting side. Its file goes with it.
pub(crate) struct Listener {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Listener {
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        files::remove_if_present(path).with_context(|| format!("remove {}", path.display()))?;
        let socket = UnixDatagram::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// The known messages of the next datagram, maybe none. Safe to drop while it waits.
    pub(crate) async fn receive(&self) -> Result<Vec<Message>> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).await.context("receive a notification")?;
        Ok(parse(&String::from_utf8_lossy(&buffer[..length])))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = files::remove_if_present(&self.path);
    }
}

fn parse(text: &str) -> Vec<Message> {
    let message = |line: &str| match line.split_once('=')? {
        ("READY", "1") => Some(Message::Ready),
        ("STOPPING", "1") => Some(Message::Stopping),
        ("STATUS", status) => Some(Message::Status(status.to_owned())),
        _ => None,
    };
    text.lines().filter_map(message).collect()
}

/// The telling side; silent when nobody waits.
pub(crate) struct Notifier(Option<(StdDatagram, std::ffi::OsString)>);

impl Notifier {
    /// To the socket that the environment names.
    pub(crate) fn from_environment() -> Self {
        let address = std::env::var_os(VARIABLE).filter(|address| !address.is_empty());
        Self(address.and_then(|address| Some((StdDatagram::unbound().ok()?, address))))
    }

    pub(crate) fn status(&self, status: &str) {
        tracing::info!("{status}");
        self.send(&format!("STATUS={status}"));
    }

    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Whoever waited may be gone: that is no error.
    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to(text.as_bytes(), Path::new(address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lines_are_read_and_others_passed_over() {
        assert_eq!(parse("STATUS=making\nMAINPID=7\nREADY=1"), [Message::Status("making".into()), Message::Ready]);
        assert_eq!(parse("READY=0\nnonsense"), []);
    }
}
