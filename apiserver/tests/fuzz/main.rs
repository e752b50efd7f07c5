//! The fuzz targets on any toolchain: the kept corpus, and random changes of it, a bounded number from fixed seeds.
//!
//! `SKIFF_FUZZ_SECONDS=60` runs each target that long and from another seed each time. What fails is printed as bytes; a
//! file of them in `fuzz/corpus/TARGET/` is the regression test.

mod mutate;
#[path = "../../../fuzz/targets.rs"]
mod targets;

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use component::random::Random;

use mutate::Mutator;
use targets::Target;

const ROUNDS: usize = 2000;
const SEED: u64 = 36;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("the target's corpus").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    files.iter().map(|file| std::fs::read(file.path()).expect("a file of the corpus")).collect()
}

/// The inputs that failed, with what they said.
fn run((name, target): Target, seconds: Option<u64>) -> Vec<String> {
    let seed = if seconds.is_some() { Random::from_os().u64() } else { SEED };
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has a corpus");
    let mutator = Mutator::new(Random::seeded(seed), corpus.clone());
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut failures = Vec::new();
    let goes_on = |round: usize| deadline.map_or(round < ROUNDS, |deadline| Instant::now() < deadline);
    let mut round = 0;
    while failures.len() < 5 && (round < corpus.len() || goes_on(round)) {
        let input = corpus.get(round).cloned().unwrap_or_else(|| mutator.next());
        if let Err(panic) = catch_unwind(|| target(&input)) {
            let words = panic.downcast_ref::<String>().cloned();
            let words =
                words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
            failures.push(format!("{name}, seed {seed}: \"{}\": {words}", input.escape_ascii()));
        }
        round += 1;
    }
    println!("{name}: {round} inputs, {} failures", failures.len());
    failures
}

#[test]
fn no_input_breaks_a_target() {
    let seconds = std::env::var("SKIFF_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let only = std::env::var("SKIFF_FUZZ_TARGET").ok();
    let wanted = targets::ALL.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    let failures: Vec<String> = wanted.flat_map(|target| run(target, seconds)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_target_is_there_for_libfuzzer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("its manifest");
    for (name, _) in targets::ALL {
        assert!(folder.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has a program");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is in the manifest");
    }
}
