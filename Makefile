# Each target carries its help; `make` alone prints it. Only Python >= 3.11, make and a package index are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_READY := $(VENV)/.run-ready
DEV_READY := $(VENV)/.dev-ready

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(RUN_READY) ## Plan a real day for five homes, run it on emulated batteries, confirm it, write a report
	$(BIN)/tidewatt demo

.PHONY: test
test: $(DEV_READY) ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: sim
sim: $(DEV_READY) ## Simulate 20,000 site-days of control with everything that can go wrong, then take each guard away
	$(BIN)/python -m tests.simulation --ablation 600
	$(BIN)/python -m tests.simulation --mix reference --full-days --site-days 360

.PHONY: chaos
chaos: $(DEV_READY) ## Kill, stall and restart a real installation 200 times, then look for what must not be; takes 14 minutes
	$(BIN)/python -m tests.chaos --kills 200 --seed 1

.PHONY: check
check: $(DEV_READY) ## Lint, check formatting, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(DEV_READY) ## Measure planning against raw HiGHS and PuLP in one run; optima are held equal
	$(BIN)/python -m benchmarks

.PHONY: bench-peers
bench-peers: $(DEV_READY) ## The same with EMHASS, energy-py-linear, oemof-solph and PyPSA; installs them first
	$(BIN)/python -m benchmarks --peers

.PHONY: up-proof
up-proof: $(DEV_READY) ## Kill the workers of an emulated installation for ten minutes; hold its journal against the logs
	$(BIN)/python -m tests.up_proof --minutes 10 --kill-every-s 60

.PHONY: clean
clean: ## Remove the virtual environment, runs and caches
	rm -rf $(VENV) var dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "setting up $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(DEV_READY): $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "setting up $(VENV) with the tools for tests (once)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(RUN_READY)
