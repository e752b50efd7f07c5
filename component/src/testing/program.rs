//! Programs that a test writes and then has run.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Makes a file that can be run at once.
///
/// A child writes it: what this process has open for writing, whatever another thread starts meanwhile has open as well
/// for a moment, and a program that somebody may write to is not run (ETXTBSY).
pub fn write_program(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"cat >"$0" && chmod 755 "$0""#]).arg(path).stdin(Stdio::piped());
    let mut child = shell.spawn().expect("a shell");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("a program");
    assert!(child.wait().expect("an end").success(), "{} is written", path.display());
}
