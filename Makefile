# make test: the tests, in an environment that it sets up.   make demo: the main job on real videos, from nothing.
# make starter: the network of the demo as one small file for a release.
# make test ROOM=records: those of one room, which is a folder of tests/ (or a file in one).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: test lint demo starter site dist clean

# Exact versions from the lock, then this checkout as it lies here (editable: its own dependencies are the lock's).
$(READY): requirements.lock setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -m mmv_tf -p mmv_tf.api -m mmv_tf.searching -m mmv_tf.searching.index

# All tests side by side, a file in one process (tests/conftest.py says which files share one); those of one room in one
# process, where a debugger reaches them.
SPREAD := --numprocesses auto --maxprocesses 4 --dist loadgroup

test: lint
	$(BIN)/python -m pytest $(if $(ROOM),tests/$(ROOM),$(SPREAD))

# make demo VIDEOS=/some/folder runs the same path on your own files; MINUTES=5 trains for about so long.
demo: $(READY)
	$(BIN)/python -m demo.run $(if $(VIDEOS),--videos "$(VIDEOS)") $(if $(MINUTES),--minutes "$(MINUTES)")

# The demo's network as one small file, build/starter/, for a release: games, and not the world.
starter: demo
	$(BIN)/python -m demo.starter

# The documentation as a site, in build/site. What builds it has an environment of its own.
SITE := build/site_tools
$(SITE)/ready: docs/site_requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --requirement docs/site_requirements.txt
	touch $@

site: $(SITE)/ready
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build

# The wheel and the source distribution, in dist/.
dist: $(READY)
	$(BIN)/python -m build --no-isolation --outdir dist .

clean:
	rm -rf build dist $(VENV)
