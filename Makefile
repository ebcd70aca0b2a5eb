# What a person types. Everything is installed into .venv from requirements.lock first, if it is not there yet.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

bin := $(CURDIR)/.venv/bin
python := $(bin)/python
# Two processes by default: the tests start databases and proxies of their own, more of them only wait for each other.
WORKERS ?= 2
ARGS ?=

.PHONY: help demo demo-kubernetes test test-long check bench docs lock clean install

help: ## what can be made
	@echo 'make TARGET'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
	  printf '  %-16s %s\n' "$$name" "$$text"; done

demo: install ## the whole story on this machine, with orders flowing; ends with build/demo/report.json
	@$(bin)/openbell demo $(ARGS)

demo-kubernetes: install ## the same story on a cluster; ends with build/demo-kubernetes/report.json
	@.ci/demo-kubernetes $(ARGS)

test: install ## all tests, those of openbell and those of the engine
	@.ci/test -n $(WORKERS) $(ARGS)

test-long: install ## what takes minutes: kills and outages on a cluster, with orders flowing
	@$(bin)/pytest -m long $(ARGS)

check: install ## format, lint, types, layers, rules about the tree, dead code
	@$(MAKE) -k -j2 --output-sync=target $(checks)

bench: install ## measure, each time beside a peer; results in build/bench
	@for bench in bench/*.py; do $(python) "$$bench"; done

docs: install ## write again the documents that are generated from the code
	@$(python) -m docs.generate

lock: ## resolve the dependencies anew into requirements.lock
	@.ci/lock $(ARGS)

clean: ## remove .venv and everything that was built
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage coverage.xml
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: ## bring .venv to what requirements.lock says; every other target does it first
	@.ci/bootstrap

# The checks, each a target of its own: make check-types.
checks := check-format check-lint check-types check-layers check-rules check-dead-code check-engine-lint check-engine-types
.PHONY: $(checks)

# $(call step,name,command): run it; say one line if it passes, everything it printed if it does not.
define step
@if output=$$( ($(2)) 2>&1 ); then printf '%-14s ok      %3d s\n' '$(1)' $$SECONDS; \
else printf '%-14s FAILED  %3d s\n%s\n' '$(1)' $$SECONDS "$$output"; exit 1; fi
endef

check-format:
	$(call step,format,$(bin)/ruff format --check .)

check-lint:
	$(call step,lint,$(bin)/ruff check .)

check-types:
	$(call step,types,$(bin)/mypy)

check-layers:
	$(call step,layers,$(bin)/lint-imports --no-cache)

check-rules:
	$(call step,rules,$(bin)/pytest tests/repo)

check-dead-code:
	$(call step,dead code,$(python) -m tests.repo.dead_code)

check-engine-lint:
	$(call step,engine lint,cd engine && $(bin)/ruff format --check . && $(bin)/ruff check .)

check-engine-types:
	$(call step,engine types,cd engine && $(bin)/mypy)
