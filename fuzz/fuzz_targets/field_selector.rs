//! libFuzzer's way into [`targets::field_selector`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::field_selector(data));
