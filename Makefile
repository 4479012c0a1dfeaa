# make demo | test | check | docs | wheel | faults | gpu. Each makes the environment first and installs into it only when
# something changed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check docs wheel faults gpu format clean

demo: $(VENV)/.installed
	$(BIN)/d3s2 demo --out runs/demo

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2  # one thread a worker: two would wait for each other

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs

docs: $(VENV)/.installed-dev  # the site, in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

wheel:  # built, installed alone into an empty environment, called outside the repository
	rm -rf build/wheel dist
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd "$$(mktemp -d)" && $(CURDIR)/build/wheel/bin/d3s2 --help && $(CURDIR)/build/wheel/bin/d3s2 demo --dry-run

# Installs nothing: the machine may have no network. GPU="--data DATA --minutes 9" and the like: benchmarks/gpu.py.
gpu:
	PYTHONPATH="$(CURDIR)/src$${PYTHONPATH:+:$$PYTHONPATH}" $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) benchmarks/gpu.py $(GPU)

faults: $(VENV)/.installed-dev  # hours: kills and other faults at random moments, figures to benchmarks/
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py --kills 50

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@
