"""The sample that Tilth comes with is what its script writes; tests have copies of it, and its user what is in data/."""

import json
import os
import random
from pathlib import Path

import make_sample
import pytest
from builds import own_files

from stages.ingest import convert_records
from stages.reading.readers import Record

ROOT = Path(__file__).parents[1]
KINDS = {"chat": "sft", "pairs": "preference", "feedback": "kto", "problems": "grpo"}
# .ci/run says that this repository is Tilth's own; in all others these files are their user's
REASON = "params and data are yours; TILTH_ITSELF=1 tests those that Tilth comes with"
CASES = [(dataset, fault) for dataset, (_, faults) in make_sample.FAULTS.items() for fault in faults]


def shipped(test):
    return pytest.mark.shipped(pytest.mark.skipif(os.environ.get("TILTH_ITSELF") != "1", reason=REASON)(test))


@pytest.fixture(scope="module")
def files():
    return make_sample.sample_files()


@pytest.fixture(scope="module")
def bad_lines():
    """((dataset, fault), line) of every bad line that goes into the sample."""
    written = []

    def recorded(dataset, make_bad):
        def make(rng, fault):
            lines = make_bad(rng, fault)
            written.extend(((dataset, fault), line) for line in lines)
            return lines

        return make

    with pytest.MonkeyPatch.context() as patch:
        for dataset, (make_bad, faults) in list(make_sample.FAULTS.items()):
            patch.setitem(make_sample.FAULTS, dataset, (recorded(dataset, make_bad), faults))
        make_sample.sample_files()
    return written


@shipped
def test_the_committed_files_are_those_that_the_script_writes(files):
    committed = {
        path.relative_to(ROOT / "data/raw").as_posix(): path.read_bytes()
        for path in (ROOT / "data/raw").rglob("*")
        if path.is_file()
    }
    assert sorted(committed) == sorted(files)
    assert all(committed[path] == text.encode() for path, text in files.items())


@shipped
def test_params_and_all_else_that_is_a_users_are_those_of_the_sample():
    committed = {name: (ROOT / name).read_text(encoding="utf-8") for name in own_files()}
    assert committed == own_files(), (
        "python -m stages check; then cp params.yaml tests/sample.yaml, or the other way round"
    )


def test_the_sample_is_small(files):
    assert sum(len(text.encode()) for text in files.values()) <= 3_000_000


def test_the_script_writes_the_files(files, tmp_path):
    make_sample.write(tmp_path)
    assert (tmp_path / "chat/table.csv").read_bytes() == files["chat/table.csv"].encode()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(files)


def test_another_seed_makes_another_sample(files):
    assert make_sample.sample_files(1)["pairs/pairs.jsonl"] != files["pairs/pairs.jsonl"]


@pytest.mark.parametrize("dataset, fault", CASES)
def test_every_fault_occurs_in_the_sample(dataset, fault, files, bad_lines):
    written = [line for name, line in bad_lines if name == (dataset, fault)]
    text = set("\n".join(text for path, text in files.items() if path.startswith(dataset)).split("\n"))
    assert len(written) >= 3
    assert set(written) <= text


@pytest.mark.parametrize("dataset, fault", CASES)
def test_a_bad_record_differs_from_the_good_one_that_the_same_seed_makes(dataset, fault):
    make_bad, _ = make_sample.FAULTS[dataset]
    assert make_bad(random.Random(1), fault) != make_bad(random.Random(1), "no such fault")


@pytest.mark.parametrize("dataset", KINDS)
def test_a_record_without_a_fault_becomes_a_row(dataset):
    make_bad, _ = make_sample.FAULTS[dataset]
    (line,) = make_bad(random.Random(1), "no such fault")
    rows, rejects = convert_records([Record(1, json.loads(line), line)], KINDS[dataset], "raw")
    assert (len(rows), rejects) == (1, [])


def test_every_wrong_answer_is_wrong():
    rng = random.Random(1)
    for _ in range(200):
        _, answer = make_sample.task(rng)
        assert make_sample.wrong(rng, answer) != answer
