# Needs git, make, Python 3.11 or newer with venv, and a package index that pip knows of. Everything else is installed
# into .venv, once, and what `make bench` compares us with into .venv-peers; a changed requirements file installs again.

VENV := .venv
PEERS := .venv-peers
FEAST := .venv-feast
TORCH := .venv-torch
HSM := .venv-hsm
FUZZ_SECONDS := 600
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --no-input
# Compiling every module of every library would take longer than downloading them; Python compiles what it imports, and
# has to keep that: tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PIP) install --no-compile --require-hashes
COMPILE = $(BIN)/uv pip compile $(UPGRADE) --quiet --universal --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"

# The first interpreter that runs and is new enough: a name on the path may be a shim for one that is not there.
FIND_PYTHON = for python in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	if $$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$python; exit 0; fi; done; \
	echo 'make: no Python 3.11 or newer with the venv module was found' >&2; exit 1

.PHONY: help demo test quick slow soak fuzz feast torch hsm check bench docs lock clean

help:
	@echo 'make demo    one prediction and its backstory, from rows to proof'
	@echo 'make test    every test; make quick those that take no 0.4 seconds, make slow notes which do'
	@echo 'make soak    kills, cuts the power, fills disks, hundreds of times; a job of 5 million rows;'
	@echo '             recorded environments made again; make fuzz'
	@echo 'make fuzz    tries every parser for ten minutes; FUZZ_SECONDS=20 for less'
	@echo 'make feast   asks a real Feast store for features as they were'
	@echo 'make torch   registers, replays and probes models of PyTorch'
	@echo 'make hsm     keeps keys in a PKCS#11 token: of SoftHSM, which has to be there (Debian: softhsm2)'
	@echo 'make check   formatting, lint, types, import rules'
	@echo 'make bench   the speed table'
	@echo 'make docs    runs the documentation'
	@echo 'make lock    resolves requirements/*.in again'
	@echo 'make clean   removes everything made here, .venv and its siblings too'

demo: $(VENV)/.demo
	$(BIN)/backstory demo --replace

# One process more than the cores of a small machine: some tests wait for processes they started.
PYTEST := $(BIN)/python -m pytest -n 3 --dist worksteal

test: $(VENV)/.dev
	$(PYTEST)

quick: $(VENV)/.dev
	$(PYTEST) --quick

slow: $(VENV)/.dev
	$(PYTEST) --note-slow

soak: $(VENV)/.dev
	PYTEST_DEBUG_TEMPROOT=$${TMPDIR:-/tmp} BACKSTORY_CRASH_ROUNDS=200 BACKSTORY_CHAOS_ROUNDS=500 \
		BACKSTORY_POWER_ROUNDS=200 BACKSTORY_JOB_ROWS=5000000 BACKSTORY_FAULTS=all \
		$(BIN)/python -m pytest tests/crash tests/ledger/test_every_operation.py
	BACKSTORY_ENVIRONMENTS_MADE=1 $(BIN)/python -m pytest tests/debug/test_replay_environment.py tests/debug/test_bisect_packages.py
	$(MAKE) fuzz

fuzz: $(VENV)/.dev
	BACKSTORY_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -n 2 --dist worksteal tests/fuzz

feast: $(FEAST)/.feast
	PYTHONPATH=src $(FEAST)/bin/python -m pytest -p no:cacheprovider -W ignore --noconftest tests/feast/check_feast.py

torch: $(TORCH)/.torch
	PYTHONPATH=src $(TORCH)/bin/python -m pytest -p no:cacheprovider tests/torch/check_torch.py

hsm: $(HSM)/.hsm
	PYTHONPATH=src $(HSM)/bin/python -m pytest -p no:cacheprovider tests/hsm/check_hsm.py

check: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev $(PEERS)/.peers
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev
	$(BIN)/python -m pytest tests/docs

# Versions already locked stay; `make lock UPGRADE=--upgrade` takes the newest.
lock: $(VENV)/.python
	$(INSTALL) -r requirements/lock.txt
	$(COMPILE) --python-version 3.11 requirements/dev.in -o requirements/dev.txt
	$(COMPILE) --python-version 3.11 requirements/demo.in -c requirements/dev.txt -o requirements/demo.txt
	$(COMPILE) --python-version 3.11 --no-deps requirements/data.in -o requirements/data.txt
	$(COMPILE) --python-version 3.12 --no-deps requirements/foreign.in -o requirements/foreign.txt
	$(COMPILE) --python-version 3.11 requirements/peers.in -o requirements/peers.txt
	$(COMPILE) --python-version 3.11 requirements/feast.in -o requirements/feast.txt
	$(COMPILE) --python-version 3.11 --no-deps requirements/torch.in -o requirements/torch.txt
	$(COMPILE) --python-version 3.11 requirements/hsm.in -o requirements/hsm.txt
	$(COMPILE) --python-version 3.11 requirements/lock.in -o requirements/lock.txt

clean:
	rm -rf $(VENV) $(PEERS) $(FEAST) $(TORCH) $(HSM) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@python=$$($(FIND_PYTHON)) && echo "make: $(VENV) with $$($$python --version)" && $$python -m venv $(VENV)
	@touch $@

# The two stamps install the same versions, one a part of the other, so they can share an environment.
$(VENV)/.demo: $(VENV)/.python requirements/demo.txt requirements/data.txt pyproject.toml
	$(INSTALL) --only-binary :all: -r requirements/demo.txt
	$(INSTALL) --no-deps --no-build-isolation -r requirements/data.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.python requirements/dev.txt requirements/data.txt requirements/foreign.txt pyproject.toml
	$(INSTALL) --only-binary :all: -r requirements/dev.txt
	$(INSTALL) --no-deps --no-build-isolation -r requirements/data.txt
	$(INSTALL) --no-deps --ignore-requires-python -r requirements/foreign.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.demo

# Apart from ours, so that neither chooses a version for the other.
$(PEERS)/.peers: requirements/peers.txt
	@python=$$($(FIND_PYTHON)) && echo "make: $(PEERS) with $$($$python --version)" && $$python -m venv --clear $(PEERS)
	$(INSTALL:$(BIN)/%=$(PEERS)/bin/%) --only-binary :all: -r requirements/peers.txt
	@touch $@

$(FEAST)/.feast: requirements/feast.txt
	@python=$$($(FIND_PYTHON)) && echo "make: $(FEAST) with $$($$python --version)" && $$python -m venv --clear $(FEAST)
	$(INSTALL:$(BIN)/%=$(FEAST)/bin/%) --only-binary :all: -r requirements/feast.txt
	@touch $@

$(TORCH)/.torch: requirements/dev.txt requirements/torch.txt requirements/torch-cpu.txt
	@python=$$($(FIND_PYTHON)) && echo "make: $(TORCH) with $$($$python --version)" && $$python -m venv --clear $(TORCH)
	$(INSTALL:$(BIN)/%=$(TORCH)/bin/%) --only-binary :all: -r requirements/dev.txt -r requirements/torch.txt
	$(INSTALL:$(BIN)/%=$(TORCH)/bin/%) --no-deps --only-binary :all: -r requirements/torch-cpu.txt
	@touch $@

$(HSM)/.hsm: requirements/dev.txt requirements/hsm.txt
	@python=$$($(FIND_PYTHON)) && echo "make: $(HSM) with $$($$python --version)" && $$python -m venv --clear $(HSM)
	$(INSTALL:$(BIN)/%=$(HSM)/bin/%) --only-binary :all: -r requirements/dev.txt -r requirements/hsm.txt
	@touch $@
