# make demo | test | check | faults. Each makes the environment first and installs into it only when something changed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check faults format clean

demo: $(VENV)/.installed
	$(BIN)/d3s2 demo --out runs/demo

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2  # one thread a worker: two would wait for each other

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

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
