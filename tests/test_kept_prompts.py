"""A training on the prompts that are kept, and the graph around it: nothing is asked or trained twice."""

import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from test_token_counts import base, step_of, user, write  # noqa: F401

from stages import difficulty, train
from stages.scoring import sample_cache
from stages.training import kept_prompts
from validators.problems import Problems

pytestmark = pytest.mark.slow

ARGS = {"num_generations": 2, "per_device_train_batch_size": 4, "max_completion_length": 4}


@pytest.fixture
def sorted_rows(base, tmp_path):  # noqa: F811
    """Ten prompts of which every third is kept."""
    (tmp_path / "data/train").mkdir(parents=True)
    write("grpo", [{"prompt": user(f"say {i}"), "ground_truth": str(i), "extra": "{}"} for i in range(10)])
    rows = [
        {
            "id": str(i),
            "source": "raw.jsonl",
            "line": i,
            "right": 0,
            "judged": 2,
            "check": "keep.too_hard" if i % 3 else None,
            "detail": None,
        }
        for i in range(10)
    ]
    kept_prompts.write_rows("d", rows)


def grpo(**changes):
    step = (
        step_of("grpo", **ARGS)
        | {"tie_prompts": 0, "rollouts": None, "difficulty": True, "sequences": 10, "optimizer_steps": 1}
        | changes
    )
    return step | kept_prompts.kept_facts(step)


def test_a_training_is_given_the_kept_prompts_alone_and_knows_their_rows(sorted_rows, tmp_path):
    trainer = train.make_trainer("s", grpo(), tmp_path / ".work")
    assert [row["ground_truth"] for row in trainer.train_dataset] == ["0", "3", "6", "9"]
    assert trainer.exposure.rows.tolist() == [0, 3, 6, 9]


def test_fewer_prompts_than_are_sampled_together_are_refused(sorted_rows, tmp_path):
    with pytest.raises(Problems) as error:
        train.make_trainer(
            "s", grpo(args=step_of("grpo", **ARGS)["args"] | {"per_device_train_batch_size": 12}), tmp_path / ".work"
        )
    assert "4 prompts are kept, of 6 that are sampled together" in str(error.value)


def test_the_same_seed_draws_the_same_answers(base, tmp_path):  # noqa: F811
    from builds import write_params
    from test_difficulty import RULE, write_train
    from test_params import method

    rule = RULE | {"from": "base", "max_new_tokens": 6}
    write_params(
        {
            "datasets": {"problems": {"kind": "grpo", "raw": "raw.jsonl"}},
            "steps": {"align": method("grpo")},
            "difficulty": {"problems": rule},
        }
    )
    write_train(tmp_path, range(150))
    found = []
    for _ in range(2):
        difficulty.main("problems")
        found.append((sample_cache.OUT / "problems.parquet").read_bytes())
        shutil.rmtree(sample_cache.work_folder("problems"))
        (sample_cache.OUT / "problems.parquet").unlink()
    assert found[0] == found[1]


# -- in the graph -----------------------------------------------------------------------------------------------------

BY_PARITY = '''

def even(completions, ground_truth, **_):
    """1 where the ground truth has an even number of letters, whatever the answer."""
    return [float(len(truth) % 2 == 0) for truth in ground_truth]
'''
RULE = {"from": "sft", "samples": 2, "keep": [0.5, 1], "by": "even"}


@pytest.mark.long
def test_nothing_is_asked_or_trained_twice_and_every_prompt_is_accounted_for(built, tmp_path):
    project = built.copy(tmp_path / "p")
    path = project.folder / "validators/rewards.py"
    path.write_text(path.read_text() + BY_PARITY)
    params = project.read_params()
    params["steps"]["align"] = params["methods"]["grpo"] | {"rewards": ["one_word", "even"]}
    plain = json.loads(json.dumps(params))
    params["difficulty"] = {"problems": RULE}
    project.write_params(params)
    told = project.run(sys.executable, "-m", "commands", "plan")
    assert "difficulty@problems" in told and "2 answers to each" in told

    ran = project.repro()
    assert {"difficulty@problems", "keep@problems", "train@align"} <= ran and "train@sft" not in ran
    rows = pq.read_table(project.folder / "data/kept/problems/rows.parquet").to_pylist()
    truths = pq.read_table(project.folder / "data/train/problems.parquet", columns=["ground_truth"])[
        "ground_truth"
    ].to_pylist()
    assert [row["check"] is None for row in rows] == [len(truth) % 2 == 0 for truth in truths]
    seen = pq.read_table(project.folder / "scores/align.seen.parquet")["times"].to_pylist()
    assert sum(seen) and not any(times for times, row in zip(seen, rows, strict=True) if row["check"])
    count = sum(row["check"] is None for row in rows)
    made = json.loads((project.folder / "models/align/made_of.json").read_text())
    assert (made["kept"]["rows"], made["kept"]["of"]) == (count, len(rows))
    project.commit()

    said = project.run(sys.executable, "-m", "commands", "ledger", "problems")
    assert f"-{len(rows) - count}" in said and "keep.too_hard" in said
    out = next(row for row in rows if row["check"])
    said = project.run(sys.executable, "-m", "commands", "trace", out["id"])
    assert "keep.too_hard" in said and "0 of 2 answers are right" in said and "trained on it: align" not in said
    assert f"{count} kept" in project.run(sys.executable, "-m", "commands", "lineage", "problems")
    assert "BROKEN" not in project.run(sys.executable, "-m", "commands", "verify")
    assert f"{count} of {len(rows)} train prompts are kept" in (project.folder / "report/index.html").read_text()
    assert project.repro() == set()

    def rebuilt(keep):
        params["difficulty"] = {"problems": RULE | {"keep": keep}}
        project.write_params(params)
        ran = project.repro()
        assert "difficulty@problems" not in ran
        return ran

    assert not {name for name in rebuilt([0.6, 1]) if name.startswith("train")}  # the same prompts
    assert "train@align" in rebuilt([0, 0.5])
    project.commit()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(project.folder), str(clone)], check=True)
    elsewhere = type(project)(clone)
    elsewhere.run("dvc", "cache", "dir", "--local", str(project.folder / ".dvc/cache"))
    elsewhere.run("dvc", "checkout")
    assert elsewhere.repro() == set()

    project.write_params(plain)  # nobody asks any more
    ran = project.repro()
    assert "train@align" in ran and not (project.folder / "data/kept/problems/rows.parquet").exists()
    assert "removed data/sampled/problems.parquet" in project.run(sys.executable, "-m", "commands", "prune")
    project.commit()
    assert "BROKEN" not in project.run(sys.executable, "-m", "commands", "verify")
    lengths = pq.read_table(project.folder / "scores/align.seen.parquet")["times"].to_pylist()
    assert len(lengths) == len(rows)

    params["difficulty"] = {"problems": RULE}
    project.write_params(params)
    output = project.run("dvc", "repro")
    assert "optimizer steps, loss" not in output  # what was trained on these prompts is taken over
    assert json.loads((project.folder / "models/align/made_of.json").read_text())["kept"]["rows"] == count
