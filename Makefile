# One verb per line of `make help`; each does its own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults lint docs bench audit clean table1 table2 table3 table4 all-tables figure1 figure3 figure4 dashboard

help:  ## show the verbs
	@grep -E '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9 -]+):.*## /  make \1\t/'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; type make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/installed  ## create .venv with the tested packages

demo: setup  ## train AMIR on the embedded MRI, CT and PET patients and print its scores
	$(BIN)/python -m amir_lightning.train task=mri+ct+pet scale=demo

figure1 figure3 figure4: setup  ## train what a figure of the paper shows, and draw it
	$(BIN)/python -m amir_lightning.train -m experiment=$@
	$(BIN)/python -m amir_lightning.draw experiment=$@ output=experiments/$@

test: setup  ## run all tests, two at a time
	$(BIN)/python -m pytest -n 2

test-faults: setup  ## kill, fill, cut and unplug real runs, and compare with undisturbed ones
	$(BIN)/python -m pytest tests/faults -m "faults or not faults"

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup  ## build the documentation site, build/site/index.html; needs no network
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet
	@echo "site  build/site/index.html"

bench: setup  ## measure networks, loader and this machine's own peaks
	$(BIN)/python -m amir_lightning.bench

# Without the network: make audit ADVISORIES=<clone of github.com/pypa/advisory-database>
ifdef ADVISORIES
audit: setup
	$(BIN)/python .ci/audit.py $(ADVISORIES) constraints.txt
else
audit:  ## look up known vulnerabilities of the tested packages (needs the package index)
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check 'pip-audit>=2.9,<3'
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
endif

# Options of both commands: make table3 OPTIONS="scale=paper seed=0,1,2". A run that fails is a dash.
table1 table2 table3 table4: setup  ## train the runs of a table of the paper, then write it
	-$(BIN)/python -m amir_lightning.train -m experiment=$@ $(OPTIONS)
	$(BIN)/python -m amir_lightning.tabulate experiment=$@ $(OPTIONS)

all-tables: table1 table2 table3 table4  ## all four; runs that tables share are trained once

dashboard: setup  ## all runs, tables and figures as one HTML page, runs/dashboard.html
	$(BIN)/python -m amir_lightning.dashboard

clean:  ## remove .venv and caches; data/ and runs/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
