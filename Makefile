# Two commands on a fresh machine: `make demo` and `make test`. Needs Python 3.11+, make, a C compiler.

PYTHON ?= python3
STORE ?= results
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test properties simulate mutants browser drills survival check types style format bench baselines lock clean

demo: .venv/ready
	$(BIN)/segprint --store $(STORE) sweep quickstart
	$(BIN)/segprint --store $(STORE) fingerprint quickstart
	$(BIN)/segprint --store $(STORE) report quickstart -o report.html --figures figures
	$(BIN)/segprint --store $(STORE) predict quickstart/nuclei_feedforward nuclei -o predictions

# Tests run on all CPUs, a process each; those that start Ray run one after another in one of them
# (tests/parallel.py).
PARALLEL := --numprocesses auto --maxprocesses 8

test: .venv/ready browser
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL)

# `make test` draws the same examples of every property each time; here they are new and more.
# A failure prints the decorator that reproduces it.
properties: .venv/ready
	HYPOTHESIS_PROFILE=new OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) --timeout 3600 \
	  -m "hypothesis and not slow"

# Random sequences of processes and faults over the ledger and its tables; and planted faults that
# such sequences must find.
simulate: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.simulation 10000

mutants: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.simulation.mutants

# Tests open the report in a real browser. No Python package contains one, so Debian's Chromium is
# installed where possible; elsewhere these tests are skipped.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get install -qq -y chromium >/dev/null; } \
	  || echo "no Chromium on this machine: the tests of the report in a browser are skipped"

# Drills inject faults into store, writers and sweeps. The README, the findings and the notebook run
# here as they are written.
drills: .venv/ready browser
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m "slow and not cluster"

# Separate from the other drills: together they take more than 40 minutes.
survival: .venv/ready
	$(BIN)/pytest -m cluster

# Pyright takes three quarters of a minute on one core; the other checks run beside it.
check: .venv/ready
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target types style

types: .venv/ready
	$(BIN)/pyright

style: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready
	$(BIN)/python -m bench

# The stamp is written last, so that an interrupted installation starts again.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Packages of the models segformer and nnunet. Dependencies are not resolved: pip would install a
# torchvision whose build does not match torch.
baselines: .venv/ready
	$(BIN)/pip install --quiet --no-deps --requirement constraints-baselines.txt

lock: .venv/ready
	(head -1 constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu//') > .venv/lock
	mv .venv/lock constraints.txt

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .hypothesis
