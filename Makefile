# The two commands: `make build` and `make test`. Both set everything up in .venv/ first.
PYTHON ?= python3
RUN = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: setup build quick test test-long clean
setup: .venv/ready
build: setup
	$(RUN) tilth check
	$(RUN) dvc repro
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

clean:
	rm -rf .venv .work data/ingested data/validated data/train data/eval data/rejected data/*.json models preflight scores report
