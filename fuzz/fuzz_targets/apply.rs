//! libFuzzer's way into [`targets::server_side_apply`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::server_side_apply(data));
