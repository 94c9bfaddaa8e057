# Everything sets itself up: the first call of any target makes .venv and installs into it what the target needs.
PYTHON ?= python3.11
VENV   ?= .venv
RUN    := $(VENV)/bin/python
PIP    := $(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all lint types docs bench bench-cuda train-mini format clean

# what the demo needs: the library and the viewer
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[view]'
	touch $@

# what development needs besides
$(VENV)/.developing: $(VENV)/.installed
	$(PIP) -e '.[dev,train,motion,view,rerun]'
	touch $@

demo: $(VENV)/.installed        ## reconstruct bundled photos with the embedded weights
	$(RUN) -m worldline demo -o demo_output

test: $(VENV)/.developing       ## the suite that CI runs; browser tests need a Chromium
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m 'not slow' -n auto --maxprocesses 8 --dist worksteal

test-all: $(VENV)/.developing    ## with the slow tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(VENV)/.developing
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.developing
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(VENV)/.developing
	$(RUN) -m mypy

docs: $(VENV)/.developing        ## run every command and code block of README and docs
	$(RUN) -m pytest tests/docs

bench: $(VENV)/.developing       ## a quick look at speed; the tables of docs/benchmarks.md name their own commands
	$(RUN) -m worldline bench single-pass --views 4 8

# SYSTEM_PYTHON=python3 uses that interpreter as it is, ARGUMENTS are passed on: docs/benchmarks.md, docs/train_mini.md
bench-cuda: $(if $(SYSTEM_PYTHON),,$(VENV)/.developing)  ## the tables that need a CUDA device: make bench-cuda MINUTES=6
	PYTHONPATH=src$(if $(PYTHONPATH),:$(PYTHONPATH)) PYTHONUNBUFFERED=1 $(or $(SYSTEM_PYTHON),$(RUN)) \
		benchmarks/cuda.py --minutes $(or $(MINUTES),6) -o $(or $(OUTPUT),bench_cuda) $(ARGUMENTS)

train-mini: MODEL ?= mvdust3r-plus-mini
train-mini: $(if $(SYSTEM_PYTHON),,$(VENV)/.developing)  ## one embedded model made anew: make train-mini MODEL=d4rt-mini MINUTES=25
	PYTHONPATH=src$(if $(PYTHONPATH),:$(PYTHONPATH)) PYTHONUNBUFFERED=1 $(or $(SYSTEM_PYTHON),$(RUN)) \
		-m worldline.train.campaign $(MODEL) -o $(or $(OUTPUT),runs/$(MODEL)) --device $(or $(DEVICE),auto) \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SLICE),--slice $(SLICE)) $(ARGUMENTS)

clean:                          ## removes only what make made
	rm -rf $(VENV) demo_output build dist
