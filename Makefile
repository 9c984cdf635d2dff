# `make demo` runs the main job, `make test` the tests, `make bench` the benchmarks (a quarter of an hour); each sets up .venv
# first. Nothing else is needed before either. `make fuzz` runs the property tests for some minutes with new random inputs,
# `make test-more` the tests marked `more`: those that need a browser, a notebook, a cluster or a second Python.
PYTHON := $(shell for p in python3.11 python3.10 python3.9 python3 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' 2>/dev/null && command -v "$$p" && break; done)
BIN := .venv/bin
READY := .venv/ready
WORK_DIR ?= runs/digits

.PHONY: demo test test-more fuzz bench seeds studies studies-page lint format
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/python main.py --flagfile=flags/presets/digits.flags --work_dir=$(WORK_DIR)

test: $(READY)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

# Status 5: no test is marked.
test-more: $(READY)
	$(BIN)/python -m pytest -m more || [ $$? = 5 ]

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

$(READY): requirements.txt requirements-dev.txt constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.9, 3.10 or 3.11 is needed and none was found on the PATH: install one and run make again" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	@touch $(READY)
