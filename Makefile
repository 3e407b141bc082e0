# Short recipes; the work is in cargo, rpm/build, vagrant/lab and the tests.

PREFIX ?= /usr/local
DESTDIR ?=
# A test that fails is asked once more, and named as RERUN at the end: that is a fault to look into, of the test or of
# the daemon, but not a reason to stop. RERUNS=0 stops at it.
RERUNS ?= 1
PYTEST = target/venv/bin/pytest -q --reruns $(RERUNS) -rfER
cargo_deny = target/tools/bin/cargo-deny
cargo_fuzz = target/tools/bin/cargo-fuzz
FUZZ_SECONDS ?= 60
RELEASE_DIR = target/release
PACKAGED = $(CURDIR)/target/rpm/compiled/release/paircached

.PHONY: build run install test setup lint test-rust test-compat test-pair test-faults test-packaging test-ansible test-lab test-molecule test-molecule-default test-builds test-loom test-all test-faults-long rpm lab lab-image lab-demo bench bench-floor bench-curves bench-memory bench-hitratio bench-limits bench-micro bench-replication bench-instructions fuzz clean

build:
	cargo build --release --locked

## Starts a replicating pair on loopback, and keeps it running until Ctrl-C.
run: build
	tests/pair/run $(RELEASE_DIR)

install: build
	install -D -m 0755 $(RELEASE_DIR)/paircached $(DESTDIR)$(PREFIX)/bin/paircached
	install -D -m 0755 $(RELEASE_DIR)/pairctl $(DESTDIR)$(PREFIX)/bin/pairctl
	install -D -m 0644 docs/man/paircached.8 $(DESTDIR)$(PREFIX)/share/man/man8/paircached.8
	install -D -m 0644 docs/man/pairctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/pairctl.1
	install -D -m 0644 docs/man/paircached.toml.5 $(DESTDIR)$(PREFIX)/share/man/man5/paircached.toml.5

## Installs what is missing and runs all tests. The package and the image of the lab's machines are made side by side, and
## the pairs are tested with the programs of the package: linking them once more would take minutes.
test: lint test-rust test-compat
	$(MAKE) --jobs 2 --output-sync=target rpm lab-image
	$(MAKE) --assume-old rpm PAIRCACHED=$$(ls $(PACKAGED)) test-pair test-faults test-packaging
	$(MAKE) --assume-old rpm test-ansible test-lab test-molecule-default

setup:
	.ci/setup

lint: setup
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	$(cargo_deny) --log-level error check bans licenses sources
	shellcheck .ci/run .ci/setup ansible/roles/paircached/files/ask.sh ansible/molecule/run ansible/molecule/list-host rpm/build rpm/crate-licenses vagrant/base-image vagrant/docker-daemon vagrant/lab vagrant/node-setup tests/pair/run tests/fuzz/run
	mandoc -T lint -W warning docs/man/*

# The code's own tests take no root, as the %check of a package may not, and so get none.
test-rust: setup
	cargo test --locked --no-run
	$$(if [ "$$(id -u)" = 0 ] && unshare --user true 2>/dev/null; then echo unshare --user; fi) cargo test --locked

test-compat: setup
	cargo build --locked
	PAIRCACHED=$(CURDIR)/target/debug/paircached $(PYTEST) -n 4 tests/compat

test-pair: setup $(if $(PAIRCACHED),,build)
	$(PYTEST) -n 2 tests/pair

## Breaks pairs on hosts of their own (network namespaces, for which it must be root): about a minute.
test-faults: setup $(if $(PAIRCACHED),,build)
	$(PYTEST) -n 2 tests/faults

## A node restarted 1,000 times in the middle of a catch-up: about 8 minutes.
test-faults-long: setup build
	FAULTS_ROUNDS=1000 $(PYTEST) -s tests/faults/test_rounds.py

test-packaging: rpm
	PAIRCACHED_REPO=$(CURDIR)/target/rpm/repo $(PYTEST) tests/packaging --ignore tests/packaging/test_builds.py

## What `make test` leaves out for its time: packages built from nothing, twice and portable.
test-builds: rpm
	target/venv/bin/pip install --quiet --disable-pip-version-check cargo-zigbuild==0.24.0 ziglang==0.17.1
	PAIRCACHED_REPO=$(CURDIR)/target/rpm/repo $(PYTEST) tests/packaging/test_builds.py

## Runs what the store orders without a lock through all orders of its steps; loom is fetched for it.
test-loom: setup
	cargo test --manifest-path tests/loom/Cargo.toml --target-dir target/loom

test-all: test test-builds test-loom test-faults-long test-molecule

test-ansible: setup
	cargo build --locked
	$(PYTEST) -n 2 tests/ansible

## Runs the scenarios of ansible/molecule, each in containers of its own: half an hour.
test-molecule: rpm
	ansible/molecule/run

## The scenario of them that is part of `make test`, and so of CI: two hosts become a pair, and a second run changes nothing.
test-molecule-default: rpm
	ansible/molecule/run default

test-lab: rpm
	$(PYTEST) tests/lab

rpm: setup
	rpm/build

## The image of the lab's machines, which takes some minutes the first time.
lab-image:
	vagrant/docker-daemon start
	vagrant/base-image
	vagrant/docker-daemon stop

## Brings up the lab: two nodes with the pair deployed, an address in front of them, a client. `vagrant/lab down` removes it.
lab: rpm
	vagrant/lab up

## Tells a story in the lab, which comes up first if it must: a node dies, and nothing is missing.
lab-demo:
	vagrant/lab demo

## Compares with the installed memcached, on two cores that have nothing else to do: about 8 minutes.
bench: setup build
	target/venv/bin/python benches/run $(BENCH)

## Compares with the least that the kernel takes for the same requests: about 2 minutes.
bench-floor: build
	cargo build --release --locked --example floor
	python3 benches/floor $(BENCH)

## Shows how the cost of a request grows with connections, items and values: about 5 minutes, and 6 GB for each server.
bench-curves: build
	python3 benches/curves $(BENCH)

## Compares what items and connections take in memory: about 10 minutes, and 5 GB.
bench-memory: build
	python3 benches/memory $(BENCH)

## Compares hit ratios on generated loads and the files in TRACES, packed by zstd or not: about 10 minutes for ten million
## requests. BENCH='--requests 100000' is a quick look.
bench-hitratio: build
	python3 benches/hitratio $(BENCH) $(TRACES)

## Measures start, stop, and the longest answer while 20 million items come: about 3 minutes, and 14 GB.
bench-limits: build
	python3 benches/limits $(BENCH)

## Measures single steps: parsing, looking up, storing, evicting, and the longest step while the index grows.
bench-micro:
	cargo bench --locked --bench micro
	cargo bench --locked --bench growth

## Measures the link of a pair on this machine: about 6 minutes, and 6 GB. BENCH='--rows ^fill' measures less.
bench-replication: setup build
	target/venv/bin/python benches/replication $(BENCH)

## Counts the instructions of a get and a set, on a machine however busy: half a minute. Needs valgrind.
bench-instructions: build
	benches/instructions

## Fuzzes each parser for FUZZ_SECONDS; FUZZ=text takes that one alone.
fuzz: $(cargo_fuzz)
	tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ)

$(cargo_fuzz):
	cargo install --quiet --locked --root target/tools cargo-fuzz@0.13.2

clean:
	cargo clean
