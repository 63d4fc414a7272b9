# Two commands do everything on a machine with python3, pip and make:
#   make demo    install, then the tour on the built-in data set
#   make test    install, then format, lint, types and every test (K=name: only these)

PYTHON ?= python3
BIN := .venv/bin
SOURCES := praxino tests recipes benchmarks

.PHONY: demo test check install clean

demo: install
	rm -rf demo
	$(BIN)/praxino demo demo

test: check
	$(BIN)/pytest -n 2 -q $(if $(K),-k $(K))

check: install
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

install: .venv/installed

# pip is told nothing but the project: what it needs stands in pyproject.toml.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch .venv/installed

clean:
	rm -rf .venv demo runs .mypy_cache .ruff_cache
