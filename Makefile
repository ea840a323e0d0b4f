# `make demo` and `make test` work on a fresh machine with Python >= 3.11, gcc and make; everything goes to .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py build_backend.py $(wildcard csrc/*.h csrc/*.cpp csrc/*/*)

# The oldest torch that pyproject.toml allows, such as 2.11, and what the environment gets.
OLDEST_TORCH := $(shell sed -n 's/.*"torch>=\([0-9.]*\)".*/\1/p' pyproject.toml)
TORCH := torch>=$(OLDEST_TORCH)

# What depends on torch's version: operations, layers, whole models, checkpoints, exported graphs, training. Of the
# importers only files and state dicts do, and the parity with torchvision has the same torch on both sides.
SENSITIVE := ops backbones necks preprocess heads models exporting weights/test_saved_imports.py \
	$(addprefix engine/test_,checkpoint.py module.py learners.py)
SENSITIVE_TESTS := $(wildcard $(addprefix tests/,$(SENSITIVE)))

# A file of tests stays in one process, for what its tests share; files begin in the order of tests/conftest.py.
PYTEST := python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# An environment with the oldest torch.
OLDEST := VENV=.venv-oldest TORCH="torch==$(OLDEST_TORCH).*"

.PHONY: install demo test test-oldest oldest-torch test-slow lint site benchmark clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

test: $(VENV)/.test-installed
	$(BIN)/$(PYTEST)

# The same with the oldest torch, in an environment of its own.
test-oldest:
	$(MAKE) $(OLDEST) .venv-oldest/.test-installed
	.venv-oldest/bin/$(PYTEST) $(SENSITIVE_TESTS)

oldest-torch:
	$(MAKE) $(OLDEST) .venv-oldest/.torch

# What takes long and rarely fails.
test-slow: $(VENV)/.test-installed
	$(BIN)/$(PYTEST) -m slow

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --no-warn-unused-configs tools
	$(BIN)/python tools/record_help.py --check

# The documentation as a site, in build/site; a link without a target fails.
site: $(VENV)/.docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir build/site

benchmark: $(VENV)/.installed
	$(BIN)/python tools/benchmark.py ops

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "detkit needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first: the native kernels are compiled against the one that will load them.
$(VENV)/.torch: | $(BIN)/python
	$(BIN)/python -m pip install "$(TORCH)" torchvision
	@touch $@

$(VENV)/.installed: $(SOURCES) $(VENV)/.torch
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/.test-installed: $(SOURCES) $(VENV)/.torch
	$(BIN)/python -m pip install --editable ".[test]"
	@touch $(VENV)/.installed $@

$(VENV)/.docs-installed: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) .venv-oldest build *.egg-info detkit/*.so runs
