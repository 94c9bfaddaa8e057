# Everything sets itself up: the first call of any target makes .venv and installs worldline into it.
PYTHON ?= python3.11
VENV   ?= .venv
RUN    := $(VENV)/bin/python
EXTRAS := dev,train,motion

.PHONY: demo test test-all lint types docs bench format clean

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: $(VENV)/.installed        ## reconstruct bundled photos with the embedded weights
	$(RUN) -m worldline demo -o demo_output

test: $(VENV)/.installed        ## the suite that CI runs
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m 'not slow' -n auto --maxprocesses 8 --dist worksteal

test-all: $(VENV)/.installed    ## with the slow tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 8 --dist worksteal

lint: $(VENV)/.installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.installed
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(VENV)/.installed
	$(RUN) -m mypy

docs: $(VENV)/.installed        ## run every command and code block of README and docs
	$(RUN) -m pytest tests/docs

bench: $(VENV)/.installed       ## a quick look at speed; the tables of docs/benchmarks.md name their own commands
	$(RUN) -m worldline bench single-pass --views 4 8

clean:                          ## removes only what make made
	rm -rf $(VENV) demo_output build dist
