# One word for each thing a developer does. Every target sets up its own environment first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

export OMP_NUM_THREADS ?= 1

.PHONY: demo test fuzz lint oldest bench accuracy reliability docs dist clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lint,test]"
	touch $@

demo: .venv/ready ## the quickstart: digits 5 to 9 from one example each, after training on 0 to 4
	$(BIN)/python examples/quickstart.py

test: lint ## linters, types, tests, docstring examples, and the accuracy benchmark cut short
	$(BIN)/python -m pytest -n auto
	$(BIN)/python benchmarks/accuracy.py --quick

fuzz: .venv/ready ## the tests on newly drawn examples: hypothesis draws the same ones each time otherwise
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n auto

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

oldest: ## the tests with the oldest scikit-learn and skorch that pyproject.toml allows
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[test]"
	.venv-oldest/bin/python -m pytest -n auto

# easyfsl asks for torchvision, which its heads and samplers do not need
.venv/bench: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps easyfsl
	touch $@

bench: .venv/bench ## every speed benchmark beside its peer, into docs/performance.md; half an hour
	$(BIN)/python benchmarks/performance.py

accuracy: .venv/ready ## every method on three data sets, into docs/accuracy.md; 3 hours on one core
	$(BIN)/python benchmarks/accuracy.py

.venv/docs: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

reliability: .venv/ready ## what docs/reliability.md prints beyond the tests; half an hour
	$(BIN)/python benchmarks/interruptions.py
	$(BIN)/python benchmarks/signal_storm.py
	$(BIN)/python benchmarks/long_runs.py
	$(BIN)/python benchmarks/mutations.py --n 10000
	$(BIN)/python benchmarks/rejection_rates.py
	$(BIN)/python benchmarks/readers_and_writer.py

docs: .venv/docs ## the documentation, examples run, into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

.venv/dist: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dist]"
	touch $@

dist: .venv/dist ## wheel and sdist, each tried: installed alone, it runs the quickstart
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tools/try_distribution.py dist/*

clean:
	rm -rf .venv .venv-oldest dist docs/_build docs/auto_examples docs/api/generated
