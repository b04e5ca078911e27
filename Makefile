SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install demo test check pytest format docs faults bench clean

PY := .venv/bin/python
CODE := $(sort $(dir $(wildcard src/handrail/*.py tests/*.py examples/*.py benchmarks/*.py scripts/*.py)))
TESTS := $(wildcard tests/unit tests/integration tests/acceptance tests/documents tests/faults)
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 2 ? 2 : n > 4 ? 4 : n)))

# A group of tools is installed once for each state of these files in this place.
STATE := $(shell { pwd; cat pyproject.toml constraints.txt; } | sha256sum | cut -c1-12)
INSTALLED := .venv/.installed-$(STATE)

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

install: $(INSTALLED)-dev ## Make .venv with Handrail and the tools to work on it

$(INSTALLED)-%:
	scripts/install $*
	@rm -f .venv/.installed-*-$* && touch $@

demo: $(INSTALLED)-demo ## Run the example on a year of flights, from the start
	$(PY) -m examples.flights

test: check pytest ## Check the code and run every test

pytest: $(INSTALLED)-dev $(INSTALLED)-demo
	@scripts/services
	$(PY) -m pytest $(TESTS) -n $(WORKERS) --dist worksteal $(if $(REPORT),--junit-xml=$(REPORT))

check: $(INSTALLED)-dev ## Check style, types and import directions
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(CODE)
	.venv/bin/lint-imports --no-logo

format: $(INSTALLED)-dev ## Put the code into the house style
	$(PY) -m ruff check --fix --exit-zero --quiet .
	$(PY) -m ruff format .

docs: $(INSTALLED)-dev $(INSTALLED)-demo ## Run the code of the documents and check their links
	$(PY) -m pytest tests/documents -n $(WORKERS)

faults: $(INSTALLED)-dev ## Cause faults in full numbers: kills, races, random workflows
	FAULTS_KILLS=$(or $(KILLS),300) FAULTS_RACES=$(or $(RACES),200) FAULTS_SHAPES=$(or $(SHAPES),1000) \
	    FAULTS_PUBLICATIONS=$(or $(PUBLICATIONS),500) FAULTS_CUTS=$(or $(CUTS),1000) \
	    FAULTS_STOPS=$(or $(STOPS),100) FAULTS_PUBLISHERS=$(or $(PUBLISHERS),10000) \
	    FAULTS_REFUSALS=$(or $(REFUSALS),600) FAULTS_STORES=$(or $(STORES),400) \
	    FAULTS_FIRST=$(or $(FIRST),0) $(PY) -m pytest tests/faults $(if $(ONLY),-k '$(ONLY)') \
	    -n $(WORKERS) --dist worksteal --timeout 7200

bench: $(INSTALLED)-bench ## Measure against the budgets and a peer
	$(PY) -m benchmarks

clean: ## Remove .venv, caches and reports (never a .handrail folder)
	rm -rf .venv .reports .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +
