# The commands of development and continuous integration; `make help` lists them.

# The first interpreter of a supported version. 3.11 comes first: development uses it.
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3.10 python3 python; do \
	$$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo $$candidate && break; done)
VENV ?= .venv
VENV_OPENMMLAB ?= .venv-openmmlab
# Folder with a prebuilt mmcv wheel for the second stack.
FIND_LINKS ?=
# Further arguments for pip, for example an index with the CPU builds of torch.
PIP_ARGS ?=
# One process more than processors: some tests wait for other processes. The tests of a file run in
# one process, because they share fixtures. The files come in the order of tests/conftest.py: xdist
# would start with those of many short tests.
PYTEST_ARGS ?=
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

CONSTRAINTS := requirements/constraints.txt
CONSTRAINTS_OPENMMLAB := requirements/constraints-openmmlab.txt
STAMP := $(VENV)/.installed
STAMP_OPENMMLAB := $(VENV_OPENMMLAB)/.installed
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)

.DEFAULT_GOAL := help
.PHONY: help env demo test test-reliability lint format test-openmmlab docs doctor clean chromium \
	browser-demo

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(STAMP)  ## set up .venv with the pinned versions (nothing to do if it is up to date)

demo: $(STAMP)  ## write a synthetic street-scene dataset, train, evaluate, draw overlays
	$(VENV)/bin/python tools/demo.py

test: $(STAMP) chromium  ## run the test suite (PYTEST_ARGS="-k dwt" selects tests)
	$(VENV)/bin/python $(PYTEST) $(PYTEST_ARGS)

# The tests of the web pages need a browser; playwright's own download is not used.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
	>/dev/null 2>&1 || echo 'Chromium is missing and cannot be installed by apt-get here: the tests of the web pages are skipped.'

browser-demo: $(STAMP)  ## a folder with a page that runs a model in the browser, without a server
	$(VENV)/bin/python tools/deployment/browser_demo.py

lint: $(STAMP)  ## ruff (lint and format), codespell, mypy; changes nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/codespell
	$(VENV)/bin/mypy

format: $(STAMP)  ## format the code with ruff and apply its fixes
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

test-reliability: $(STAMP)  ## kill a training 120 times and resume it (minutes)
	$(VENV)/bin/python tests/reliability/kill_test.py --kills 120

docs: $(STAMP)  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build

doctor: $(STAMP)  ## print the versions in .venv and their conflicts
	$(VENV)/bin/python -m wavemix_mm doctor

test-openmmlab: $(STAMP_OPENMMLAB) chromium  ## the test suite with the original OpenMMLab packages (FIND_LINKS=folder of an mmcv wheel)
	$(VENV_OPENMMLAB)/bin/python $(PYTEST) $(PYTEST_ARGS)

clean:  ## remove the output of builds and demos, but not the environments
	rm -rf build dist site *.egg-info demo_output browser_demo .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(STAMP): setup.py pyproject.toml $(CONSTRAINTS)
	$(call make_venv,$(VENV))
	$(VENV)/bin/python $(PIP_INSTALL) -c $(CONSTRAINTS) -e '.[onedl,det,test,dev]'
	@touch $@

# mmcv's build needs torch and setuptools' pkg_resources in the environment: hence two steps and
# --no-build-isolation. mmsegmentation imports compiled operations: hence MMCV_WITH_OPS.
$(STAMP_OPENMMLAB): setup.py pyproject.toml $(CONSTRAINTS_OPENMMLAB)
	$(call make_venv,$(VENV_OPENMMLAB))
	$(VENV_OPENMMLAB)/bin/python $(PIP_INSTALL) -c $(CONSTRAINTS_OPENMMLAB) \
		torch torchvision setuptools wheel psutil
	$(if $(FIND_LINKS),,@echo 'FIND_LINKS names no folder with an mmcv wheel: mmcv is built from source, about 18 minutes on 2 cores.')
	MMCV_WITH_OPS=1 $(VENV_OPENMMLAB)/bin/python $(PIP_INSTALL) -c $(CONSTRAINTS_OPENMMLAB) \
		--no-build-isolation $(if $(FIND_LINKS),--find-links '$(FIND_LINKS)') \
		-e '.[openmmlab,openmmlab-det,test]'
	@touch $@

# $(1): the folder. An existing folder is updated, never cleared: VENV may name an environment that
# is used for other work.
define make_venv
@test -n '$(PYTHON)' || { echo 'error: no Python 3.10, 3.11 or 3.12 was found; install one, or name it: make PYTHON=/path/to/python3.11' >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || { echo 'error: $(PYTHON) is not a Python 3.10, 3.11 or 3.12; name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'error: $(PYTHON) cannot make virtual environments; install its venv module (Debian, Ubuntu: apt install python3-venv).' >&2; exit 1; }
@echo 'Setting up $(1) with $(PYTHON); the first time this downloads torch and takes minutes.'
@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1)
endef
