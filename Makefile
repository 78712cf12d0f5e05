SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
SIZES ?= 100,500,1000,5000
WALKS ?= 100
MINUTES ?= 60
BIN := .venv/bin
# One more than there are cores: half of the cases on a real API server wait for most of their time.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
PYTEST := $(BIN)/pytest
# The suites with slow cases first: the short cases of the last ones then keep all workers busy to the end.
SUITES ?= tests/integration tests/contract tests/monitoring tests/gitops tests/golden tests/stories tests/unit
# loadgroup: cases that share something (tests/groups.py) stay in one worker; any other goes to the next idle one.
PARALLEL := -n $(WORKERS) --dist loadgroup
UV_COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11

##@ Start here

.PHONY: help
help: ## Explain every target
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install ## The main job on a real cluster: v1 serves, the alias moves, a bad version is reverted
	$(BIN)/python -m tests.demo

.PHONY: test
test: install programs ## All suites on all cores, also contract (real MLflow) and integration (real kube-apiserver); SUITES=tests/golden WORKERS=4 choose
	$(PYTEST) $(PARALLEL) $(SUITES)

##@ Cluster

.PHONY: cluster
cluster: install ## A real Kubernetes: kind where Docker answers, otherwise our own single node
	$(BIN)/python -m tests.cluster up

.PHONY: cluster-down
cluster-down: install ## Remove that cluster without a trace
	$(BIN)/python -m tests.cluster down

.PHONY: images
images: install ## Build the operator's and the default serving image
	$(BIN)/python -m tests.images build

##@ Checks

.PHONY: check
check: install ## Linter, formatter, types, import contracts, unit and stories, all at once: builds nothing, needs no network
	@$(BIN)/python -m tests.checks

.PHONY: e2e
e2e: install ## The stories on real pods, one case per class of fault
	$(BIN)/python -m tests.provision cluster
	$(PYTEST) tests/e2e

.PHONY: e2e-full
e2e-full: install ## The whole table of stories on real pods
	$(BIN)/python -m tests.provision cluster
	$(PYTEST) tests/e2e -m "full or not full"

.PHONY: kills
kills: install programs ## The operator is killed before and after every write of every life, and again
	MODEL_OPERATOR_KILLS=all $(PYTEST) -s tests/integration/lives/endurance/test_kills.py

.PHONY: walk
walk: install programs ## 100 random specs that change to others and back; WALKS=500 chooses how many
	MODEL_OPERATOR_WALKS=$(WALKS) $(PYTEST) -s tests/integration/lives/endurance/test_spec_walk.py

.PHONY: at-rest
at-rest: install programs ## 1,000 settled ModelDeployments for ten minutes: not one write
	MODEL_OPERATOR_REST_OBJECTS=1000 MODEL_OPERATOR_REST_SECONDS=600 \
	  $(PYTEST) -s tests/integration/lives/endurance/test_at_rest.py

.PHONY: soak
soak: install programs ## Everything at random for an hour; MINUTES=5 SEED=7 chooses
	$(BIN)/python -m tests.integration.lives.endurance.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: wire
wire: install programs ## Whole lives on a faulty wire to the API server and the registry, with a minute of outage (about 5 minutes)
	$(PYTEST) -m "full or not full" tests/integration/test_kube_wire.py tests/integration/lives/test_wire.py \
	  tests/integration/lives/test_stale_leader.py

.PHONY: verify
verify: install ## Linters, types, floors, and generated files without drift
	@test ! -e operator/__init__.py || { echo "operator/__init__.py shadows Python's own operator module: remove it"; exit 1; }
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m model_operator.api.crd --check crds/modeldeployments.yaml
	cmp crds/modeldeployments.yaml charts/model-operator/files/modeldeployments.yaml
	$(BIN)/python -m hack.generators --check
	@$(MAKE) -s .venv/audit/installed
	@$(BIN)/python -m hack.supply_chain.audit || [ $$? -eq 3 ] # 3: could not be checked, which it says

