# Everything runs in .venv, which `make setup` makes; uv is installed there where the machine has none.
PYTHON ?= python3
# What tests: all cores, at most 8, as one may come to hold 6 GB.
WORKERS ?= logical
BIN := .venv/bin

TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-gpu docs bench check format lock wheel clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# Compiled here: where Python may not write beside its modules, each start of a process would compile thousands.
.venv/.ready: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@command -v uv >/dev/null || $(BIN)/python -m pip install -q uv
	@PATH="$(BIN):$$PATH" uv pip install -q --compile-bytecode --python $(BIN)/python -r requirements.lock
	@PATH="$(BIN):$$PATH" uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

setup: .venv/.ready ## Make .venv with the pinned packages

demo: setup ## Distil handwritten digits, train four networks on the result, write a page (minutes)
	$(BIN)/moe-distill +experiment=quickstart

test: setup ## Run the tests of every day, in minutes
	$(TESTS) -m "not slow and not gpu"

test-slow: setup ## Run the rest: every experiment, kills, Slurm, a browser, the wheel
	$(TESTS) -m "slow and not gpu"

test-gpu: setup ## Run the tests that need a GPU
	$(BIN)/python -m pytest -m gpu

docs: setup ## Build the documentation, site/index.html, into build/docs
	$(BIN)/python docs/generate.py build/docs
	$(BIN)/zensical build --strict -c -f build/docs/zensical.toml
	@echo "build/docs/site/index.html (search needs a server: $(BIN)/python -m http.server -d build/docs/site)"

bench: setup ## Time each method against a naive program (ONLY=dm,idm ROUNDS=7 THREADS=1)
	ONLY="$(ONLY)" ROUNDS="$(ROUNDS)" THREADS="$(THREADS)" $(BIN)/python -m experiments.speed.bench

check: setup ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Pin the newest packages that fit (needs uv)
	uv pip compile -q --universal --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

wheel: setup ## Build the wheel into dist/
	PATH="$(CURDIR)/$(BIN):$$PATH" uv build -q --wheel

clean: ## Remove the environment and what was built
	rm -rf .venv dist build
