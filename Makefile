# One verb per line of `make help`; each does its own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults lint docs bench audit clean table1 table2 table3 table4 successors all-tables study study-1 study-2 study-3 study-4 study-hours search_table2 search_successors search_table1 figure1 figure3 figure4 dashboard

help:  ## show the verbs
	@grep -E '^[a-z0-9_ -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9_ -]+):.*## /  make \1\t/'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; type make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/installed  ## create .venv with the tested packages

demo: setup  ## train AMIR on the embedded MRI, CT and PET patients and print its scores
	$(BIN)/python -m amir_lightning.train task=mri+ct+pet scale=demo

figure1 figure3 figure4: setup  ## train what a figure of the paper shows, and draw it
	$(BIN)/python -m amir_lightning.train -m experiment=$@ $(OPTIONS)
	$(BIN)/python -m amir_lightning.draw experiment=$@ $(OPTIONS) output=experiments/$@

# worksteal keeps the tests of a file together, so that what they share is made once.
test: setup  ## run all tests, two at a time
	$(BIN)/python -m pytest -n 2 --dist worksteal

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
table1 table2 table3 table4 successors: setup  ## train the runs of a table, then write it
	-$(BIN)/python -m amir_lightning.train -m experiment=$@ $(OPTIONS)
	$(BIN)/python -m amir_lightning.tabulate experiment=$@ $(OPTIONS) $(KEEP)

all-tables: table1 table2 table3 table4  ## all four; runs that tables share are trained once

# The study of scale=study, whose sweeps are listed in conf/sweeps/study.yaml, too. Each verb goes on where it stood,
# and keeps the scores and curves of its runs in experiments/study/runs.
study study-1 study-2 study-3 study-4: export KEEP = keep=true
search_table2 search_successors search_table1: setup  ## search learning rates, and keep them in conf/network/rate
	-$(BIN)/python -m amir_lightning.train -m experiment=$@ scale=study $(OPTIONS)
	$(BIN)/python -m amir_lightning.search experiment=$@ scale=study $(OPTIONS) keep=true

study-1: setup  ## the search for the methods of table 2, and table 2 with three seeds
	$(MAKE) search_table2
	$(MAKE) table2 OPTIONS="scale=study seed=0,1,2 $(OPTIONS)"

study-2: setup  ## table 4 with three seeds
	$(MAKE) table4 OPTIONS="scale=study seed=0,1,2 $(OPTIONS)"

study-3: setup  ## the search for the successors, and their table with three seeds
	$(MAKE) search_successors
	$(MAKE) successors OPTIONS="scale=study seed=0,1,2 $(OPTIONS)"

study-4: setup  ## the search for the other methods of table 1, and tables 1 and 3 with one seed
	$(MAKE) search_table1
	$(MAKE) table1 OPTIONS="scale=study $(OPTIONS)"
	$(MAKE) table3 OPTIONS="scale=study $(OPTIONS)"

study:  ## all four tiers, each whole before the next
	$(MAKE) study-1
	$(MAKE) study-2
	$(MAKE) study-3
	$(MAKE) study-4

study-hours: setup  ## measure how long each tier of the study takes on this machine
	$(BIN)/python -m amir_lightning.plan sweeps=study time=true

dashboard: setup  ## all runs, tables and figures as one HTML page, runs/dashboard.html
	$(BIN)/python -m amir_lightning.dashboard

clean:  ## remove .venv and caches; data/ and runs/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
