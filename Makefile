# Each target sets up what it needs; a second run reinstalls nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
WORKERS ?= 3

# Compiled modules are kept, also where the environment says otherwise: every worker and every command
# that a test starts would compile them anew.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
.PHONY: help install demo test slow direct ways chaos lint format bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything, exactly as locked

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED) ## Show failover at work, over real HTTP and without any key
	@$(BIN)/amas-providers demo

test: $(INSTALLED) ## Run the tests, and refuse branch coverage below 95%
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal -m "not slow"
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

slow: $(INSTALLED) ## Run the tests that start and kill whole processes
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m slow

# Against another version, in an environment beside: make direct LITELLM=1.106.12. Where all is equal, its first
# two numbers may stand in TESTED (src/amas/providers/llm/way.py); until then `auto` goes LiteLLM's own way with it.
# How a provider differs: $(OTHER)/bin/python -m pytest tests/integration/test_direct_dispatch.py -k NAME
OTHER := .venv-litellm
OTHER_INSTALLED := $(OTHER)/.installed-$(LITELLM)

direct: $(if $(LITELLM),$(OTHER_INSTALLED),$(INSTALLED)) ## Prove for all providers that the direct way equals LiteLLM's own; LITELLM=1.2.3 takes that one
	AMAS_ALL_ROWS=1 $(if $(LITELLM),$(OTHER),$(VENV))/bin/python -m pytest --quiet -rN --tb=no --numprocesses $(WORKERS) --dist worksteal -m slow tests/integration/test_direct_dispatch.py

$(OTHER_INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(OTHER)
	$(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check litellm==$(LITELLM)
	$(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

ways: $(INSTALLED) ## Run all tests with `dispatch: direct`, then with `dispatch: litellm`
	$(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist worksteal --dispatch direct
	$(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist worksteal --dispatch litellm

chaos: $(INSTALLED) ## Send 20,000 calls through servers that fail in every way; read 10,000 generated configurations; alter 4,400 audit trails, and 20,000 answers for both ways
	@$(BIN)/python tests/chaos/chaos.py
	AMAS_FUZZ_ROUNDS=10000 AMAS_TAMPER_ROUNDS=4400 AMAS_WAYS_ROUNDS=2000 $(BIN)/python -m pytest -q tests/unit/test_providers/test_config_fuzz.py tests/unit/test_observability/test_audit_tampering.py tests/unit/test_providers/test_both_ways.py

lint: $(INSTALLED) ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports

format: $(INSTALLED) ## Put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The peers have an environment of their own, so that nothing of them is there in the tests.
PEERS := .venv-bench
PEERS_LOCK := tests/benchmarks/requirements.lock

bench: $(PEERS)/.installed ## Measure the overhead against peers; prints ratios
	@$(PEERS)/bin/python tests/benchmarks/failover.py
	@$(PEERS)/bin/python tests/benchmarks/observation.py
	@$(PEERS)/bin/python tests/benchmarks/peers.py

$(PEERS)/.installed: requirements.lock $(PEERS_LOCK)
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock --requirement $(PEERS_LOCK)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(INSTALLED) ## Resolve the dependencies anew, within what pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade --output-file requirements.lock pyproject.toml

clean: ## Remove what was built
	rm -rf $(VENV) $(PEERS) $(OTHER) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
