# Everything a contributor runs. `make` alone prints this list.

SHELL := /bin/sh
PY := .venv/bin/python
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade
# Test files that run at once; 0: one after the other, in one process. Most of their time is waiting.
WORKERS := 3
PROTO := $(wildcard reconciler/wire/*.proto)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lab bench soak lock proto clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/.development ## make .venv from the hash-pinned locks

.venv/.runtime: requirements.lock pyproject.toml scripts/setup
	@scripts/setup runtime

.venv/.development: requirements-dev.lock requirements.lock pyproject.toml scripts/setup
	@scripts/setup development
	@touch .venv/.runtime

demo: .venv/.runtime ## two minutes on one machine: run, lose a host, restore, finish (KEEP=1 leaves it running, STOP=1 ends it)
	@KEEP="$(KEEP)" STOP="$(STOP)" $(PY) scripts/demo

test: setup lint ## style, types, then every test; those on real engines where this machine can (root on Linux)
	@$(PY) -m tests.lab --when-able
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: setup ## formatting, lint, strict types, unused code
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@$(PY) -m tests.architecture.unused

format: setup ## rewrite the sources in the house format
	@$(PY) -m ruff check --fix --quiet .
	@$(PY) -m ruff format --quiet .

lab: setup ## build what tests on real engines need: a Debian root and images, once a machine (root on Linux, 2 min)
	@$(PY) -m tests.lab

bench: setup ## the figures of docs/performance.md (ARGS="store --size 256M": some of them, smaller)
	@$(PY) -m tests.bench $(ARGS)

soak: setup ## the crash simulation over thousands of seeds (SEEDS=5000), and ten minutes of disasters on real engines (SEED=1)
	@SEEDS="$(or $(SEEDS),5000)" SEED="$(SEED)" $(PY) -m pytest -m soak --capture=no

lock: ## refresh the locks (needs uv)
	@command -v uv >/dev/null || { echo "perdure: uv is missing. Install it: python3 -m pip install uv" >&2; exit 1; }
	@$(LOCK) --group build pyproject.toml -o requirements.lock
	@$(LOCK) --group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

proto: setup ## regenerate the gRPC code from the .proto files
	@$(PY) -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. $(PROTO)
	@for file in reconciler/wire/*_pb2_grpc.py; do \
	    { echo '# mypy: ignore-errors'; cat "$$file"; } > "$$file.new" && mv "$$file.new" "$$file"; \
	done

clean: ## remove .venv and every cache
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
