"""What a step reached is said against its parent and against the base, and what became worse elsewhere is named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.reporting.headlines import change_from_base, headlines, other_changes, scored_columns

STEPS = {
    "sft": {"method": "sft", "from": "base", "dataset": "chat"},
    "align": {"method": "dpo", "from": "sft", "dataset": "pairs"},
}
PARAMS = {
    "seed": 7,
    "base": {"model": "tiny"},
    "datasets": {"chat": {"kind": "sft", "metrics": []}, "pairs": {"kind": "preference", "metrics": []}},
    "steps": STEPS,
}


def item(value, change=None, reach=0.01):
    ends = {} if change is None else {"change_low": change - reach, "change_high": change + reach}
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40, "change": change, **ends}


def write_scores(model, won, rows=40, first=0):
    """scores/<model>.parquet with `rows` pairs, of which `won` are won, and a row of another dataset with other columns."""
    pairs = {
        "dataset": ["pairs"] * rows,
        "id": [f"row{first + i}" for i in range(rows)],
        "chosen_logp": [-1.0 if i < won else -3.0 for i in range(rows)],
        "rejected_logp": [-2.0] * rows,
    }
    chat = pa.table({"dataset": ["chat"], "id": ["x"], "nll": [3.0], "tokens": [2.0], "right": [1.0]})
    pq.write_table(pa.concat_tables([chat, pa.table(pairs)], promote_options="default"), f"scores/{model}.parquet")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores").mkdir()
    for model, won in (("base", 10), ("sft", 28), ("align", 30)):
        write_scores(model, won)
    return {
        "base": {"pairs": {"pair_accuracy": item(0.25)}, "chat": {"exact_match": item(0.0)}},
        "sft": {"pairs": {"pair_accuracy": item(0.7, 0.45)}, "chat": {"exact_match": item(0.3, 0.3)}},
        "align": {
            "pairs": {"pair_accuracy": item(0.75, 0.05, 0.1), "margin": item(0.4, 0.2)},
            "chat": {"exact_match": item(0.4, 0.1), "loss": item(2.0, 0.2)},
        },
    }


def test_a_step_that_starts_from_another_is_compared_with_the_base_too(project):
    sft, align = headlines(project, PARAMS)
    assert [each["model"] for each in sft["against"]] == ["base, which is random"]
    parent, base = align["against"]
    assert (parent["model"], parent["said"]) == ("sft", "no clear change")
    assert (base["model"], base["value"], base["change"], base["said"]) == (
        "base, which is random",
        "0.750",
        "+0.500",
        "better",
    )
    assert base["moved"].startswith("+0.500 (+0.3") and base["moved"].endswith(")")


def test_what_else_changed_is_named_where_it_became_worse_anywhere_or_better_on_the_same_data(project):
    _, align = headlines(project, PARAMS)
    assert align["against"][0]["others"] == ["also worse: loss of chat +0.200", "also better: margin +0.200"]
    many = {"pairs": {f"m{i}": item(0.5, 0.1) for i in range(6)} | {"reward/a": item(0.5, 0.1)}}
    (shown,) = other_changes({"dataset": "pairs", "metric": "pair_accuracy"}, many)
    assert shown == "also better: m0 +0.100, m1 +0.100, m2 +0.100, m3 +0.100, 2 more"


def test_nothing_is_compared_with_a_base_that_was_scored_on_other_rows_or_not_by_this_metric(project):
    _, align = headlines(project, PARAMS)
    assert change_from_base(align | {"metric": "win_rate"}, project["align"], PARAMS) is None
    write_scores("base", 10, first=1)
    assert change_from_base(align, project["align"], PARAMS) is None
    write_scores("base", 0, rows=0)
    assert scored_columns("base", "pairs") == scored_columns("other", "pairs") == {}
    assert change_from_base(align, project["align"], PARAMS) is None


def test_a_reward_is_compared_by_its_weights(project, tmp_path):
    (tmp_path / "preflight").mkdir()
    (tmp_path / "preflight/_rewards.json").write_text('{"pairs": {"a": {"weight": 2.0}}}')
    for model, reward in (("base", 0.0), ("align", 0.5)):
        table = {"dataset": ["pairs"] * 40, "id": [f"row{i}" for i in range(40)], "reward/a": [reward] * 40}
        pq.write_table(pa.table(table), f"scores/{model}.parquet")
    params = PARAMS | {"datasets": {"pairs": {"kind": "grpo", "metrics": []}}}
    line = {"step": "align", "dataset": "pairs", "metric": "reward"}
    found = change_from_base(line, {"pairs": {"reward": item(1.0, 0.0)}}, params)
    assert found["change"] == "+1.000"
