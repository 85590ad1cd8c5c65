# One verb per line of `make help`; each does its own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults lint bench clean

help:  ## show the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; type make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: .venv/installed  ## create .venv with the tested packages

demo: setup  ## train AMIR on the embedded MRI, CT and PET patients and print its scores
	$(BIN)/python -m amir_lightning.train task=mri+ct+pet scale=demo

test: setup  ## run all tests, two at a time
	$(BIN)/python -m pytest -n 2

test-faults: setup  ## kill, fill, cut and unplug real runs, and compare with undisturbed ones
	$(BIN)/python -m pytest tests/faults -m "faults or not faults"

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## measure steps/s, slices/s and peak memory on this machine
	$(BIN)/python -m amir_lightning.bench

clean:  ## remove .venv and caches; data/ and runs/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
