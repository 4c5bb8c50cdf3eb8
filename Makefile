# Two commands do everything on a machine that has Python 3.11+, git and make:
#   make demo    the whole path, judged; options go on with ARGS="--seconds 30 --no-dagster"
#   make test    every check and every test
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test check dev clean $(VENV)

demo: $(VENV)/.installed
	$(BIN)/kalshi-platform demo $(ARGS)

test: check $(VENV)/.spark
	$(BIN)/python -m pytest -n auto -m "not slow"
	$(BIN)/python -m pytest -n auto -m slow

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(VENV)/.installed
	$(BIN)/dagster dev

# The stamp is made last: an installation that was interrupted is begun again.
$(VENV): $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[simulator,local,dagster,notebooks,questdb,dev]'
	touch $@

# Where there is a Java, the tests also hold Spark (430 MB) against DuckDB; elsewhere that one says why it is skipped.
$(VENV)/.spark: $(VENV)/.installed
	! command -v java >/dev/null || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[spark]'
	touch $@

clean:
	rm -rf $(VENV)
