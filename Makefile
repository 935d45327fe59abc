# Every target sets itself up on a machine that has python3 (3.11 or newer) and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo scoreboard test bench lint generate lock cluster cluster-down kind kind-down test-kind base-image wheels clean

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/installed
	$(BIN)/steelyard-sim compare simulations/scenarios/demo.yaml --plan-replays 6 $(if $(TRACE),--trace $(TRACE)) --html out/demo.html --json out/demo.json

# Every peer, at its default and tuned, against the plan: SUITE=quick takes minutes, SUITE=full a CPU-day.
SUITE ?= quick
scoreboard: .venv/installed out/trust.json
	$(BIN)/steelyard-sim scoreboard $(SUITE) --out out/scoreboard-$(SUITE) --trust out/trust.json

# What the figures rest on; made once, a minute or two.
out/trust.json: .venv/installed
	$(BIN)/steelyard-sim trust --json $@

# One worker more than there are cores: tests of the operator wait in real time for a third of theirs.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
test: .venv/installed
	$(BIN)/pytest -n $(WORKERS)

bench: .venv/installed
	$(BIN)/python -m simulations.bench
	PYTHONPATH=tests $(BIN)/python -m operatorbench --objects 10 100 1000

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache . # a cached answer misses a file that became part of a package
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: .venv/installed
	$(BIN)/python -m controller.api.crd > crds/modeldeployments.yaml
	$(BIN)/python -m controller.adapters.prometheus.rules manifests/monitoring

# The locks pin every package by hash and name no index; those of the images hold a part of the first.
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate pyproject.toml
lock:
	$(LOCK) --extra simulations --extra emulator --extra dask --extra peers --group dev -o requirements.lock
	$(LOCK) --constraint requirements.lock -o requirements-runtime.lock
	$(LOCK) --constraint requirements.lock --extra simulations --extra emulator -o requirements-emulator.lock

# A real control plane with fake GPU nodes, as plain processes; builds it on first use.
cluster: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m controlplane up

cluster-down: .venv/installed
	PYTHONPATH=tests $(BIN)/python -m controlplane down

# A cluster to play with; what is needed and what can be named otherwise: manifests/kind/up.sh
kind: .venv/installed
	PYTHON=$(abspath $(BIN)/python) manifests/kind/up.sh

kind-down:
	manifests/kind/down.sh

# Makes, checks and ends such a cluster; needs Docker, so it is no part of `make test`.
test-kind: .venv/installed
	STEELYARD_TEST_KIND=1 $(BIN)/pytest -m kind tests/kind

# Where nothing can be pulled: a base image out of Debian's packages, and Python's packages beside it.
base-image:
	manifests/kind/base-image.sh

wheels: .venv/installed
	$(BIN)/pip download --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
	  -r requirements-emulator.lock -d build/wheels

clean:
	rm -rf .venv out build
