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

# Clusters need root; cargo and its files stay the caller's.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo --preserve-env "$@"; fi; }

stage "install what is missing" scripts/prepare.sh run build test
stage "build" cargo test --workspace --bins --lib --tests --no-run
stage "build the programs" cargo build --workspace --bins
stage "unit tests" cargo test --workspace --lib --bins
stage "documentation's examples" cargo test --workspace --doc
stage "rules of the house" cargo test --package skiff --test tidy
printf '\nAll stages passed:\n%s' "$times"
