# The two commands: `make bench` runs the main job, `make test` every check. Both set up .venv first, once.

VENV     := .venv
BIN      := $(VENV)/bin
PYTHONS  := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python
PLUGINS  := $(filter-out plugins/examples/%,$(patsubst %/pyproject.toml,%,$(sort $(wildcard plugins/*/*/pyproject.toml))))
SETTINGS := pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(PLUGINS))
# Of 6 GB of packages a run imports few: what it does is compiled then. Build isolation would download setuptools once for each of our distributions; one copy in .venv serves all.
INSTALL  := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --constraint constraints.txt
# The extra `docs` of pyproject.toml, without the core itself and its 6 GB.
DOCS     := zensical mkdocstrings mkdocstrings-python
EDITABLE := $(foreach p,$(PLUGINS),-e $(p))
# Tests are small: more threads than one make them slower, and a network that answers would hide a missing file. Many
# start commands: without kept bytecode each would compile the whole of xcore again.
QUIET    := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false \
            HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

.PHONY: bench perf test tests lint setup site docs-commands wheels try-wheels version
.DELETE_ON_ERROR:

bench: $(VENV)/.installed
	@$(BIN)/xcore bench --methods rlpo,craft $(ARGS)

# Speed beside peers and floors, one table after another; on an idle machine about 50 minutes. ROWS=rlpo,eac picks some.
perf: $(VENV)/.installed
	@$(BIN)/python benchmarks/perf/everything.py $(if $(ROWS),--rows $(ROWS))

# Linters beside the tests: alone, they would leave all cores but one idle.
test:
	@$(MAKE) -j2 lint tests

tests: $(VENV)/.installed-tests
	$(QUIET) $(BIN)/pytest -n auto --dist worksteal --durations=25

lint: $(VENV)/.installed-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.installed-tests

wheels: $(VENV)/.installed
	$(BIN)/python release/wheels.py build

# In an empty environment with the libraries of .venv, offline. WITH=python3.12 tries that Python instead, from the index.
try-wheels: wheels
	$(BIN)/python release/wheels.py try $(if $(WITH),--python $(WITH))

version:
	@test -n "$(V)" || { echo "write the version: make version V=0.2.0" >&2; exit 2; }
	@for python in $(PYTHONS); do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exec $$python release/version.py $(V); \
	done; exit 1

# The documentation as a site, in build/site; a link that leads nowhere stops it.
site: $(VENV)/.installed-docs
	@$(BIN)/python docs/tools/stage.py build/site-source
	@$(BIN)/zensical build --strict --clean

# The pages of the commands, written anew from what --help reads.
docs-commands: $(VENV)/.installed
	@OMP_NUM_THREADS=1 $(BIN)/python docs/tools/commands.py

$(VENV)/.installed: $(VENV)/.made $(SETTINGS)
	@echo "installing into $(VENV) (once, some minutes; 6 GB on Linux, where torch brings CUDA) ..." >&2
	@$(INSTALL) --no-build-isolation -e . $(EDITABLE)
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.made $(SETTINGS)
	@echo "installing into $(VENV), with the tools for tests (once, some minutes) ..." >&2
	@$(INSTALL) --no-build-isolation -e .[test] $(EDITABLE)
	@touch $(VENV)/.installed $@

# What builds the site reads the code without importing it, so it needs none of the core's libraries.
$(VENV)/.installed-docs: $(VENV)/.made $(SETTINGS)
	@echo "installing what builds the site into $(VENV) (once) ..." >&2
	@$(INSTALL) $(DOCS)
	@touch $@

$(VENV)/.made:
	@for python in $(PYTHONS); do \
	  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  $$python -m venv $(VENV) && $(INSTALL) setuptools && touch $@ && exit 0; \
	  exit 1; \
	done; \
	echo "xcore needs Python 3.11 or newer with venv; none of these is: $(PYTHONS) (name one: make PYTHON=...)" >&2; \
	exit 1
