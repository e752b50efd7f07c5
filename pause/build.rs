//! Compiles `src/program.rs` with a rustc call of its own.
//!
//! As a Cargo target the program would share the profile of the workspace, which unwinds; a program without the
//! standard library has to abort, and Cargo has no panic strategy per package.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/program.rs");
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let program = PathBuf::from(variable("OUT_DIR")).join("pause");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=pause"])
        .args(["-Cpanic=abort", "-Copt-level=s", "-Cstrip=symbols", "-Crelocation-model=static"])
        .args(["-Clink-args=-nostartfiles -nostdlib -static -Wl,--build-id=none"])
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(&program)
        .arg("src/program.rs")
        .status()
        .unwrap_or_else(|error| panic!("rustc does not start: {error}"));
    assert!(status.success(), "rustc could not build the pause program: {status}");
}
