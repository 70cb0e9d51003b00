# Two commands for a newcomer: `make demo` and `make test`. Every target sets up what it needs first.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.set-up
export UV_PROJECT_ENVIRONMENT := $(VENV)

.PHONY: setup demo test lint bench clean

setup: $(STAMP)

# uv lives inside the virtual environment, so that nothing outside this folder is touched.
$(STAMP): pyproject.toml uv.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv sync --locked --inexact --quiet
	@touch $(STAMP)

demo: setup
	$(BIN)/cacheon-ledger demo $(ARGS)

test: setup
	$(BIN)/pytest $(ARGS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
