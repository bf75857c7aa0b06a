# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHOTO ?=
NAMES ?=
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo web test test-deploy lint format protos breaking report docs results bench bench-short clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One stamp per set of packages: a set is installed when pyproject.toml has changed.
$(VENV)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/serve: $(VENV)/pip pyproject.toml
	@echo 'installing the services into $(VENV) (PyTorch is large: a minute or more)'
	$(BIN)/pip install -qq --disable-pip-version-check -e '.[serve]'
	touch $@

$(VENV)/dev: $(VENV)/pip pyproject.toml
	@echo 'installing the development tools into $(VENV) (PyTorch is large: a minute or more)'
	$(BIN)/pip install -qq --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/serve $(VENV)/docs

# No PyTorch: the site can be built anywhere.
$(VENV)/docs: $(VENV)/pip pyproject.toml
	@echo 'installing the documentation tools into $(VENV)'
	$(BIN)/pip install -qq --disable-pip-version-check -e '.[docs]'
	touch $@

demo: $(VENV)/serve  ## send photos through three processes (PHOTO=mine.jpg for your own)
	$(BIN)/genjscc demo $(if $(PHOTO),--photo '$(PHOTO)')

web: $(VENV)/serve  ## a page to try photos, SNRs and schemes, at http://127.0.0.1:8080
	$(BIN)/genjscc web

# A file's tests run in one process: they share its services and folders.
test: $(VENV)/dev  ## run the tests, in two processes (JOBS=4 for more)
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

test-deploy: $(VENV)/dev  ## build the images and test them on a Docker engine
	$(BIN)/pytest -m engine -vv -ra tests/deploy

lint: $(VENV)/dev  ## ruff, mypy, buf, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint protos
	$(BIN)/python scripts/protos.py --check

format: $(VENV)/dev  ## write the code as the linters want it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(VENV)/dev  ## generate genjscc/v1 from protos/
	$(BIN)/python scripts/protos.py

breaking: $(VENV)/dev  ## does protos/ break clients of main?
	$(BIN)/buf breaking protos --against '.git#branch=main,subdir=protos'

report: $(VENV)/dev  ## docs/report from results/*.json
	$(BIN)/genjscc report

docs: $(VENV)/docs  ## the documentation as a site: site/index.html
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --jobs auto docs site
	@echo 'open site/index.html'

results: $(VENV)/dev  ## measure results/*.json again (hours; FILES='results/one.json' for some)
	$(BIN)/python scripts/results.py $(FILES)

# The servers that ours are compared with, each in an environment of its own.
.peers: benchmarks/peers/requirements.txt benchmarks/peers/install.py | $(VENV)/dev
	-$(BIN)/python benchmarks/peers/install.py $@
	touch $@

bench: $(VENV)/dev .peers  ## measure results/bench_*.json (NAMES='floors peers' for some); needs an idle machine
	$(BIN)/python benchmarks/run.py $(NAMES)

bench-short: $(VENV)/dev .peers  ## run the benchmarks for seconds each: no figures
	$(BIN)/python benchmarks/run.py --short $(NAMES)

clean:  ## remove the environment and what the tools left
	rm -rf $(VENV) .peers .mypy_cache .pytest_cache .ruff_cache .hypothesis demo site docs/generated
