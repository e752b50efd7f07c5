//! libFuzzer's way into [`targets::json_patch`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::json_patch(data));
