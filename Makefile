# SPDX-License-Identifier: MPL-2.0
#
# make demo      installs what is missing, builds, and transcribes a conversation
# make test      installs what is missing, and runs all tests
# make models    fetches the real models from the Hugging Face Hub into models/, for make demo: FORM=int8|fp32,
#                DIARIZER=v2.1|v3|v2, PREPARE=yes|no, ACCEPT_LICENSE=yes
# make build     installs what is missing, and builds target/release/libgstmultitalkerasr.so
# make valgrind  installs what is missing, and runs tests of flushing and stopping under Valgrind
# make evaluate  measures the element on MANIFEST with the options in EVALUATE, see docs/evaluation.md
# make fuzz      looks for bytes on which the readers of files fail, a minute each; needs cargo-fuzz
# make lint      what the continuous integration checks besides the tests
#
# The demo runs your own files with MODEL_DIR=… DIARIZATION_MODEL=… AUDIO=…
FORM ?= int8
DIARIZER ?= v2.1
PREPARE ?= yes

ifneq ($(wildcard .rust/cargo/bin/cargo),)
export CARGO_HOME := $(CURDIR)/.rust/cargo
export RUSTUP_HOME := $(CURDIR)/.rust/rustup
endif
export PATH := $(CURDIR)/.rust/cargo/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: demo models test build lint valgrind evaluate fuzz setup clean

demo: build
	@tools/demo.sh

# RECOGNIZER names another publisher, and PUBLISHED another table than tools/fetch-models/published.toml.
models:
	@tools/setup.sh models
	@.venv/bin/python tools/fetch-models/fetch.py --form "$(FORM)" --diarizer "$(DIARIZER)" --prepare "$(PREPARE)" \
	  $(if $(RECOGNIZER),--recognizer "$(RECOGNIZER)") $(if $(PUBLISHED),--published "$(PUBLISHED)")

test:
	@tools/setup.sh tests
	$(MAKE) --no-print-directory run-tests

build: setup
	$(MAKE) --no-print-directory run-build

valgrind:
	@tools/setup.sh valgrind
	$(MAKE) --no-print-directory run-valgrind

evaluate:
	@tools/setup.sh evaluate
	$(MAKE) --no-print-directory run-evaluate

# Without a sanitizer it runs on stable Rust.
fuzz: setup
	for target in config tokenizer metadata; do \
	  cargo fuzz run --fuzz-dir crates/multitalker-asr/fuzz --sanitizer none $$target -- -max_total_time=60 -timeout=10 -rss_limit_mb=1024 || exit 1; \
	done

lint: setup
	$(MAKE) --no-print-directory run-lint
	$(MAKE) --no-print-directory run-msrv

setup:
	@tools/setup.sh

clean:
	rm -rf target .onnxruntime .venv .rust

# After the set-up these see the Rust that it may have installed.
.PHONY: run-tests run-build run-valgrind run-evaluate run-lint run-msrv

# The oldest Rust that Cargo.toml promises, with which the plugin must build.
msrv := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

run-msrv:
	@rustup run $(msrv) rustc --version 2>/dev/null || \
	  rustup toolchain install $(msrv) --profile minimal --no-self-update >/dev/null 2>&1 || \
	  { echo "lint: Rust $(msrv) cannot be installed here, so only clippy's rules for it were checked"; exit 0; }; \
	echo "rustup run $(msrv) cargo check --locked --workspace --lib"; rustup run $(msrv) cargo check --locked --workspace --lib

run-tests:
	cargo test --locked --workspace

run-build:
	cargo build --locked --release

# Optimized code may compare a value before it looks whether there is one, which Valgrind reports.
run-valgrind:
	cargo test --locked --config 'profile.dev.package.gst-plugin-multitalkerasr.opt-level = 0' \
	  --config 'target."cfg(all())".runner = ["valgrind", "--quiet", "--error-exitcode=1", "--suppressions=tests/valgrind.supp"]' \
	  --test element -- --test-threads 1 flush_before releases_all same_words change_of_caps

MANIFEST ?= testdata/demo/manifest.jsonl

run-evaluate: run-build
	cargo build --locked --release --package multitalker-asr --example transcribe_wav
	.venv/bin/python tools/evaluate/evaluate.py '$(MANIFEST)' $(EVALUATE)

run-lint:
	cargo fmt --all --check
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --lib
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@0.20.2
	cargo deny --locked check bans licenses sources
	@if timeout 300 cargo deny --locked fetch db >/dev/null 2>&1; then \
	  echo "cargo deny --locked check advisories"; cargo deny --locked check advisories; \
	else \
	  echo "lint: the database of advisories cannot be fetched from here, so advisories were not checked"; \
	fi
