//! libFuzzer's way into [`targets::label_selector`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::label_selector(data));
