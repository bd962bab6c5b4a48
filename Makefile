# Every target sets up what it needs in .venv; a second call finds it there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/installed-demo
TEST := $(VENV)/installed-test

.PHONY: demo test screenshots lint format cmake-list package clean distclean

demo: $(DEMO)
	$(BIN)/qnetseg demo

test: lint
	@$(BIN)/python -c 'import PySide6.QtWidgets, vtk' || { echo "Qt and VTK need libraries of the system for" \
	  "drawing: on Debian and Ubuntu, apt install libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1." >&2; exit 1; }
	$(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile -rs --cov --cov-report=term

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

$(DEMO): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(TEST): pyproject.toml Training/pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo,slicer,test]' --editable ./Training
	@touch $@ $(DEMO)

clean:
	rm -rf build dist htmlcov demo-output .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis *.egg-info QNetSegment/Logic/*.egg-info Training/*.egg-info Training/build
	find QNetSegment Testing Training -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
