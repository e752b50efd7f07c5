# The commands of the README. Each prints what it does; scripts/ has the longer ones.
.PHONY: help demo test up down reset check simulate conformance bench chaos swap

CARGO ?= cargo
DATA_DIR ?= /var/lib/skiff
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
SKIFF := $(SUDO) $(TARGET)/release/skiff
export PATH := $(PATH):$(HOME)/.cargo/bin

help:
	@echo "make demo   install what is missing, build, start a cluster, run a web server in it"
	@echo "make test   all tests, with clusters in namespaces of their own"
	@echo "make up     build and start a cluster on this machine"
	@echo "make down   stop it and keep its data"
	@echo "make reset  remove every trace of it"
	@echo "make check  format, lints, unit tests and what they reach, and the rules of ARCHITECTURE.md"
	@echo "make simulate  the control plane in simulated time with everything going wrong: SECONDS=600, or SEED=7 again"
	@echo "make conformance  run every acceptance case against a cluster of two nodes; ARGS=… goes to skiff-conformance run"
	@echo "make bench  measure everything, in one table, with its budgets: AGAINST=other.kubeconfig for another API server beside ours (AGAINST_PIDS=\"1 2\": its store counts too), QUICK=1 for a look"
	@echo "make chaos  strike a cluster at work with faults: SEED=7 MINUTES=10"
	@echo "make swap   run a cluster with other implementations of parts: SWAP=\"--swap NAME=PATH\""

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

up:
	@scripts/prepare.sh run build toolchain
	$(CARGO) build --release --bins
	@! $(SUDO) test -d $(DATA_DIR)/registry || scripts/registry.sh start $(DATA_DIR)
	$(SKIFF) up --data-dir $(DATA_DIR)

down:
	@scripts/registry.sh stop $(DATA_DIR)
	$(SKIFF) down --data-dir $(DATA_DIR)

reset:
	@scripts/registry.sh stop $(DATA_DIR)
	$(SKIFF) reset --data-dir $(DATA_DIR)

check:
	@scripts/prepare.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings
	$(CARGO) test --workspace --lib --bins
	$(CARGO) test --workspace --test tidy
	@scripts/coverage.sh
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check advisories; \
	 else echo "Advisories are not checked: there is no cargo-deny (cargo install cargo-deny)."; fi

# SEED repeats one run; SECONDS says for how long new ones are tried.
simulate:
	SIMULATION_SEED=$(SEED) SIMULATION_SECONDS=$(SECONDS) \
	 $(CARGO) test --workspace --test simulation nothing_is_lost -- --nocapture

conformance:
	@scripts/conformance.sh $(ARGS)

bench:
	@AGAINST='$(AGAINST)' AGAINST_PIDS='$(AGAINST_PIDS)' QUICK='$(QUICK)' scripts/bench.sh

# What the seed and the time stand for, and what --swap takes: docs/drills.md.
chaos:
	@scripts/prepare.sh run build test
	$(CARGO) build --release --bins
	$(SUDO) $(TARGET)/release/skiff-drill chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),2)

swap:
	@scripts/prepare.sh run build test
	$(CARGO) build --release --bins
	$(SUDO) $(TARGET)/release/skiff-drill swap $(SWAP)
