# Every target sets up what it needs: Python 3.11 or newer and make are enough to begin.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?=
PACS ?=
OUT ?= demo-out

.PHONY: demo test lint models clean

demo: $(VENV)/.installed
	$(BIN)/dicomnode demo --out $(OUT) $(if $(STUDY),--study "$(STUDY)") $(if $(PACS),--pacs "$(PACS)")

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

models: $(VENV)/.installed-dev
	$(BIN)/python -m dicomnode.train.demo_chest --out models/phantom_chest_ct_segmentation --pin config/models/demo_chest.toml

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dicomnode needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,train,openvino]'
	touch $@

clean:
	rm -rf $(VENV) demo-out data build dist
