#!/usr/bin/env bash
# All tests, in stages, with the minutes of each. One build profile and one target folder throughout.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:$HOME/.cargo/bin:/usr/sbin
times=""

stage() {
    local name=$1 start=$SECONDS
    shift
    printf '\n==== %s ====\n' "$name"
    local status=0
    "$@" || status=$?
    times+=$(printf '%5d.%d min  %s' $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60 / 6)) "$name")$'\n'
    if [ $status != 0 ]; then
        printf '\n%sFAILED: %s\n' "$times" "$name"
        exit $status
    fi
}

# Namespaces, containers and packet-filter rules need root; the build, and its files, stay the caller's.
if [ "$(id -u)" != 0 ]; then
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=sudo --preserve-env"
fi

# Always the whole workspace, narrowed by target: for other packages cargo would choose other features and build anew.
part_tests() {
    cargo metadata --no-deps --offline --format-version 1 |
        jq -r '.packages[].targets[] | select(.kind == ["test"]) | .name' |
        grep -vx -e cluster -e tidy | sort -u | sed 's/^/--test /'
}

stage "install what is missing" scripts/prepare.sh run build test
# Together: tests want more of tokio than programs do, and cargo would build all that uses it for each of the two.
stage "build the programs and the tests" cargo build --workspace --bins --tests
stage "unit tests" cargo test --workspace --lib --bins
stage "documentation's examples" cargo test --workspace --doc
stage "rules of the house" cargo test --workspace --test tidy
# shellcheck disable=SC2046 # words are wanted
stage "tests of each part, stores included" cargo test --workspace $(part_tests)
# They refuse to run unasked: they need root, and namespaces of their own.
stage "plugins and rules with real packets" cargo test --workspace --test privileged --test traffic -- --ignored
stage "what the kernel makes of rules and mounts" cargo test --workspace --lib -- --ignored netlink removal
stage "clusters with real containers" cargo test --workspace --test cluster
programs=${CARGO_TARGET_DIR:-target}/debug
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo --preserve-env "$@"; fi; }
stage "a cluster struck with faults" as_root "$programs/skiff-drill" chaos --seed 1 --minutes 1
stage "parts swapped for Debian's" scripts/swaps.sh "$programs"
printf '\nAll stages passed:\n%s' "$times"
