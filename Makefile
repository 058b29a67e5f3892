# Needs only make and Python >= 3.11. Every target sets up .venv by itself.
PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed
ARGS ?=

existing = $(wildcard $(1))
CHECKED := $(call existing,src benchmarks examples tests tools)
TYPED := $(call existing,src/makegood benchmarks tests/typing tools)
EXAMPLES := $(patsubst %/,%,$(wildcard examples/[0-9]*_*/))
SERVICE_KIT := $(wildcard examples/service_kit)

.PHONY: help demo check format test bench pins clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     run the e-commerce order saga on real services, with faults and kills"
	@echo "make test     run every check and every test"
	@echo "make check    format, lint, types, architecture, dead code, module length"
	@echo "make format   apply the formatter and the linter's safe fixes"
	@echo "make bench    run a benchmark: make bench ARGS='order --runs 10000 --in-flight 1000'"
	@echo "make pins     renew requirements/dev.txt (needs uv)"
	@echo "make clean    remove .venv and caches"
	@echo "PYTHON=python3.12 chooses the interpreter for .venv (3.11 or newer)."

demo: $(STAMP)
	@$(BIN)/makegood demo $(ARGS)

# Each example is type-checked from its own directory, as it is run: siblings are imported by plain name.
check: $(STAMP)
	@echo "format";        $(BIN)/ruff format --quiet --check $(CHECKED)
	@echo "lint";          $(BIN)/ruff check --quiet $(CHECKED)
	@echo "types";         $(BIN)/mypy --no-error-summary $(TYPED)
	@set -e; if [ -n "$(SERVICE_KIT)" ]; then \
		echo "types of $(SERVICE_KIT)"; \
		(cd examples && MYPYPATH=. $(BIN)/mypy --no-error-summary --config-file $(CURDIR)/pyproject.toml service_kit); \
	fi; \
	for example in $(EXAMPLES); do \
		echo "types of $$example"; \
		(cd $$example && MYPYPATH=..:. $(BIN)/mypy --no-error-summary --config-file $(CURDIR)/pyproject.toml .); \
	done
	@echo "architecture";  $(BIN)/lint-imports --no-logo > .venv/lint-imports.txt || { cat .venv/lint-imports.txt; exit 1; }
	@echo "dead code";     $(BIN)/vulture $(CHECKED)
	@echo "module length"; $(BIN)/python tools/check_module_length.py src/makegood

format: $(STAMP)
	@$(BIN)/ruff check --quiet --fix $(CHECKED); $(BIN)/ruff format $(CHECKED)

# Three processes beside each other: the crash matrices, what users see from outside, and all the rest.
OUTSIDE := tests/cli tests/docs tests/e2e
test: check
	@$(BIN)/python -m pytest tests/faults > .venv/faults.txt 2>&1 & faults=$$!; \
	$(BIN)/python -m pytest $(OUTSIDE) > .venv/outside.txt 2>&1 & outside=$$!; \
	$(BIN)/python -m pytest $(foreach other,tests/faults $(OUTSIDE),--ignore=$(other)) $(ARGS); rest=$$?; \
	echo "tests of the command line, the documentation and whole processes"; \
	wait $$outside; outside=$$?; cat .venv/outside.txt; \
	echo "crash matrices"; wait $$faults; faults=$$?; cat .venv/faults.txt; \
	exit $$((rest + outside + faults))
	@set -e; if [ -n "$(SERVICE_KIT)" ]; then \
		echo "tests of $(SERVICE_KIT)"; \
		(cd $(SERVICE_KIT) && PYTHONPATH=.. $(BIN)/python -m pytest --rootdir=. --override-ini=pythonpath= tests); \
	fi; \
	for example in $(EXAMPLES); do \
		echo "tests of $$example"; \
		(cd $$example && PYTHONPATH=..:. $(BIN)/python -m pytest --rootdir=. --override-ini=pythonpath= tests); \
	done

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)

pins:
	uv pip compile pyproject.toml --extra examples --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --strip-extras --upgrade --quiet \
		--output-file requirements/dev.txt

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests examples benchmarks tools -type d \
		\( -name __pycache__ -o -name .mypy_cache -o -name .pytest_cache \) -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "makegood needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another interpreter: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version 2>&1)"
	@$(PYTHON) -m venv .venv || { \
		echo "No virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing the pinned dependencies"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@echo "installing makegood"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
