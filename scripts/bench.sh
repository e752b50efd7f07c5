#!/usr/bin/env bash
# Measures everything, and joins what the benches tell to one table, one JSON file and one picture: target/tmp/bench.
# AGAINST=other.kubeconfig measures another API server beside ours.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:$HOME/.cargo/bin:/usr/sbin
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$target/tmp/bench

scripts/prepare.sh run build test
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
# What an earlier run left would be joined with this one's.
as_root rm -rf "$out"
mkdir -p "$out"
alone=(api answer acknowledged scale)
with_root=(plugins services cluster)
cargo build --release --workspace --bins "${alone[@]/#/--bench=}" "${with_root[@]/#/--bench=}"

cargo bench --workspace --bench api -- ${AGAINST:+--against "$AGAINST"}
cargo bench --workspace --bench answer --bench acknowledged --bench scale
as_root env "PATH=$PATH" cargo bench --workspace "${with_root[@]/#/--bench=}"
as_root "$target/release/skiff-figures" "$out"
