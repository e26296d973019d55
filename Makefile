# `make demo` and `make test` work on a fresh clone; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
export PYTHON

# Most of a test's time is a process that starts: one test process a core, four at most.
WORKERS := -n logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo space test lint format types docs build lowest clean
.DELETE_ON_ERROR:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "PYTHON=python3.12 before or after a target chooses the interpreter of a new .venv"

# One stamp for each set of extras, made anew when what is installed may have changed.
$(VENV)/.stamp-core: SPEC = .
$(VENV)/.stamp-plots: SPEC = .[plots]
$(VENV)/.stamp-space: SPEC = .[space]
$(VENV)/.stamp-test: SPEC = .[plots,space,test]
$(VENV)/.stamp-dev: SPEC = .[dev]
$(VENV)/.stamp-docs: SPEC = .[docs]
$(VENV)/.stamp-%: pyproject.toml constraints/cpu.txt tools/install.sh
	@tools/install.sh $(VENV) constraints/cpu.txt '$(SPEC)'
	@touch $@

$(LOWEST)/.stamp: pyproject.toml constraints/lowest.txt tools/install.sh tools/check_lowest.py
	@$(PYTHON) tools/check_lowest.py
	@tools/install.sh $(LOWEST) constraints/lowest.txt '.[plots,test]'
	@touch $@

install: $(VENV)/.stamp-core ## the package, editable, in .venv

demo: $(VENV)/.stamp-plots ## measure a real model's shift: table, report, figure
	$(BIN)/resque demo

space: $(VENV)/.stamp-space ## the demo, in a browser
	$(BIN)/resque space

test: $(VENV)/.stamp-test ## the default tests
	$(BIN)/python -m pytest -q $(WORKERS)

lint: $(VENV)/.stamp-dev ## ruff: lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.stamp-dev ## ruff: fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.stamp-dev ## mypy --strict on src and the demo
	$(BIN)/mypy --strict src
	cd spaces_demo && MYPYPATH=../src:. ../$(BIN)/mypy --strict .

docs: $(VENV)/.stamp-docs ## the documentation as a site in site/, every warning an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python tools/check_site.py site

build: $(VENV)/.stamp-dev ## wheel and source archive in dist/
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

# Old releases warn about each other: that is not ours to mend.
OLD := -W ignore::DeprecationWarning -W ignore::ResourceWarning
OLD += -W ignore::pytest.PytestUnraisableExceptionWarning

lowest: $(LOWEST)/.stamp ## the default tests with the lowest versions that pyproject.toml admits
	$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider $(WORKERS) $(OLD)

clean: ## remove environments, builds and caches
	rm -rf $(VENV) $(LOWEST) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests metrics benchmarks examples tools -name __pycache__ -type d -prune -exec rm -rf {} +
