# make demo    makes .venv, installs, and runs the main job on a virtual session
# make docs    writes docs/reference/ from the code
# make test    makes .venv, installs, and runs the tests, the linter and the type checker
# make audit   asks a database of known weaknesses about what is installed; make test-fuzz   broken files for every reader
# make coverage   the share of lines the tests run; make mutation   the share of small changes to a module that its tests notice
# make test-faults MINUTES=15   kills, full disks, locked folders and databases, jumping clocks: docs/reliability.md
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Bodies for the virtual studio. Without its dependencies: warp-lang (150 MB) is for its GPU path, which posemill does not take.
ANNY := anny==0.6.2
# Tests and stages are many small pieces of work: more threads than cores only wait for each other.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test test-all coverage mutation test-fuzz test-faults audit lint docs serve clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)) and "posemill needs Python 3.11 or 3.12, found %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -e '.[dev]'
	$(BIN)/pip install -q --no-deps $(ANNY)
	$(BIN)/posemill doctor --fix
	touch $@

demo: install
	$(BIN)/posemill demo --out demo

test: install lint
	$(BIN)/python -m pytest -m 'not slow'

test-all: install lint
	$(BIN)/python -m pytest

coverage: install
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m 'not slow'
	$(BIN)/coverage combine -q
	$(BIN)/python -m tests.coverage_table

# Without this run's leftovers: mutmut would keep what it found before a test was changed.
MUTMUT := mutmut==3.8.1
mutation: install
	rm -rf mutants
	$(BIN)/pip install -q $(MUTMUT)
	$(BIN)/mutmut run
	$(BIN)/python -m tests.mutation_table

# 100,000 broken files for every reader, at most half an hour; the same seed gives the same files.
SEED ?= 0
test-fuzz: install
	$(BIN)/python -m tests.fuzz --inputs 100000 --seed $(SEED) --seconds 1800

audit: install
	$(BIN)/python -m tests.audit_pins

# The clock of whole processes, for the fault that changes it.
FAKETIME := libfaketime==3.0.1
MINUTES ?= 15

test-faults: install
	$(BIN)/pip install -q $(FAKETIME)
	$(BIN)/python -m tests.faults --minutes $(MINUTES)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python -m docs.make_reference

serve: install
	$(BIN)/posemill serve

clean:
	rm -rf $(VENV) demo mutants .coverage* .pytest_cache .mypy_cache .ruff_cache
