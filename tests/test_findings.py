"""Numbers beside their limits, and what no row may be; each named with the first rows that have it."""

from types import SimpleNamespace

import numpy as np
import pytest

from stages.dryrun import findings
from stages.dryrun.encodings import EncodingFaults
from stages.dryrun.reward_trials import Trial
from stages.dryrun.token_counts import ROW_DTYPE, MeasuredRows
from stages.rows.tables import row_schema, to_table, write_table
from stages.training.trainer_rows import Limits
from validators._preflight import LIMITS, SAMPLE_SIZES
from validators.problems import Problems

SETTINGS = LIMITS | SAMPLE_SIZES


@pytest.fixture
def path(tmp_path):
    """A file of ten rows, named raw.jsonl:1 to 10."""
    row = {"messages": [{"role": "user", "content": "q"}], "tools": None, "id": "x", "source": "raw.jsonl"}
    write_table(tmp_path / "d.parquet", to_table([row | {"line": i + 1} for i in range(10)], row_schema("sft")))
    return tmp_path / "d.parquet"


def rows(**flags):
    """Ten records, those at the given places with a flag set."""
    found = np.zeros(10, ROW_DTYPE)
    found["row"], found["length"] = range(10), 5
    for flag, places in flags.items():
        found[flag][places] = True
    return found


def method(name="sft", limit=8, **config):
    render = SimpleNamespace(tokenizer=SimpleNamespace(bos_token="<s>"))
    config = SimpleNamespace(
        **({"max_completion_length": 4, "packing": False, "desirable_weight": 1.0, "undesirable_weight": 1.0} | config)
    )
    return SimpleNamespace(name=name, limits=Limits(limit), render=render, config=config, overlong="cut")


def found(path, records, given=None, context=16, waive=(), left_out=(), **limits):
    records = MeasuredRows(10, records, list(left_out))
    out = findings.row_findings(records, given or method(), path, context, SETTINGS | limits, dict(waive))
    return {item["check"].removeprefix("preflight."): item for item in out}


def test_a_number_up_to_its_limit_is_ok_and_above_it_a_warning():
    settings = {"truncated_share": 0.2}
    levels = [
        findings.make_finding("preflight.truncated_share", value, "", settings, {})["level"]
        for value in (0.0, 0.2, 0.21)
    ]
    assert levels == ["ok", "ok", "warning"]


def test_a_warning_is_waived_by_name_with_its_reason_and_what_is_ok_is_not():
    waive = {"truncated_share": "logs"}
    above = findings.make_finding("preflight.truncated_share", 0.3, "long", {"truncated_share": 0.2}, waive)
    below = findings.make_finding("preflight.truncated_share", 0.1, "long", {"truncated_share": 0.2}, waive)
    assert (above["level"], above["message"], below["level"]) == ("waived", "long (logs)", "ok")


def test_one_row_of_a_million_is_more_than_none():
    item = findings.make_finding("preflight.dropped_share", 1e-6, "", {"dropped_share": 0.0}, {})
    assert (item["value"], item["level"]) == (1e-6, "warning")


def test_no_limit_is_no_warning():
    assert findings.make_finding("preflight.memory_gb", 1e9, "", {"memory_gb": None}, {})["level"] == "ok"


def test_rows_that_begin_twice_are_named(path):
    (problem,) = findings.row_problems("steps.s", MeasuredRows(10, rows(doubled=[1, 4, 5, 9])), method(), path)
    assert problem.where == "steps.s: preflight.double_bos"
    assert problem.found == "4 of 10 rows (raw.jsonl:2, raw.jsonl:5, raw.jsonl:6 and 1 more) begin with '<s>' twice"
    assert findings.row_problems("steps.s", MeasuredRows(10, rows()), method(), path) == []


