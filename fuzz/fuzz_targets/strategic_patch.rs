//! libFuzzer's way into [`targets::strategic_patch`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::strategic_patch(data));
