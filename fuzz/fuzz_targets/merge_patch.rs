//! libFuzzer's way into [`targets::merge_patch`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::merge_patch(data));