def test_rows_that_are_cut_are_counted_and_named(path):
    item = found(path, rows(cut=[3, 7]))["truncated_share"]
    assert (item["value"], item["level"]) == (0.2, "warning")
    assert "raw.jsonl:4, raw.jsonl:8" in item["message"]
    assert item["message"].endswith(
        "the longest has 5 tokens: raise args.max_length (this model was made for 16 tokens), or `overlong: drop` of the step leaves them out"
    )
    assert found(path, rows())["truncated_share"] == {
        "check": "preflight.truncated_share", "value": 0.0, "limit": 0.05, "level": "ok",
        "message": "0 of 10 rows are longer than max_length 8",
    }  # fmt: skip


LEFT_OUT = [(3, "PROMPT", "PROMPT of message 2: a, not b"), (5, "LENGTH", "LENGTH: long"), (7, "PROMPT", "PROMPT: c")]


def test_rows_that_are_left_out_are_counted_by_proof_with_the_first_reason(path):
    item = found(path, rows()[:7], left_out=LEFT_OUT)["dropped_share"]
    assert (item["value"], item["level"]) == (0.3, "warning")
    assert item["message"] == (
        "3 of 10 rows are left out: 2 by PROMPT: raw.jsonl:4, raw.jsonl:8: a, not b; 1 by LENGTH: raw.jsonl:6: long"
    )


def test_proofs_that_are_numbers_of_their_own_are_there_at_0_too_and_stop_nothing(path):
    left_out = [
        (3, "SAID", "SAID of message 2: a"),
        (5, "SAID", "SAID: b"),
        (7, "STOP", "STOP: c"),
        (8, "LENGTH", "LENGTH: d"),
    ]
    items = found(path, rows()[:6], left_out=left_out, dropped_share=1)
    values = {
        name: items[name]["value"]
        for name in ("said", "stops", "tools_shown", "tokenizer_round_trip", "bos_unlike_inference")
    }
    assert list(values.values()) == [0.2, 0.1, 0, 0, 0]
    assert items["said"]["message"].startswith("2 of 10 rows (raw.jsonl:4, raw.jsonl:6) hold something that is not")
    assert [items[name]["level"] for name in ("said", "tools_shown")] == ["warning", "ok"]
    assert findings.gate_problems(list(items.values()), "steps.s") == []


def test_rows_whose_tokens_are_not_their_text_are_shares(path):
    measured = MeasuredRows(10, rows(), encodings=EncodingFaults(lossy=[1, 2], headless=list(range(10))))
    items = {item["check"]: item for item in findings.text_findings(measured, path, SETTINGS, {})}
    assert items["preflight.tokenizer_round_trip"]["value"] == 0.2
    assert items["preflight.bos_unlike_inference"]["value"] == 1


def test_a_template_that_prints_the_date_is_a_warning():
    assert findings.date_finding(None, SETTINGS, {})["level"] == "ok"
    item = findings.date_finding("2024-07-26", SETTINGS, {})
    assert (item["value"], item["level"]) == (1, "warning") and "2024-07-26" in item["message"]


def test_more_of_them_than_the_limit_stop_the_build_unless_waived(path):
    kept, waived = (
        list(found(path, rows()[:7], left_out=LEFT_OUT, waive=waive).values())
        for waive in ({}, {"dropped_share": "r1"})
    )
    (problem,) = findings.gate_problems(kept, "steps.s")
    assert problem.where == "steps.s: preflight.dropped_share"
    assert problem.hint.endswith("; if this is intended: waive: {dropped_share: your reason}")
    assert "another chat template" in problem.hint
    assert findings.gate_problems(waived, "steps.s") == []
    assert (
        findings.gate_problems(list(found(path, rows()[:7], left_out=LEFT_OUT, dropped_share=0.3).values()), "steps.s")
        == []
    )


def test_a_number_that_is_no_gate_stops_nothing(path):
    assert findings.gate_problems(list(found(path, rows(cut=range(10))).values()), "steps.s") == []


