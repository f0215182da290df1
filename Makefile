# The few verbs of this tree. `make test` works from a fresh clone, as root, on Debian 12 or newer:
# it installs what is missing (apt, and PyPI into .venv) and is quick when nothing is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Debian's own interpreter, whatever else stands first in PATH: the package runs on it.
SYSTEM_PYTHON ?= /usr/bin/python3
# PyPI's newest libraries …
PYTHON := .venv/bin/python
# … and Debian's, with the test tools added.
DEBIAN_PYTHON := .venv-debian/bin/python
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' nodestoraged/__init__.py)
DEB := dist/nodestoraged_$(VERSION)_all.deb

# Only what pyproject.toml names: the tests run the tree itself, never an installed copy.
REQUIREMENTS := $(SYSTEM_PYTHON) -c 'import tomllib; \
    project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")'

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the Debian packages that building and testing need
	@packaging/dependencies

.PHONY: venv
venv: deps .venv/stamp .venv-debian/stamp ## Make both Python environments

.venv/stamp: pyproject.toml
	$(SYSTEM_PYTHON) -m venv .venv
	$(PYTHON) -m pip install --quiet --upgrade --requirement <($(REQUIREMENTS))
	touch $@

.venv-debian/stamp: pyproject.toml
	$(SYSTEM_PYTHON) -m venv --system-site-packages .venv-debian
	$(DEBIAN_PYTHON) -m pip install --quiet 'pytest>=8' pytest-cov pytest-timeout pytest-xdist hypothesis varlink
	touch $@

.PHONY: test
test: venv ## Everything: style, unit, contract, integration and VM tests
	$(MAKE) --no-print-directory --keep-going test-host test-vm

# The same examples each time; pytest by hand looks for new ones (tests/conftest.py).
export HYPOTHESIS_PROFILE ?= make
# Tests that wait for devices leave a third of two cores idle.
WORKERS := -n 3 --dist worksteal
# Uses no library: `coverage` runs it, and once will do.
PURE := unit/core unit/engine unit/model

.PHONY: test-host
test-host: coverage ## Everything that needs no virtual machine
	$(PYTHON) -m pytest $(WORKERS) -m "not vm" $(PURE:%=--ignore=tests/%)

# An emulated machine with one processor keeps one core busy. One test at a time, the long first.
MACHINES := -n 2 --dist load --maxschedchunk 1

.PHONY: test-vm
test-vm: venv ## The installed package on every kind of node, in virtual machines
	$(PYTHON) -m pytest $(MACHINES) -m vm --durations=60 tests/vm

.PHONY: test-fast
test-fast: venv ## What needs neither real devices nor a VM
	$(PYTHON) -m pytest -m "not integration and not vm"

.PHONY: coverage
coverage: venv ## Unit tests with Debian's libraries; every branch of core and model is taken
	$(DEBIAN_PYTHON) -m pytest -q $(WORKERS) --ignore=tests/property \
	    -m "not integration and not vm and not style" \
	    --cov=nodestoraged.core --cov=nodestoraged.model --cov-branch \
	    --cov-report=term:skip-covered --cov-fail-under=100

.PHONY: lint
lint: venv ## Formatting, rules, types, layers, units, spelling
	$(PYTHON) -m pytest -q -m style

.PHONY: fmt
fmt: venv ## Format, and mend what can be mended without thought
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

.PHONY: install
install: ## Install below $(DESTDIR)$(PREFIX); packaging/install lists the variables
	packaging/install

.PHONY: uninstall
uninstall: ## Remove what `install` with the same variables has put there
	packaging/install remove

.PHONY: deb
deb: deps ## Build dist/nodestoraged_VERSION_all.deb
	packaging/deb/build dist
	@ls -l $(DEB)

.PHONY: rpm
rpm: deps ## Build dist/nodestoraged-VERSION-1.noarch.rpm
	packaging/rpm/build dist

.PHONY: bundle
bundle: venv ## Build dist/nodestoraged-VERSION-bundle-ARCH.tar.gz, with the libraries inside
	packaging/bundle/build dist

.PHONY: dist
dist: venv ## Build sdist and wheel into dist
	$(PYTHON) -m build --no-isolation --outdir dist .

.PHONY: bench
bench: venv ## Measure everything against its anchors; writes benchmarks/RESULTS.md
	$(PYTHON) -m benchmarks

.PHONY: demo
demo: venv ## Watch a stick come, be trusted, serve and be pulled out
	$(PYTHON) demo/demo.py

.PHONY: proto
proto: venv ## Compile the descriptor set of the runtime's interfaces
	cd nodestoraged/worker/grpc/proto && ../../../../$(PYTHON) -m grpc_tools.protoc \
	    --proto_path=. --include_imports --descriptor_set_out=wire.binpb cri.proto containerd.proto

.PHONY: clean
clean: ## Remove what the other verbs made, the environments too
	rm -rf .venv .venv-debian dist build .coverage .hypothesis .import_linter_cache \
	    .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
