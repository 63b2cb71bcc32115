# `make demo` and `make test` need Python 3.11 or later and nothing else; they install what they use into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint check format docs web exchange bench bench-authors profile clean

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

# The pages of docs that follow from the code.
docs: .venv/installed-dev
	$(BIN)/python -m tests.support.write_docs

# The page of `export --format web`, which wheels hold; needs Node.js and npm.
web: src/rescrnet/exchange/web_template.html

src/rescrnet/exchange/web_template.html: $(wildcard web/*)
	cd web && npm ci --no-fund --no-audit --ignore-scripts
	cd web && node build.mjs ../$@

# Side by side with the authors' network where `make bench-authors` made it an environment; a quiet machine, please.
bench: .venv/installed-dev
	$(BIN)/python benchmarks/bench.py

profile: .venv/installed-dev
	$(BIN)/python benchmarks/roofline.py

bench-authors:
	test -x .venv-authors/bin/python || $(PYTHON) -m venv .venv-authors
	.venv-authors/bin/python -m pip install --quiet tensorflow-cpu tf_keras pillow

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-authors rescrnet-demo build dist
