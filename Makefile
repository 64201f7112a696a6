# A thin front for CMake: each target is one line that CMakePresets.json or a script carries out.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PREFIX ?= /usr/local
export JOBS

# The inner build has flags and a job count of its own.
BUILD = cmake --preset $(1) >/dev/null && \
        MAKEFLAGS=--no-print-directory cmake --build --preset $(1) -j$(JOBS)

.PHONY: all debug asan ubsan tsan deps demo demo-mlp parity check check-debug check-asan check-ubsan \
        check-tsan check-portable check-guest check-rdma chaos bench-mismatch bench-mlx bench-peers bench-scale \
        fuzz install format clean help

all: ## build/bin/hocket, build/lib/libhocket.so and, where MLX is, build/lib/libhocket-mlx.so
	@$(call BUILD,release)

debug asan ubsan tsan: ## the same in build-<name>
	@$(call BUILD,$@)

deps: ## get what is missing: system packages, and MLX, for Python too, into .deps/
	@scripts/deps.sh

demo: deps all ## a language model on one rank and on two that share it (PROMPT, TOKENS, DEVICE)
	@scripts/demo.sh

demo-mlp: deps all ## one layer of it over 1, 2 and 4 ranks
	@scripts/demo_mlp.sh

parity: deps all ## its text, token for token, on ranks that share it in every way (DEVICE, TOKENS)
	@scripts/parity.sh

check: deps ## build and run every test
	@scripts/check.sh release

check-debug check-asan check-ubsan check-tsan: deps ## the tests in another flavour
	@scripts/check.sh $(patsubst check-%,%,$@)

chaos: all ## kill, freeze, cut and slow ranks (SECONDS=300, or ROUNDS; SEED, BACKEND=tcp, FAULT)
	@build/tests/chaos --backend $(or $(BACKEND),tcp) --seconds $(or $(SECONDS),300) \
	    $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(FAULT),--kind $(FAULT))

bench-peers: all ## against Open MPI, MPICH and MLX's ring (ROUNDS=5, SIZES, RANKS): bench/results/
	@scripts/bench_peers.sh

bench-mlx: all ## programs on MLX over hocket, Open MPI and MLX's ring (ROUNDS=5): bench/results/
	@scripts/bench_mlx.sh

bench-mismatch: all ## what it costs that ranks which disagree are told
	@build/bench/mismatch

bench-scale: all ## how cost grows from 2 to 64 ranks (ROUNDS=3, SIZES, RANKS): bench/results/
	@scripts/bench_scale.sh

check-portable: deps ## cross-compile for aarch64 Linux and macOS
	@scripts/portable.sh

check-guest: all ## loss, delay and reordering by netem between three hosts, in a guest under QEMU
	@tests/guest/run.sh tests/guest/weather.sh || [ $$? = 77 ]

check-rdma: all ## RDMA over soft-RoCE devices, in the same guest
	@tests/rdma-vm/run.sh || [ $$? = 77 ]

fuzz: ## fuzz with clang: TARGET=name for one of tests/fuzz, FUZZ_SECONDS=60 for each
	@scripts/fuzz.sh "$(TARGET)" "$(FUZZ_SECONDS)"

install: all ## into PREFIX (/usr/local), under DESTDIR when that is set
	@cmake --install build --prefix $(PREFIX)

format: ## lay out all C and C++ by .clang-format
	@git ls-files '*.c' '*.h' '*.cpp' '*.hpp' | xargs clang-format -i

clean: ## remove everything that was built; .deps/ stays
	@rm -rf build build-debug build-asan build-ubsan build-tsan build-fuzz build-portable

help: ## this list
	@sed -n 's/^\([a-z -]*\):.*## /\1: /p' Makefile
