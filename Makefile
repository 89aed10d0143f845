# Every target sets up what it needs: Python 3.11 or newer and make are enough to begin.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?=
PACS ?=
OUT ?= demo-out
WORK ?= build/models
TOOLS := build/tools
SBOM_OF ?= $(BIN)/python
SECONDS ?= 60
SEED ?= 1
MINUTES ?= 30
DATABASE ?=

.PHONY: demo test lint models models-nodule models-brain models-chest fuzz soak audit sbom clean

demo: $(VENV)/.installed
	$(BIN)/dicomnode demo --out $(OUT) $(if $(STUDY),--study "$(STUDY)") $(if $(PACS),--pacs "$(PACS)")

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Seeded attacks on the real receiver, index and reader; prints what was tried and a verdict.
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -W ignore -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

# A node whose processes are killed all the time; DATABASE: the URL of an empty PostgreSQL database, else SQLite.
soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.crash.soak --minutes $(MINUTES) --seed $(SEED) $(if $(DATABASE),--database "$(DATABASE)")

# The shipped models, from nothing but seeds: phantoms, training, scores on held-out phantoms, the model card.
models: models-nodule models-brain models-chest

models-nodule: $(VENV)/.installed-dev
	$(call make_model,demo_nodule,phantom_nodule_ct_detection,nodules,--cases 110 --validation 8 --test 30)

models-brain: $(VENV)/.installed-dev
	$(call make_model,demo_brain,phantom_brain_mr_segmentation,brain,--cases 90 --validation 8 --test 16)

models-chest: $(VENV)/.installed-dev
	$(call make_model,demo_chest,phantom_chest_ct_segmentation,chest,--cases 120 --validation 4 --test 20)

# Of recipe, bundle, kind of phantom, and how many of them.
define make_model
rm -rf $(WORK)/$(1) && mkdir -p $(WORK)/$(1)
$(BIN)/dicomnode dataset phantom $(3) $(4) --out $(WORK)/$(1)/data
$(BIN)/dicomnode train $(1) --data $(WORK)/$(1)/data --out $(WORK)/$(1)/$(2) --model-file $(WORK)/$(1)/$(1).toml
$(BIN)/dicomnode evaluate $(WORK)/$(1)/$(1).toml --data $(WORK)/$(1)/data --out $(WORK)/$(1)/evaluation
$(BIN)/python -m dicomnode.train.scored_card $(WORK)/$(1)/$(2) --evaluation $(WORK)/$(1)/evaluation \
	--model-file $(WORK)/$(1)/$(1).toml --remarks config/models/$(1).md
rm -rf models/$(2) && cp -r $(WORK)/$(1)/$(2) models/ && cp $(WORK)/$(1)/$(1).toml config/models/
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dicomnode needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,train,openvino]'
	touch $@

# Whether a locked dependency is known to be vulnerable: 0 no, 1 yes, 3 it could not be found out.
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/python deploy/audit.py constraints.txt

# What the node is made of (CycloneDX 1.6, JSON), checked against its schema.
sbom: $(VENV)/.installed $(TOOLS)/.installed
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --spec-version 1.6 \
		--output-format JSON --output-reproducible --validate --output-file build/sbom.cdx.json $(SBOM_OF)

$(TOOLS)/.installed: deploy/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --requirement deploy/tools.txt
	touch $@

clean:
	rm -rf $(VENV) demo-out data build dist
