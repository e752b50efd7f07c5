#!/usr/bin/env bash
# Brings a cluster of two nodes up in namespaces of its own and runs every case of skiff-conformance against it. Arguments go to
# `skiff-conformance run`, such as `--area network`. Results: target/conformance.json and .xml.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:$HOME/.cargo/bin:/usr/sbin
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

scripts/prepare.sh run build test
if [ "$(id -u)" != 0 ]; then
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=sudo --preserve-env"
fi
# What an earlier run left says nothing of this one.
rm -f "$target"/conformance.json "$target"/conformance.xml
# Programs and test together, or all is built twice: scripts/test.sh says why.
cargo build --workspace --bins --test cluster
# An argument a line: patterns have blanks.
CONFORMANCE_ARGUMENTS=$(printf '%s\n' "$@")
export CONFORMANCE_ARGUMENTS CONFORMANCE_RESULTS=$target
cargo test --workspace --test cluster -- --ignored --nocapture --exact conformance::all_cases_pass
[ $# = 0 ] || exit 0
# All cases were run: do they notice faults, and is what the README claims what passed?
cargo test --workspace --test cluster -- --ignored --nocapture --exact conformance::every_group_notices_its_fault
claimed() { sed -n '/<!-- claims: begin -->/,/<!-- claims: end -->/{//!p}' README.md; }
proven() { "$target/debug/skiff-conformance" claims "$target/conformance.json"; }
if ! diff <(claimed) <(proven); then
    echo "The README does not claim what has passed: put the lines with > in the place of those with <." >&2
    exit 1
fi
