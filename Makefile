# `make demo` and `make test` work on a fresh machine with Python >= 3.11, gcc and make; everything goes to .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py build_backend.py $(wildcard csrc/*.h csrc/*.cpp csrc/*/*)

.PHONY: install demo test lint benchmark cuda clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python tools/demo.py

# A file of tests stays in one process, for what its tests share.
test: $(VENV)/.test-installed
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

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
	$(BIN)/python -m pip install "torch>=2.11" torchvision
	@touch $@

$(VENV)/.installed: $(SOURCES) $(VENV)/.torch
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/.test-installed: $(SOURCES) $(VENV)/.torch
	$(BIN)/python -m pip install --editable ".[test]"
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build *.egg-info detkit/*.so runs
