# `make demo` and `make test` need nothing but Python 3.11 or newer and make: they create .venv and install into it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
JOBS ?= 2
READY := .venv/.ready

.PHONY: demo test lint setup clean

demo: $(READY)  ## train and evaluate DeepLabV3 on built-in synthetic street scenes
	$(BIN)/python tools/quickstart.py

test: lint  ## run all tests, in JOBS processes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(READY)  ## create .venv with the tested set of packages

$(READY): requirements.txt tests/oracles.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/oracles.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:  ## remove .venv and caches; data, work_dirs and checkpoints stay
	rm -rf .venv .mypy_cache .ruff_cache build *.egg-info
