.DEFAULT_GOAL := help
.PHONY: help setup run demo test check format lock migrate bench bench-peers mutants clean

PYTHON ?= python3
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --custom-compile-command "make lock"
ARGS ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.locked ## prepare .venv from the locked requirements (again only when they change)

.venv/.locked: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Taskyard needs Python 3.11 or newer; this is %d.%d: say make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup ## start everything: PostgreSQL, Valkey, web, worker, clock (Ctrl-C ends it)
	$(BIN)/taskyard up $(ARGS)

demo: setup ## the same with a sample plan and two sample agents at work
	$(BIN)/taskyard demo $(ARGS)

test: setup ## the whole test suite on real PostgreSQL and Valkey (ARGS="tests/shell -k lock" for a part)
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: setup ## lint, format, types, and whether the migrations equal the models
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/taskyard migrate --check

format: setup ## mend what lint and format can mend by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## write requirements/*.txt from requirements/*.in
	$(LOCK) requirements/base.in -o requirements/base.txt $(ARGS)
	$(LOCK) requirements/dev.in -o requirements/dev.txt $(ARGS)

migrate: setup ## bring the database of the running instance up to date
	$(BIN)/taskyard migrate $(ARGS)

bench: setup ## measure hand-offs and the rest, with yardsticks taken in the same run
	$(BIN)/python -m bench $(ARGS)

bench-peers: setup ## measure procrastinate on the same database (installs it into an environment of its own)
	$(BIN)/python -m bench.peers $(ARGS)

mutants: setup ## take each protection out, one at a time, and expect a named test to fail
	$(BIN)/python -m tests.mutants $(ARGS)

clean: ## remove .venv and what tools left behind; data folders stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
