# labkit: every target sets up .venv by itself, once, and again only when pyproject.toml or constraints.txt change.
#
#   make pipeline     pre-train, adapt, distil, quantise, measure; ends in a table      ARGS="--model minilm"
#   make test         style, layers, tests, every lesson, demos, assignments            ARGS="-k world"
#   make lab          JupyterLab on the course
#   make zoo          build the micro models that are missing                           ARGS="micro-bert-en"
#   make notebooks    run every lesson and compare its tagged outputs
#   make site         the course as a web page, in site/
#   make clean        remove what builds and tests left; keeps .venv and runs/

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
ARGS ?=
# For a CPU-only torch on Linux: make TORCH_INDEX=https://download.pytorch.org/whl/cpu pipeline
TORCH_INDEX ?=

# DeepSpeed builds against the torch that is there, so it comes after the rest; nothing is compiled.
LINUX = $(filter Linux,$(shell uname -s))

BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(PINS)
# The pins need Python 3.11; on 3.10 pip chooses within the ranges of pyproject.toml.
PINS = $(shell $(BIN)/python -c 'import sys; print("-c constraints.txt" if sys.version_info >= (3, 11) else "")')

.PHONY: help pipeline test lab zoo notebooks site clean
.DEFAULT_GOAL := help

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

$(BIN)/python:
	@echo "labkit: making the environment $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "labkit needs Python 3.10 or later; try make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	@echo "labkit: installing what the pipeline needs into $(VENV) (once; 1 to 5 minutes)"
	@$(PIP) -e ".[demos,minilm]"
	@touch $@

$(VENV)/.full: pyproject.toml constraints.txt | $(VENV)/.core
	@echo "labkit: installing JupyterLab, test tools and the other extras into $(VENV) (once; 2 to 6 minutes)"
	@$(PIP) -e ".[all]"
	@$(if $(LINUX),DS_BUILD_OPS=0 $(PIP) --no-build-isolation -e ".[deepspeed]",echo "labkit: DeepSpeed is left out here")
	@touch $@

pipeline: $(VENV)/.core
	@echo "labkit: running the pipeline into runs/pipeline (Ctrl-C keeps what is done; ARGS=--resume goes on)"
	@$(BIN)/labkit pipeline --out runs/pipeline $(ARGS)

# Every cell of a lesson is a test: its tagged outputs are compared with the committed ones.
NBVAL = --nbval-lax --nbval-current-env --nbval-cell-timeout=120

test: $(VENV)/.full
	@echo "labkit: checking style, then running tests and lessons in $(WORKERS) processes"
	@$(BIN)/ruff check .
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(NBVAL) $(ARGS) tests notebooks

lab: $(VENV)/.full
	@echo "labkit: opening JupyterLab (Ctrl-C twice stops it)"
	@$(BIN)/labkit lab -- $(ARGS)

site: $(VENV)/.full
	@echo "labkit: making a web page of the course in site/"
	@$(BIN)/labkit site build $(ARGS)

zoo: $(VENV)/.core
	@echo "labkit: building the zoo (models that are there already are kept)"
	@$(BIN)/labkit zoo build $(ARGS)

notebooks: $(VENV)/.full
	@echo "labkit: running every lesson"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(NBVAL) $(ARGS) notebooks

clean:
	@echo "labkit: removing build products and caches; $(VENV) and runs/ stay"
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
