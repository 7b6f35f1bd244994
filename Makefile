# SPDX-License-Identifier: MPL-2.0
#
# make demo   installs what is missing, builds, and transcribes a conversation
# make test   installs what is missing, and runs all tests
# make build  installs what is missing, and builds target/release/libgstmultitalkerasr.so
# make lint   what the continuous integration checks besides the tests
#
# The demo runs your own files with MODEL_DIR=… DIARIZATION_MODEL=… AUDIO=…

ifneq ($(wildcard .rust/cargo/bin/cargo),)
export CARGO_HOME := $(CURDIR)/.rust/cargo
export RUSTUP_HOME := $(CURDIR)/.rust/rustup
endif
export PATH := $(CURDIR)/.rust/cargo/bin:$(HOME)/.cargo/bin:$(PATH)

.PHONY: demo test build lint setup clean

demo: build
	@tools/demo.sh

test:
	@tools/setup.sh tests
	$(MAKE) --no-print-directory run-tests

build: setup
	$(MAKE) --no-print-directory run-build

lint: setup
	$(MAKE) --no-print-directory run-lint

setup:
	@tools/setup.sh

clean:
	rm -rf target .onnxruntime .venv .rust

# After the set-up these see the Rust that it may have installed.
.PHONY: run-tests run-build run-lint

run-tests:
	cargo test

run-build:
	cargo build --release

run-lint:
	cargo fmt --check
	cargo check --lib --no-default-features
	@if cargo tree --no-default-features --edges normal | grep gstreamer; then \
	  echo "the engine must not depend on GStreamer"; exit 1; \
	fi
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@0.20.2
	cargo deny check bans licenses sources
