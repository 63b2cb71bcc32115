# `make demo` and `make test` need Python 3.11 or later and nothing else; they install what they use into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-kernels lint check format docs wheels web exchange attack sbom audit bench bench-authors profile clean

demo: .venv/installed
	rm -rf rescrnet-demo
	$(BIN)/rescrnet demo --out rescrnet-demo

# Three side by side, of which one mostly waits for processes; what takes long goes from a busy worker to an idle one.
test: .venv/installed-dev
	$(BIN)/pytest --numprocesses 3 --dist worksteal

# The kernels in C by themselves: sanitized, on emulated processors, as a Windows program. Ten minutes.
test-kernels: .venv/installed-wheels
	$(BIN)/python tests/kernels/run.py

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

# Mutated files, kills, full disks, two writers, hostile names, memory: 23 minutes on two cores; attack.json has all of it.
attack: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.attack --json attack.json

# For a release: what it is made of, and under which licences.
sbom: .venv/installed-dev
	$(BIN)/python -m tests.support.write_sbom rescrnet.cdx.json docs/licences.md

# Needs the vulnerability data of PyPI, and pip-audit, which it installs. Fails where a package could not be audited.
audit: .venv/installed-dev
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --requirement constraints.txt --disable-pip --no-deps --strict

# One wheel for each system, with compiled kernels in it, and one without any, into dist/.
wheels: .venv/installed-wheels
	$(BIN)/python kernels/wheels.py

# The page of `export --format web`, which wheels hold; needs Node.js and npm.
web: src/rescrnet/exchange/web_template.html

src/rescrnet/exchange/web_template.html: $(wildcard web/*)
	cd web && npm ci --no-fund --no-audit --ignore-scripts
	cd web && node build.mjs ../$@

# Exported models in the runtimes of other programs. The first time it loads about 6 GB: PyPI's PyTorch 2.0 and 2.7 for
# Linux come with CUDA. Without them, `make exchange EXCHANGE_TORCH=` tests the rest.
EXCHANGE_TORCH := .venv-torch-2.0/made .venv-torch-2.7/made
EXCHANGE_ONNX := .venv-onnxruntime-1.15/made .venv-onnxruntime-1.17/made
EXCHANGE_CORE := .venv-bioimageio-0.10/made .venv-bioimageio-0.11/made
exchange: .venv/installed-dev web $(EXCHANGE_ONNX) $(EXCHANGE_CORE) $(EXCHANGE_TORCH)
	RESCRNET_EXCHANGE=1 $(BIN)/pytest tests/exchange -rs --timeout 3600

.venv-onnxruntime-1.15/made: WANTS := 'onnxruntime==1.15.1' 'numpy<2'
.venv-onnxruntime-1.17/made: WANTS := 'onnxruntime==1.17.3' 'numpy<2'
.venv-torch-2.0/made: WANTS := 'torch==2.0.1' 'numpy<2'
.venv-torch-2.7/made: WANTS := 'torch==2.7.1' numpy
# bioimageio.spec of that time fails with pydantic 2.13 and later.
.venv-bioimageio-0.10/made: WANTS := 'bioimageio.core==0.10.2' 'onnxruntime==1.22.1' 'torch==2.13.0' 'pydantic<2.13'
.venv-bioimageio-0.11/made: WANTS := 'bioimageio.core==0.11.0' 'onnxruntime==1.32.0' 'torch==2.13.0' 'pydantic<2.13'
.venv-onnxruntime-%/made .venv-torch-%/made .venv-bioimageio-%/made:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --no-cache-dir $(WANTS)
	touch $@

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

.venv/installed-wheels: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling ziglang
	touch $@

clean:
	rm -rf .venv .venv-* rescrnet-demo build dist src/rescrnet/ops/compiled web/node_modules
