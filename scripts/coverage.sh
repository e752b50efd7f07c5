#!/usr/bin/env bash
# Prints what part of the lines of the pure crates their own unit tests reach; COVERAGE_CRATES names others.
# Only these crates' test programs are built for counting; it is a figure and no gate: what cannot be measured is told.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:$HOME/.cargo/bin
read -ra crates <<<"${COVERAGE_CRATES:-machinery expressions}"

# The tools must be as new as the compiler's own LLVM.
about=$(rustc -vV)
major=$(sed -n 's/^LLVM version: \([0-9]*\).*/\1/p' <<<"$about")
rustups=$(rustc --print sysroot)/lib/rustlib/$(sed -n 's/^host: //p' <<<"$about")/bin
tool() { command -v "$rustups/llvm-$1" || command -v "llvm-$1-$major"; }
if ! profdata=$(tool profdata) || ! cov=$(tool cov); then
    echo "Coverage is not measured: there is no llvm-cov of LLVM $major (rustup component add llvm-tools)."
    exit 0
fi

scratch=$(mktemp --directory)
trap 'rm -rf "$scratch"' EXIT
echo "Lines that unit tests reach:"

measure() {
    local crate=$1 told program
    told=$(cargo rustc --quiet --package "$crate" --lib --profile test --message-format=json-render-diagnostics \
        -- -C instrument-coverage) || return
    program=$(grep -o '"executable":"[^"]*"' <<<"$told" | tail -1 | cut -d'"' -f4) || return
    (cd "$crate" && LLVM_PROFILE_FILE=$scratch/$crate.profraw "$program" --quiet >"$scratch/log") || { cat "$scratch/log"; return 1; }
    "$profdata" merge --sparse "$scratch/$crate.profraw" --output "$scratch/$crate" || return
    # The eighth to tenth columns are of lines: all, missed, and the part that is reached.
    "$cov" report --instr-profile "$scratch/$crate" --ignore-filename-regex "$crate/src/(.*/)?tests?(/|\\.rs)" "$program" \
        --sources "$crate/src" | awk -v crate="$crate" '$1 == "TOTAL" { printf "  %-12s %7s of %d\n", crate, $10, $8 }'
}

for crate in "${crates[@]}"; do
    measure "$crate" || echo "  $crate is not measured."
done