.PHONY: audit
audit: install .venv/audit/installed ## Known vulnerabilities of the operator's dependencies; fails when they can't be looked up
	$(BIN)/python -m hack.supply_chain.audit

.PHONY: sbom
sbom: install .venv/audit/installed ## What the operator's image installs, as a CycloneDX bill of materials: sbom.cdx.json
	.venv/audit/bin/cyclonedx-py requirements requirements/operator.txt --pyproject pyproject.toml \
	  --mc-type application --output-reproducible --output-format JSON --output-file sbom.cdx.json

.PHONY: format
format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: generate
generate: install ## Make anew what is generated: CRD, field reference, table of values, plain manifests
	$(BIN)/python -m model_operator.api.crd > crds/modeldeployments.yaml.new
	mv crds/modeldeployments.yaml.new crds/modeldeployments.yaml
	cp crds/modeldeployments.yaml charts/model-operator/files/modeldeployments.yaml
	$(BIN)/python -m hack.generators

.PHONY: pod-fields
pod-fields: install programs ## Kubernetes' own fields for `kubectl model lint`, from the API server of the tests and the releases before it
	$(BIN)/python -m tests.integration.pod_fields

##@ Benchmarks

.PHONY: benchmark-registry
benchmark-registry: install programs ## Cost of polling 5,000 models, and time from alias move to first write
	$(BIN)/python -m benchmarks.registry

.PHONY: dashboard-picture
dashboard-picture: install programs ## Draw the dashboard's panels with data of a real Prometheus: docs/pictures/dashboard.png
	$(BIN)/python -m tests.monitoring.picture docs/pictures/dashboard.png

.PHONY: benchmark-serving
benchmark-serving: install ## Requests a second of serve.py beside MLflow's server, MLServer and the least, on one core
	$(BIN)/python -m benchmarks.serving

.PHONY: benchmark-scale
benchmark-scale: install programs ## 100 to 5,000 ModelDeployments: time, writes, memory, fairness; SIZES=100,500 chooses
	$(BIN)/python -m benchmarks.scale --sizes $(SIZES)
	$(BIN)/python -m benchmarks.fairness

##@ Captures

.PHONY: captures
captures: install programs ## Make the captures of a terminal in the pages anew, from a real run
	$(BIN)/python -m tests.captures

##@ Set-up

.PHONY: install
install: .venv/installed ## The Python environment in .venv, exactly as locked
.venv/installed: requirements/dev.txt pyproject.toml
	@echo "Installing the locked Python environment into .venv (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv 2>/dev/null || { echo "Installing Debian's python3-venv"; apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qqy python3-venv >/dev/null; $(PYTHON) -m venv .venv; }
	@grep -A40 '^uv==' requirements/dev.txt | awk 'NR == 1 || /--hash/ {print} NR > 1 && !/--hash/ {exit}' > .venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/audit/installed: requirements/audit.txt | .venv/installed
	@$(BIN)/uv venv --quiet --allow-existing .venv/audit
	@$(BIN)/uv pip sync --quiet --python .venv/audit/bin/python requirements/audit.txt
	@touch $@

.PHONY: programs
programs: install ## Build or find what the suites run: a control plane, helm, an environment with MLflow
	@$(BIN)/python -m tests.provision suites

.PHONY: lock
lock: install ## Choose the newest allowed dependencies and lock them, with hashes
	$(UV_COMPILE) --upgrade pyproject.toml --extra dev --extra cli -o requirements/dev.txt
	$(UV_COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/operator.txt
	$(UV_COMPILE) --upgrade requirements/mlflow.in -o requirements/mlflow.txt
	$(UV_COMPILE) --upgrade requirements/mlflow2.in -o requirements/mlflow2.txt
	$(UV_COMPILE) --upgrade requirements/object-store.in -o requirements/object-store.txt
	$(UV_COMPILE) --upgrade requirements/mlserver.in -o requirements/mlserver.txt
	$(UV_COMPILE) --upgrade requirements/audit.in -o requirements/audit.txt

.PHONY: clean
clean: ## Remove the Python environment and caches of this checkout (the cluster stays)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