def test_packed_rows_and_control_tokens_are_warnings(path):
    assert found(path, rows(), method(packing=True))["packing"]["level"] == "warning"
    assert "packing" not in found(path, rows())
    measured = MeasuredRows(10, rows(), special=[2])
    out = findings.row_findings(measured, method(), path, 16, SETTINGS, {})
    (item,) = [item for item in out if item["check"] == "preflight.special_in_content"]
    assert (item["value"], item["level"]) == (0.1, "warning")
    assert item["message"].startswith("1 of 10 rows (raw.jsonl:3) have the text of a control token")


def test_rows_longer_than_the_models_positions_are_found(path):
    records = rows()
    records["length"][2] = 17
    assert found(path, records, method(limit=None))["context_share"]["value"] == 0.1
    assert found(path, records, method(limit=16))["context_share"]["value"] == 0.0
    records["length"][2] = 13
    assert found(path, records, method("grpo"))["context_share"]["value"] == 0.1
    assert "context_share" not in found(path, records, context=0)


def test_pairs_are_looked_at_for_equal_answers_and_length(path):
    records = rows(equal=[0])
    records["longer"] = [1, 1, 1, 1, 1, 1, 1, -1, 0, 0]
    pairs = found(path, records, method("dpo"))
    assert pairs["equal_pairs_share"]["value"] == 0.1
    assert pairs["length_bias"]["value"] == 0.7
    assert pairs["length_bias"]["message"] == "chosen has more tokens in 70.0% of 10 pairs and fewer in 10.0%"
    assert "length_bias" not in found(path, records)


def test_classes_are_balanced_with_the_weights_that_the_step_has(path):
    records = rows(label=range(4))
    item = found(path, records, method("kto"))["class_balance"]
    assert (item["value"], item["level"]) == (1.5, "warning")
    assert item["message"] == (
        "4 true and 6 false rows; set desirable_weight 1.50 to 2.00 or undesirable_weight 0.50 to 0.67 in the step's args, not both"
    )
    for weights in ({"desirable_weight": 1.5}, {"desirable_weight": 2.0}, {"undesirable_weight": 0.5}):
        assert found(path, records, method("kto", **weights))["class_balance"]["level"] == "ok"
    assert found(path, records, method("kto", desirable_weight=0.0))["class_balance"]["value"] == 1000
    assert found(path, records, method("kto", desirable_weight=2.1))["class_balance"]["level"] == "warning"


def test_two_rows_of_a_thousand_more_are_a_balance(path):
    records = np.zeros(2001, ROW_DTYPE)
    records["label"][:1000] = True
    item = findings.class_balance_finding(records, method("kto").config, SETTINGS, {})
    assert (item["value"], item["level"]) == (1.0, "ok")


def test_the_weights_that_are_advised_are_those_that_trl_advises():
    """TRL's own formula, of its KTO trainer."""
    true, false, desirable, undesirable = 30, 50, 1.2, 0.9
    low = false * undesirable / true
    from validators._warnings import weights_advice

    text = weights_advice(true, false, desirable, undesirable)
    assert f"desirable_weight {low:.2f} to {low * 4 / 3:.2f} " in text
    high = true * desirable / false
    assert f"undesirable_weight {high * 3 / 4:.2f} to {high:.2f} " in text


def test_rows_of_one_label_alone_stop_the_build():
    findings.require_both_labels("steps.s", rows(label=[0]))
    with pytest.raises(Problems, match="all 10 rows that are trained have label false"):
        findings.require_both_labels("steps.s", rows())


# -- rewards ----------------------------------------------------------------------------------------------------------


def trial(truth, corrupted, other, empty, again=True):
    scores = {"truth": truth, "corrupted": corrupted, "other": other, "empty": empty}
    return Trial("f", {kind: np.array(values, float) for kind, values in scores.items()}, again, 0.0)


def of_rewards(*trials, weights=None, waive=()):
    out = findings.reward_findings(trials, weights or [1.0] * len(trials), SETTINGS, dict(waive))
    return {item["check"].removeprefix("preflight."): item for item in out}


