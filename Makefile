# Everything that is needed is made in .venv; nothing outside this directory is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint drawings bench mutants clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

demo: $(VENV)/.installed ## run the demo: 2,000 events, Event Service job, merge, pictures (in demo/)
	$(BIN)/python examples/zmumu/demo.py demo

test: lint ## run all tests, with style and type checks
	$(BIN)/python -m pytest --cov --cov-report=term

lint: $(VENV)/.installed ## style and type checks only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

drawings: $(VENV)/.installed ## write again what is generated: diagrams/, tables and map in README and CONTRIBUTING
	$(BIN)/esfsm draw --all
	$(BIN)/python tests/test_readme.py
	$(BIN)/python tests/test_contributing.py

bench: $(VENV)/.installed ## measure a job with a payload that does nothing, and what its journal costs
	$(BIN)/python benchmarks/noop.py
	$(BIN)/python benchmarks/journal.py

mutants: $(VENV)/.installed ## change each line of the core, and count the changes that a test notices (10 minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8,<4'
	HYPOTHESIS_PROFILE=mutants $(BIN)/mutmut run
	$(BIN)/mutmut results --all true | sed 's/.*: //' | sort | uniq -c

clean: ## remove what the other targets made
	rm -rf $(VENV) demo mutants .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("esfsm needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,root,plot]'
	touch $@
