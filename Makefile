# Every target works on a fresh machine with Python 3.11 or newer; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .demo-venv
BIN := $(VENV)/bin
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format schema clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(DEMO_VENV)/.installed  ## an environment of its own, then the tour: pretrain, fine-tune, measure, report; offline, on a CPU
	HF_HUB_OFFLINE=1 $(DEMO_VENV)/bin/hfrecipes run tour/tour

test: $(VENV)/.installed  ## the tests, in parallel
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-all: $(VENV)/.installed  ## the same, every adapter method on every precision, and FSDP2 on two processes
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m ''

lint: $(VENV)/.installed  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed  ## let ruff format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/.installed  ## make the shipped schema of recipes anew, after a change of versions
	$(BIN)/python -m hfrecipes.recipe.schema

clean:  ## remove the environments and what tests and demos left
	rm -rf $(VENV) $(DEMO_VENV) .cache .pytest_cache .ruff_cache .hypothesis build dist

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(DEMO_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@