def test_a_length_at_the_models_own_limit_is_not_to_be_raised():
    assert findings.raise_length(1024, 512) == "raise args.max_length (this model was made for 1,024 tokens)"
    assert findings.raise_length(1024, 1024) == "take a base that was made for more than 1,024 tokens"
    assert findings.raise_length(0, 1024) == "raise args.max_length"


def test_a_reward_that_pays_no_ground_truth_says_that_it_may_be_a_target():
    out = of_rewards(trial([0, 0], [0, 0], [0, 0], [0, 0]))
    assert out.keys() == {"reward_random", "reward_truth", "reward_order"}
    assert (
        out["reward_truth"]["level"] == "warning"
        and "right if the ground truth is a target" in out["reward_truth"]["message"]
    )
    out = of_rewards(trial([0, 0], [1, 0], [0, 0], [0, 0]))
    assert out["reward_order"]["level"] == "warning" and "target" in out["reward_order"]["hint"]
    assert "reward_wrong" in of_rewards(trial([1, 0], [0, 0], [0, 0], [0, 0]))


def test_a_right_reward_has_no_warning():
    out = of_rewards(trial([1, 1], [0, 0], [0, 0], [0, 0]))
    assert {item["level"] for item in out.values()} == {"ok"}
    assert out["reward_truth"]["message"] == "f gives from 0 to 1; 0 of 2 ground truths get less than that"
    assert (
        out["reward_order"]["message"]
        == "the ground truth earns 1 more than the best of the wrong answers (corrupted), on average"
    )


def test_a_format_reward_beside_a_right_one_warns_and_stops_nothing():
    out = findings.reward_findings(
        [trial([1, 1], [0, 0], [0, 0], [0, 0]), trial([1, 1], [1, 1], [1, 1], [0, 0])], [1, 1], SETTINGS, {}
    )
    assert [item["level"] for item in out if item["check"] == "preflight.reward_wrong"] == ["ok", "warning"]
    assert findings.gate_problems(out, "steps.s") == []


def test_a_truth_that_no_sampled_answer_has_room_for_is_named():
    cut = findings.cut_truths_finding([f"a.jsonl:{i}" for i in range(5)], 10, 16, SETTINGS, {})
    assert (cut["level"], cut["value"]) == ("warning", 0.5)
    assert cut["message"].startswith("5 of 10 ground truths (a.jsonl:0, a.jsonl:1, a.jsonl:2 and 2 more) have more")
    assert findings.cut_truths_finding([], 10, 16, SETTINGS, {})["level"] == "ok"


def test_a_reward_that_prefers_wrong_answers_stops_the_build():
    out = of_rewards(trial([1, 1], [1, 1], [0, 0], [3, 3]))
    assert (out["reward_order"]["value"], out["reward_order"]["level"]) == (2.0, "warning")
    assert out["reward_order"]["message"] == "empty answers earn 2 more than the ground truth, on average"
    assert len(findings.gate_problems(out.values(), "steps.s")) == 1
    assert (
        findings.gate_problems(
            of_rewards(trial([1], [1], [0], [3]), waive={"reward_order": "brevity"}).values(), "steps.s"
        )
        == []
    )


def with_hostile(truth, other, **hostile):
    plain = trial(truth, [0] * len(truth), other, [0] * len(truth))
    return Trial("f", plain.scores | {kind: np.array(values, float) for kind, values in hostile.items()}, True, 0.0)


