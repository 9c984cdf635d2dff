# `make demo` runs the main job, `make test` the tests, `make bench` the benchmarks (a quarter of an hour); each sets up .venv
# first. Nothing else is needed before either. `make fuzz` runs the property tests for some minutes with new random inputs,
# `make test-more` the tests marked `more`: those that need a browser, a notebook, a cluster or a second Python. `make test-other`
# runs what must hold with both kinds of Python.
#
# .venv is made with Python 3.11, 3.10 or 3.9 (TensorFlow 2.15) if one is there, else with 3.13 or 3.12 (TensorFlow 2.21).
# `make PYTHON=python3.12` chooses; VENV= is the folder.
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
ifdef PYTHON
VERSION := -c 'import sys; print(sys.version_info[:2])' 2>/dev/null
ifneq ($(shell "$(PYTHON)" $(VERSION)),$(shell "$(BIN)/python" $(VERSION)))
.PHONY: $(READY)
endif
endif
PYTHON ?= $(shell .ci/find_python 11 10 9 13 12)
WORK_DIR ?= runs/digits

.PHONY: ready demo test test-more test-other fuzz bench seeds studies studies-page lint format
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/python main.py --flagfile=flags/presets/digits.flags --work_dir=$(WORK_DIR)

test: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

# Status 5: no test is marked.
test-more: $(READY)
	$(BIN)/python -m pytest -m more || [ $$? = 5 ]

# With the other kind of Python, and between both; OTHER_PYTHON= names one.
test-other: $(READY)
	PYTHON=$(BIN)/python .ci/test_other

fuzz: $(READY)
	$(BIN)/python -m pytest -m "hypothesis and not more" --hypothesis-profile=fuzz --timeout=3600 --numprocesses=2 --dist=load

bench: $(READY)
	$(BIN)/python -m benchmarks.bench

seeds: $(READY)
	$(BIN)/python -m benchmarks.seeds

# Trains what has no result yet; may be stopped at any moment. SEEDS=0,1 for these alone, STUDY=noise for one.
STUDY ?= all
SEEDS ?= 0,1,2,3,4
studies: $(READY)
	$(BIN)/python main.py --flagfile=studies/digits.flags --study=$(STUDY) --seeds=$(SEEDS) --work_dir=runs/studies --results_dir=studies/results/digits

studies-page: $(READY)
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m studies.docs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

ready: $(READY)

$(READY): requirements.txt requirements-dev.txt constraints.txt constraints-3.12.txt
	@.ci/make_venv "$(PYTHON)" "$(VENV)"
