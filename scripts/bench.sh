#!/usr/bin/env bash
# Measures everything, and joins what the benches tell to one table, one JSON file and one picture: target/tmp/bench.
# AGAINST=other.kubeconfig measures another API server beside ours: whoever listens on its port, or the processes of
# AGAINST_PIDS="1 2", so that its store can be counted too. QUICK=1 measures little of everything: it shows
# that all of it works, and its figures say little.
set -euo pipefail
if [ -n "${AGAINST:-}" ]; then
    [ -r "$AGAINST" ] || { echo "AGAINST=$AGAINST is no file that can be read" >&2; exit 1; }
    # cargo runs a bench in its package's folder.
    AGAINST=$(realpath "$AGAINST")
fi
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

# What could not be measured takes nothing away from the rest of the table.
failed=()
measure() {
    local bench=$1 sizes=()
    shift
    case ${QUICK:+$bench} in
    api) sizes=(--effort 0.1 --pods 2000) ;;
    answer) sizes=(--quick) ;;
    acknowledged) sizes=(500 1000) ;;
    scale) sizes=(0.02) ;;
    esac
    cargo bench --workspace --bench "$bench" -- "${sizes[@]}" "$@" || failed+=("$bench")
}
[ -z "${QUICK:-}" ] || export SERVICES=500
read -ra pids <<<"${AGAINST_PIDS:-}"
measure api ${AGAINST:+--against "$AGAINST"} "${pids[@]/#/--against-pid=}"
for bench in "${alone[@]:1}"; do measure "$bench"; done
# The build, and its files, stay the caller's.
if [ "$(id -u)" != 0 ]; then
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=sudo --preserve-env"
fi
for bench in "${with_root[@]}"; do measure "$bench"; done
as_root chown -R "$(id -u):$(id -g)" "$out"
"$target/release/skiff-figures" "$out"
if [ ${#failed[@]} != 0 ]; then
    echo "Not measured, or not whole: ${failed[*]}" >&2
    exit 1
fi
