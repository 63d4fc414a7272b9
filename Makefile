# Two commands do everything on a machine with python3, pip and make:
#   make demo    install, then the tour on the built-in data set
#   make test    install, then format, lint, types and every test (K=name: only these)
# And for those who look for faults:
#   make fuzz    damaged videos and made-up files for MINUTES=10; what it finds lies in finds/

PYTHON ?= python3
BIN := .venv/bin
SOURCES := praxino tests recipes benchmarks fuzz
MINUTES ?= 10

.PHONY: demo test check fuzz install clean

demo: install
	rm -rf demo
	$(BIN)/praxino demo demo

test: check
	$(BIN)/pytest -n 2 -q $(if $(K),-k $(K))

check: install
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

fuzz: install
	$(BIN)/python -m fuzz --minutes $(MINUTES)

install: .venv/installed

# pip is told nothing but the project: what it needs stands in pyproject.toml.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch .venv/installed

clean:
	rm -rf .venv demo runs finds .mypy_cache .ruff_cache
