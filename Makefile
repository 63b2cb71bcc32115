# `make demo` and `make test` need Python 3.11 or later and nothing else; they install what they use into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint check format clean

demo: .venv/installed
	rm -rf rescrnet-demo
	$(BIN)/rescrnet demo --out rescrnet-demo

test: .venv/installed-dev
	$(BIN)/pytest

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv rescrnet-demo build dist
