# Two commands for a newcomer: `make demo` and `make test`. Every target sets up what it needs first.
#
#   make demo ARGS="--no-serve --format json"
#   make test ARGS="tests/unit -k interval"
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# Lies in the environment while it is being made or changed, so that one that was interrupted
# half-way is never taken for whole.
HALF_MADE := $(VENV)/.half-made
# Tests run in so many processes at once; WORKERS=0 runs them in one.
WORKERS := 2
# The major version of uv that wrote the lock file.
UV := uv>=0.13,<0.14
# The first of these that is new enough and can make virtual environments is used.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11

export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
# As pip does: a package index behind a private authority works if the system trusts that authority.
export UV_SYSTEM_CERTS := 1

.DELETE_ON_ERROR:
.PHONY: setup demo test lint bench properties wheels clean

setup: $(STAMP)

# uv lives inside the virtual environment, so that nothing outside this folder is touched. What it
# says goes to stderr: the output of `make demo ARGS="--format json"` is the document and nothing else.
# Libraries are compiled here, once: where the environment forbids Python to write bytecode (many
# images set PYTHONDONTWRITEBYTECODE), each process would compile them anew and start half as fast.
$(STAMP): pyproject.toml uv.lock
	@{ set -eu; \
	whole() { \
	    test ! -e $(HALF_MADE) \
	    && $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    && $(BIN)/uv --version >/dev/null 2>&1; \
	}; \
	if ! whole; then \
	    found= ; lacks= ; \
	    for python in $(PYTHON); do \
	        "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	        if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found="$$python"; break; fi; \
	        lacks="$${lacks:-$$python}"; \
	    done; \
	    if test -z "$$found" && test -n "$$lacks"; then \
	        echo "make: $$lacks cannot make virtual environments (it has no venv and ensurepip);" \
	            "install them, on Debian with 'apt-get install python3-venv', and run make again" >&2; \
	        exit 1; \
	    elif test -z "$$found"; then \
	        echo "make: no Python 3.11 or newer among: $(PYTHON); install one, or name it:" \
	            "make setup PYTHON=/path/to/python3" >&2; \
	        exit 1; \
	    fi; \
	    echo "setting up $(VENV) with $$found (about a minute, once)" >&2; \
	    rm -rf $(VENV); mkdir $(VENV); touch $(HALF_MADE); \
	    "$$found" -m venv $(VENV); \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)'; \
	fi; \
	touch $(HALF_MADE); \
	$(BIN)/uv sync --locked --all-extras --inexact --quiet --compile-bytecode \
	    --python $(BIN)/python; \
	rm -f $(HALF_MADE); \
	touch $(STAMP); } >&2

demo: setup
	@$(BIN)/cacheon-ledger demo $(ARGS)

test: setup
	@$(BIN)/python -m compileall -q ledger chain evaluation api migrations # for all who start it
	$(BIN)/pytest -n $(WORKERS) $(ARGS)

# The books' state machine (tests/property/books), as many steps as one has time for.
properties: setup
	LEDGER_PROPERTY_STEPS=$(or $(STEPS),100000) $(BIN)/pytest tests/property/books $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)

# What a contest needs on a machine without a package index, in dist/contest:
#   make wheels ARGS="--python 3.12 --platform manylinux_2_28_x86_64"
wheels: setup
	$(BIN)/python -m wheels $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
