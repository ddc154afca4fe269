# One command for everything. On a fresh machine only python3 (>= 3.11, with venv and pip), git and make are needed.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check format test-kernel test-kernels fuzz bench setup clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(READY) ## make the virtual environment with everything in it

$(READY): pyproject.toml hatch_build.py $(wildcard src/skep/vm/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skep needs Python 3.11 or newer; this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## compile, verify and run a firewall over real packets
	@$(BIN)/python scripts/demo.py

test: $(READY) ## run the tests
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

check: $(READY) ## format, lint, types, import contracts
	$(BIN)/ruff format --check src tests scripts bench
	$(BIN)/ruff check src tests scripts bench
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## put the code into the house's format
	$(BIN)/ruff format src tests scripts bench
	$(BIN)/ruff check --fix src tests scripts bench

test-kernel: $(READY) ## only the tests that ask the running Linux (root)
	$(BIN)/pytest -m kernel

test-kernels: $(READY) ## the same on Linux 6.1 and 6.12 in QEMU and here; writes docs/parity.md (KERNELS="live 6.12" for some)
	$(BIN)/python -m scripts.kernels $(if $(KERNELS),$(KERNELS),--write)

fuzz: $(READY) ## fuzz readers, verifier and engines for longer than the tests do
	SKEP_HYPOTHESIS=fuzz SKEP_FUZZ_SECONDS=$${SKEP_FUZZ_SECONDS:-60} $(BIN)/pytest tests/fuzz tests/property
	$(BIN)/python -m scripts.fuzz_programs --seconds $${SKEP_FUZZ_SECONDS:-60} --seed $${SKEP_FUZZ_SEED:-$$(date +%s)} --save bench/out/fuzz

bench: $(READY) ## measure, side by side in one run
	$(BIN)/python -m bench

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build bench/out
