# The commands that CI runs, and that a person types. `make demo` works on a fresh clone.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo lint test test-slow

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/rlprune demo

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# One thread per worker: two workers with a full set of threads each only get in each other's way.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-slow: setup
	$(BIN)/python -m pytest -m slow
