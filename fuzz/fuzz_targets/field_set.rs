//! libFuzzer's way into [`targets::field_set`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::field_set(data));
