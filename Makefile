# Every target sets up what it needs in .venv; a second call finds it there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/installed-demo
TEST := $(VENV)/installed-test
COVERAGE :=
PYTEST := $(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile -rs

# What `make check` runs: the rules of the house, and of the engine what comes before any network, that is files and
# volumes, the worker's messages, and the command line's options. A minute on two cores.
QUICK := Testing/test_house_*.py $(foreach area,atomic boxes volume_* worker_protocol cli_options,Testing/engine/test_$(area).py)

.PHONY: demo test coverage check kill-test screenshots lint format cmake-list package clean distclean

demo: $(DEMO)
	$(BIN)/qnetseg demo

test: lint
	@$(BIN)/python -c 'import PySide6.QtWidgets, vtk' || { echo "Qt and VTK need libraries of the system for" \
	  "drawing: on Debian and Ubuntu, apt install libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1." >&2; exit 1; }
	$(PYTEST) $(COVERAGE) --durations=15

# The same, and which lines no test ran: counting slows the tests, so it has a target of its own.
coverage: COVERAGE := --cov --cov-report=term
coverage: test

# Before each commit; `make test` is the whole.
check: lint
	$(PYTEST) $(QUICK)

# Kills and signals at any time, with the real worker: what is left of a patient, and of the results?
kill-test: $(TEST)
	$(BIN)/python Testing/kill_test.py

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=QNetSegment/Logic:Training $(BIN)/lint-imports

# The pictures in docs/screenshots; the panel runs on stand-ins for Slicer's widgets.
screenshots: $(TEST)
	$(BIN)/python Testing/screenshots.py

format: $(TEST)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

# Rewrites the lists of files in QNetSegment/CMakeLists.txt.
cmake-list:
	$(PYTHON) Testing/cmake_list.py

# The tree that the extension installs, in build/package.
package: $(TEST)
	$(BIN)/python Testing/package_extension.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
	  { echo "QNetSegment needs Python 3.10 to 3.12: name one, as in 'make PYTHON=python3.11 test'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is not complete: install it (on Debian: apt install python3-venv) and call make again." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO): pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[demo]'
	@touch $@

$(TEST): pyproject.toml Training/pyproject.toml requirements.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[demo,slicer,test]' --editable ./Training
	@touch $@ $(DEMO)

clean:
	rm -rf build dist htmlcov demo-output .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis *.egg-info QNetSegment/Logic/*.egg-info Training/*.egg-info Training/build
	find QNetSegment Testing Training -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
