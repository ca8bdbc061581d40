# make install   moue for use, in .venv
# make test      moue for work on it, in .venv, with every check that CI runs
# make fuzz      a million damaged files of every form, for each reader: six hours
# make soak      an hour of frames; whether memory, descriptors or threads have grown
# make demo      out.mp4: the astronaut that scikit-image ships, surprised

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install -c constraints.txt

.PHONY: install test fuzz soak demo clean

install: $(BIN)/pip
	$(PIP_INSTALL) .

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

fuzz: $(VENV)/.dev
	MOUE_FUZZ=1000000 $(BIN)/pytest tests/faults/test_readers.py --durations=0

soak: $(VENV)/.dev
	MOUE_SOAK=3600 $(BIN)/pytest tests/faults/test_soak.py -s

demo: install
	$(PIP_INSTALL) scikit-image
	$(BIN)/moue animate $(VENV)/lib/python3*/site-packages/skimage/data/astronaut.png \
		--expression surprise --curve pulse -o out.mp4

clean:
	rm -rf build $(VENV)

# Rebuilt when the extension or a dependency changes; Python sources are used in place.
$(VENV)/.dev: pyproject.toml constraints.txt CMakeLists.txt $(wildcard cpp_ext/*) | $(BIN)/pip
	$(PIP_INSTALL) --editable ".[dev]" --config-settings=cmake.define.MOUE_WERROR=ON
	touch $@

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade pip