def test_a_reward_that_pays_for_hostile_answers_stops_the_build_unless_waived():
    paying = with_hostile([1, 1], [0, 0], repeated=[1, 1], sprayed=[0, 1], claimed=[0, 0])
    item = of_rewards(paying)["reward_hostile"]
    assert (item["value"], item["limit"], item["level"]) == (2.0, 0.0, "warning")
    assert item["message"] == (
        "f pays as much as for the ground truth for 2 of 3 kinds of hostile answers: repeated (the truth three times) 100.0%, sprayed (the truth among other rows' truths) 50.0%"
    )
    (problem,) = findings.gate_problems(of_rewards(paying).values(), "steps.s")
    assert "waive: {reward_hostile: your reason}" in problem.hint
    assert (
        findings.gate_problems(
            of_rewards(paying, waive={"reward_hostile": "a solution ends with it"}).values(), "steps.s"
        )
        == []
    )


def test_a_reward_that_pays_only_for_answers_with_the_truth_may_suit_reasoning():
    (problem,) = findings.gate_problems(of_rewards(with_hostile([1, 1], [0, 0], repeated=[1, 1])).values(), "steps.s")
    assert problem.hint.startswith("these answers contain the truth")
    (problem,) = findings.gate_problems(of_rewards(with_hostile([1, 1], [0, 0], echoed=[1, 1])).values(), "steps.s")
    assert "contain the truth" not in problem.hint


def test_a_reward_that_pays_for_no_hostile_answer_is_right():
    out = of_rewards(with_hostile([1, 1], [0, 0], repeated=[0, 0], sprayed=[0, 0]))
    assert (out["reward_hostile"]["value"], out["reward_hostile"]["level"]) == (0.0, "ok")


def test_a_few_rows_of_a_hundred_are_no_kind_of_cheating():
    echoed = [1.0] * 5 + [0.0] * 95  # five prompts of a hundred end with their answer
    assert of_rewards(with_hostile([1] * 100, [0] * 100, echoed=echoed))["reward_hostile"]["value"] == 0
    echoed[5] = 1.0
    assert of_rewards(with_hostile([1] * 100, [0] * 100, echoed=echoed))["reward_hostile"]["value"] == 1


def test_a_reward_that_judges_the_form_alone_has_no_limit_of_hostile_answers():
    item = of_rewards(with_hostile([1, 1], [1, 1], repeated=[1, 1]))["reward_hostile"]
    assert (item["value"], item["limit"], item["level"]) == (1.0, None, "ok")
    assert "judges the form alone" in item["message"]


def test_a_hostile_answer_that_earns_more_than_the_truth_in_all_functions_stops_the_build():
    right = with_hostile([1, 1], [0, 0], long=[0, 0], repeated=[1, 1])
    length = with_hostile([0.1, 0.1], [0.1, 0.1], long=[4, 4], repeated=[0.3, 0.3])
    assert (
        of_rewards(right, length)["reward_order"]["message"]
        == "long answers earn 2.9 more than the ground truth, on average"
    )
    # what holds the truth is not wrong
    assert of_rewards(right, length, weights=[1, 0.1])["reward_order"]["level"] == "ok"


def test_weights_decide_what_is_preferred():
    right, short = trial([1], [0], [0], [0]), trial([-3], [-3], [-3], [0])
    assert of_rewards(right, short, weights=[1.0, 0.1])["reward_order"]["level"] == "ok"
    assert of_rewards(right, short, weights=[1.0, 1.0])["reward_order"]["level"] == "warning"


def test_of_a_reward_by_chance_nothing_else_is_written():
    out = of_rewards(trial([1, 0], [0, 0], [0, 0], [0, 0], again=False))
    assert list(out) == ["reward_random"]
    assert (out["reward_random"]["value"], out["reward_random"]["level"]) == (1.0, "warning")


def test_memory_is_held_against_a_limit_where_there_is_one():
    parts = {"weights": 2e9, "reference": 0, "total": 3e9}
    assert findings.memory_findings(parts, SETTINGS, {}) == []
    (item,) = findings.memory_findings(parts, SETTINGS | {"memory_gb": 2.5}, {})
    assert (item["value"], item["level"], item["message"]) == (3.0, "warning", "estimated on a GPU, in GB: weights 2.0")
