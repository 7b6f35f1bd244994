# SPDX-License-Identifier: MPL-2.0
#
# For users:
#   make demo       builds the plugin and transcribes a conversation, or AUDIO with MODEL_DIR and DIARIZATION_MODEL
#   make models     downloads the real models from the Hugging Face Hub into models/:
#                   FORM=int8|fp32 DIARIZER=v2.1|v3|v2 PREPARE=yes|no ACCEPT_LICENSE=yes
#   make build      builds target/release/libgstmultitalkerasr.so
#   make evaluate   measures the element on MANIFEST with the options in EVALUATE, see docs/evaluation.md
#   make manual     builds the manual, target/book/index.html
# For developers, see CONTRIBUTING.md:
#   make setup      installs what the build and `make check` need
#   make check      formatting, clippy, unit tests, and golden results; installs nothing
#   make test       all tests
#   make lint       what continuous integration checks besides the tests
#   make valgrind   tests of flushing and stopping under Valgrind
#   make fuzz       fuzzes the readers of model files, a minute each; needs cargo-fuzz
#   make package    builds the packages as they would be published
#   make clean      removes what was built
#   make distclean  also removes what was installed here: Rust, ONNX Runtime, and Python packages
#
# All but `make check` and the cleaning targets first install any missing dependencies.
FORM ?= int8
DIARIZER ?= v2.1
PREPARE ?= yes

ifneq ($(wildcard .rust/cargo/bin/cargo),)
export CARGO_HOME := $(CURDIR)/.rust/cargo
export RUSTUP_HOME := $(CURDIR)/.rust/rustup
endif
export PATH := $(CURDIR)/.rust/cargo/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: demo models build evaluate manual setup check test lint valgrind fuzz package clean distclean

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

lint:
	@tools/setup.sh lint
	$(MAKE) --no-print-directory run-lint
	$(MAKE) --no-print-directory run-msrv
	$(MAKE) --no-print-directory run-manual
	$(MAKE) --no-print-directory run-links
	$(MAKE) --no-print-directory run-package

manual: setup
	$(MAKE) --no-print-directory run-manual

package: setup
	$(MAKE) --no-print-directory run-package

setup:
	@tools/setup.sh

missing = { echo "check: $(1) is missing: run make setup" >&2; exit 1; }

check:
	@cargo clippy --version >/dev/null 2>&1 || $(call missing,Rust)
	@pkg-config --exists gstreamer-check-1.0 gstreamer-audio-1.0 2>/dev/null || $(call missing,the development package of GStreamer)
	@[ -n "$$ORT_DYLIB_PATH" ] || [ -e .onnxruntime/libonnxruntime.so ] || $(call missing,ONNX Runtime)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace --lib
	cargo test --locked --package multitalker-asr --test golden

clean:
	rm -rf target crates/multitalker-asr/fuzz/target benches/versus/target peers/*/target

distclean: clean
	rm -rf .onnxruntime .venv .rust

# These run after the set-up, so that they use the Rust that it may have installed.
.PHONY: run-tests run-build run-valgrind run-evaluate run-lint run-msrv run-manual run-links run-package

# The oldest Rust that Cargo.toml promises.
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
	@! grep -rl '\bort::' src crates/*/src | grep -v /onnx/ || \
	  { echo "lint: only crates/multitalker-asr/src/onnx may name the crate ort" >&2; exit 1; }
	cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@0.20.2
	cargo deny --locked check bans licenses sources
	@if timeout 300 cargo deny --locked fetch db >/dev/null 2>&1; then \
	  echo "cargo deny --locked check advisories"; cargo deny --locked check advisories; \
	else \
	  echo "lint: the database of advisories cannot be fetched from here, so advisories were not checked"; \
	fi

run-manual:
	@mdbook --version >/dev/null 2>&1 || { echo "manual: installing mdbook, which takes two minutes once"; \
	  cargo install --quiet --locked mdbook@0.5.4 --no-default-features --features search; }
	mdbook build

# The links between the pages, once as GitHub shows them and once in the book.
lychee := .venv/bin/lychee --offline --include-fragments --no-progress

run-links:
	$(lychee) $$(git ls-files '*.md')
	$(lychee) --root-dir $(CURDIR)/target/book target/book/*.html

# The packages are compiled from their own files, in a folder of their own, so that the library of the
# tests is not replaced. The registry accepts packages of up to 10 MB.
run-package:
	rm -rf target/packages/package
	cargo package --quiet --locked --allow-dirty --package multitalker-asr --package multitalker-captions --package gst-plugin-multitalkerasr \
	  --target-dir target/packages --config 'profile.dev.debug = false'
	@for package in target/packages/package/*.crate; do \
	  size=$$(wc -c <$$package); echo "$$package: $$size bytes"; \
	  [ $$size -lt 10000000 ] || { echo "package: $$package is larger than 10 MB" >&2; exit 1; }; \
	done
