# Every target sets itself up on a machine that has python3 (3.11 or newer) and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test bench lint generate lock clean

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: .venv/installed
	$(BIN)/steelyard-sim compare simulations/scenarios/demo.yaml --plan-replays 6 $(if $(TRACE),--trace $(TRACE)) --html out/demo.html --json out/demo.json

test: .venv/installed
	$(BIN)/pytest -n auto

bench: .venv/installed
	$(BIN)/python -m simulations.bench

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: .venv/installed
	$(BIN)/python -m controller.api.crd > crds/modeldeployments.yaml

# The locks pin every package by hash and name no index; those of the images hold a part of the first.
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate pyproject.toml
lock:
	$(LOCK) --extra simulations --extra emulator --group dev -o requirements.lock
	$(LOCK) --constraint requirements.lock -o requirements-runtime.lock
	$(LOCK) --constraint requirements.lock --extra simulations --extra emulator -o requirements-emulator.lock

clean:
	rm -rf .venv out
