//! libFuzzer's way into [`targets::spdy_frames`].
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::spdy_frames(data));
