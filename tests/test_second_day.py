"""The second day of a user: the sample is replaced and built; then steps and datasets come, are renamed and go, a colleague pulls and edits.

Nothing is trained twice, and what `trace`, `lineage` and the cards say of a training is what its sampler wrote down
(scores/<step>.seen.parquet).
"""

import json
import re

import pyarrow.parquet as pq
import pytest
from conftest import Project, built_once
from own import own_project
from test_own_repository import outcome

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

JUDGE = {
    "method": "kto", "from": "spell", "dataset": "thumbs",
    "args": {"learning_rate": 1e-6, "max_steps": 3, "per_device_train_batch_size": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    return built_once(tmp_path_factory, "mine", own_project)


def trained(project, params=None):
    """The steps that `dvc repro` trains, with these params."""
    if params:
        project.write_params(params)
    before = len(times(project))
    project.repro()
    return {stage.removeprefix("train@") for stage in times(project)[before:] if stage.startswith("train@")}


def times(project):
    """Every stage that ran to its end, in order; what was taken over was no training and is not among them."""
    file = project.folder / ".work/times.jsonl"
    return (
        [json.loads(line)["stage"] for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    )


def tilth(project, *words):
    return " ".join(project.run("python", "-m", "commands", *words).split())  # however wide the terminal is


def with_rate(params, step, rate):
    args = params["steps"][step]["args"] | {"learning_rate": rate}
    return params | {"steps": params["steps"] | {step: params["steps"][step] | {"args": args}}}


# -- what is said of a training -----------------------------------------------------------------------------------


def sampler(project, step):
    """(times of each row of train, tokens) as the training of a step wrote them down."""
    table = pq.read_table(project.folder / f"scores/{step}.seen.parquet")
    return table["times"].to_pylist(), json.loads(table.schema.metadata[b"tilth"])["tokens"]


def sentence(step, through, times, share):
    """What `tilth trace` says of a model and a row that the step `through` saw this often. share: "8 of 33"."""
    if not times:
        return (
            f"{step}: in train, but the training of {through} ended before it reached this row, with {share} rows seen"
        )
    more = [f"through {through}"] * (step != through) + [f"{times} times"] * (times > 1)
    return step + (f" ({', '.join(more)})" if more else "")


def hold_to_the_sampler(project):
    """Fails where a sentence of trace, of lineage or of a card is not what the sampler of a step wrote down."""
    steps = project.read_params()["steps"]
    for name, step in steps.items():
        times, tokens = sampler(project, name)
        share = f"{sum(map(bool, times))} of {len(times)}"
        lineage = tilth(project, "lineage", name)
        seen, often = sum(map(bool, times)), sum(times)
        repeated = f" ({often:,} with repetitions)" if often != seen else ""
        assert f"{step['method']} on {seen:,}{repeated} of {len(times):,} rows of {step['dataset']}, " in lineage
        assert "stale" not in lineage  # the build is whole, whatever was removed or renamed before it
        assert f" {tokens:,} tokens, " in lineage
        row = f"| `{name}` | {step['method']} | `{step['from']}` | `{step['dataset']}` | {share} |"
        cards = {path.stem: path.read_text(encoding="utf-8") for path in (project.folder / "report/cards").glob("*.md")}
        assert sorted(cards) == sorted(steps)
        after = [other for other in steps if name in chain(steps, other)]
        assert [other for other in steps if row in cards[other]] == after
        rows = pq.read_table(
            project.folder / f"data/train/{step['dataset']}.parquet", columns=["source", "line"]
        ).to_pylist()
        assert len(rows) == len(times)
        for often in sorted(set(times)):
            place = rows[times.index(often)]
            said = tilth(project, "trace", f"{place['source']}:{place['line']}")
            expected = [sentence(other, name, often, share) for other in after]
            assert all(text in said for text in expected), (expected, said)
            assert ("trained on it: " + ", ".join(expected) in said) == bool(often)


def chain(steps, name):
    return [] if name == "base" else [*chain(steps, steps[name]["from"]), name]


# -- the day ------------------------------------------------------------------------------------------------------


def test_nothing_is_trained_twice_and_what_is_said_is_what_the_sampler_wrote(mine, tmp_path):
    project = mine.copy(tmp_path / "mine")
    assert {len(set(sampler(project, step)[0])) for step in ("spell", "prefer")} == {2}
    hold_to_the_sampler(project)

    params = project.read_params()
    params["steps"]["approve"] = JUDGE
    assert trained(project, params) == {"approve"}
    hold_to_the_sampler(project)
    project.commit()

    params["steps"]["rate"] = params["steps"].pop("approve")
    assert trained(project, params) == set()
    tilth(project, "prune")
    assert project.repro() == set()
    hold_to_the_sampler(project)
    project.commit()
    tilth(project, "verify")

    del params["steps"]["rate"], params["datasets"]["thumbs"]
    (project.folder / "data/raw/thumbs.jsonl").unlink()
    assert trained(project, params) == set()
    tilth(project, "prune")
    hold_to_the_sampler(project)
    project.commit()
    tilth(project, "verify")
    lock = (project.folder / "dvc.lock").read_text(encoding="utf-8")
    assert not re.search("approve|rate:|@rate|thumbs", lock)
    left = [path for path in project.folder.rglob("*") if ".git" not in path.parts and ".dvc" not in path.parts]
    assert not [path for path in left if path.stem.partition(".")[0] in ("approve", "rate", "thumbs")]

    project.run("dvc", "push")
    project.run("git", "clone", "-q", ".", str(tmp_path / "colleague"))
    colleague = Project(tmp_path / "colleague")
    colleague.run("dvc", "pull")
    assert colleague.repro() == set()
    tilth(colleague, "verify")
    hold_to_the_sampler(colleague)

    assert trained(colleague, with_rate(params, "prefer", 2e-5)) == {"prefer"}
    hold_to_the_sampler(colleague)
    colleague.commit()
    tilth(colleague, "verify")

    code, said = outcome(colleague.folder, "not slow and not long")
    assert code == 0, said


def test_a_renamed_step_is_not_trained_again(mine, tmp_path):
    project = mine.copy(tmp_path / "mine")
    params = project.read_params()
    params["steps"]["liking"] = params["steps"].pop("prefer")
    assert trained(project, params) == set()
    hold_to_the_sampler(project)
    tilth(project, "prune")
    project.commit()
    tilth(project, "verify")
