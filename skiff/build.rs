//! Asks the linker to fold functions with the same code (types of the API make thousands of them, in every part), and to
//! write down briefly which addresses move with the program, where the C library reads that (glibc 2.36 does).
//!
//! Only where the toolchain brings its own linker (lld), and only in release builds, where size counts.

use std::process::Command;

fn main() {
    let is = |variable: &str, value: &str| std::env::var(variable).is_ok_and(|it| it == value);
    let has_lld = is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_OS", "linux");
    if has_lld && is("PROFILE", "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
        if glibc().is_some_and(|version| version >= (2, 36)) {
            println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}

/// The C library's version: `getconf` prints `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
