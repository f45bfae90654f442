"""A gate holds or does not, says why, and names what does not exist."""

import pytest

from stages.scoring.gates import describe_gates, describe_result, judge_gates, ship
from validators._gates import gate_problems
from validators.params import Gate
from validators.problems import Problems

DATA = {
    "steps": {"sft": {"from": "base"}, "align": {"from": "sft"}},
    "datasets": {
        "chat": {"kind": "sft"},
        "pairs": {"kind": "preference", "slice_by": ["lang"]},
        "problems": {"kind": "grpo"},
    },
    "evaluate": {"pass_at_k": [1], "lm_eval": {"tasks": ["arc_easy"]}},
}
GAIN = {"step": "align", "on": "pairs", "metric": "pair_accuracy", "change_low": 0}


def item(value=0.6, low=0.55, high=0.65, n=100, change=0.1, change_low=0.05, change_high=0.15):
    return {
        "value": value,
        "low": low,
        "high": high,
        "n": n,
        "change": change,
        "change_low": change_low,
        "change_high": change_high,
    }


def judged(scores, *gates):
    return judge_gates(DATA | {"gates": [Gate.model_validate(gate).model_dump() for gate in gates]}, scores)


def verdict(found, gate, metric=None):
    (one,) = judged({gate["step"]: {gate.get("no_worse") or gate["on"]: {metric or gate["metric"]: found}}}, gate)
    return one


def told(data_or_gate):
    return [str(problem) for problem in gate_problems(DATA | {"gates": [data_or_gate]}, ["exact_match", "one_word"])]


# -- judging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change_low, passes", [(0.001, True), (0.0, False), (-0.001, False)])
def test_a_gain_is_one_where_the_whole_interval_lies_above(change_low, passes):
    assert verdict(item(change_low=change_low), GAIN).passes == passes


@pytest.mark.parametrize("change_high, passes", [(-0.001, True), (0.0, False)])
def test_a_loss_falls_where_the_whole_interval_lies_below(change_high, passes):
    gate = {"step": "sft", "on": "chat", "metric": "loss", "change_high": 0}
    assert verdict(item(change=-0.1, change_low=-0.2, change_high=change_high), gate).passes == passes


@pytest.mark.parametrize(
    "bound, limit, passes",
    [("at_least", 0.6, True), ("at_least", 0.61, False), ("at_most", 0.6, True), ("at_most", 0.59, False)],
)
def test_a_bound_is_of_the_value(bound, limit, passes):
    assert verdict(item(), {"step": "align", "on": "chat", "metric": "exact_match", bound: limit}).passes == passes


@pytest.mark.parametrize("change_low, passes", [(-0.01, True), (-0.011, False)])
def test_no_worse_allows_what_it_says(change_low, passes):
    gate = {"step": "align", "no_worse": "chat", "metric": "exact_match", "by": 0.01}
    assert verdict(item(change_low=change_low), gate).passes == passes


@pytest.mark.parametrize("change_high, passes", [(0.01, True), (0.011, False)])
def test_no_worse_of_a_loss_is_no_higher(change_high, passes):
    gate = {"step": "align", "no_worse": "chat", "metric": "loss", "by": 0.01}
    assert verdict(item(change_low=-5, change_high=change_high), gate).passes == passes


def test_no_worse_without_a_step_judges_each_and_takes_the_metric_of_the_kind():
    scores = {
        step: {"chat": {"exact_match": item(change_low=low), "loss": item()}}
        for step, low in (("sft", 0), ("align", -1))
    }
    found = judged(scores, {"no_worse": "chat", "by": 0.01})
    assert [(one.step, one.metric, one.passes) for one in found] == [
        ("sft", "exact_match", True),
        ("align", "exact_match", False),
    ]
    assert found[1].name == "align, exact_match of chat: no worse than sft by more than 0.01"


def test_a_task_of_the_harness_is_judged_by_acc():
    gate = {"step": "align", "no_worse": "lm_eval/arc_easy", "by": 0.01}
    assert verdict(item(), gate, "acc").metric == "acc"


def test_without_an_interval_no_change_passes_and_says_so():
    found = verdict(item(n=4, low=None, high=None, change_low=None, change_high=None), GAIN)
    assert not found.passes and found.missing == "+0.100, and no interval: n 4: too few rows"
    found = verdict(item(n=40, change_low=None, change_high=None), GAIN)
    assert found.missing == "+0.100, and no interval: n 40: too few rows of one class"
    assert not verdict(item(change=None, change_low=None, change_high=None), GAIN).passes


def test_without_a_score_nothing_passes():
    assert verdict(item(value=None), GAIN | {"change_low": None, "at_least": 0}).missing == "the score has no value"
    (found,) = judged({"align": {"chat": {"loss": item()}}}, GAIN)
    assert not found.passes and found.missing == "pairs was not scored"


def test_what_only_the_scores_know_is_named():
    scores = {"align": {"lm_eval/arc_easy": {"acc": item(), "acc_norm": item()}, "pairs": {"margin": item()}}}
    with pytest.raises(Problems) as error:
        judged(
            scores,
            {"step": "align", "no_worse": "lm_eval/arc_esy", "by": 0},
            {"step": "align", "on": "lm_eval/arc_easy", "metric": "acc_nrm", "at_least": 0.3},
            GAIN,
        )
    assert [str(problem).replace("\n", "") for problem in error.value.problems] == [
        "gates.0: lm_eval/arc_esy was not scored; expected a task with scores  hint: did you mean 'lm_eval/arc_easy'?",
        "gates.1: no metric 'acc_nrm' of lm_eval/arc_easy; expected one with scores  hint: did you mean 'acc_norm'?",
        "gates.2: no metric 'pair_accuracy' of pairs; expected one with scores  hint: known: margin",
    ]


def test_a_rule_that_would_judge_a_step_twice_is_named():
    scores = {step: {"chat": {"exact_match": item()}} for step in ("sft", "align")}
    with pytest.raises(Problems, match="judged twice: align, exact_match of chat"):
        judged(scores, {"no_worse": "chat", "by": 0}, {"no_worse": "chat", "by": 0, "step": "align", "waive": "why"})


def test_a_waived_gate_does_not_pass_and_does_not_keep_a_model_back():
    found = verdict(item(change_low=-1), GAIN | {"waive": "ten pairs so far"})
    assert (found.passes, ship([found])) == (False, True)
    assert describe_result(vars(found)).startswith("waived (ten pairs so far): +0.100 (-1.000 to +0.150)")
    assert describe_gates([vars(found)]) == "ship: 0 of 1 gate passes, 1 waived"
    assert describe_result(vars(verdict(item(), GAIN | {"waive": "ten pairs so far"}))).endswith(
        "its waiver is not needed"
    )


def test_one_that_does_not_pass_is_enough_and_none_is_no_verdict():
    good, bad = verdict(item(), GAIN), verdict(item(change_low=-1), GAIN)
    assert (ship([good]), ship([good, bad]), ship([])) == (True, False, None)
    assert describe_gates([vars(good), vars(bad)]) == "do not ship: 1 of 2 gates pass"


IN_GERMAN = {"step": "align", "on": "chat", "slice": {"lang": "de"}, "metric": "exact_match", "at_least": 0.5}
SLICED = {"align": {"chat": {"exact_match": item() | {"slices": [
    {"by": "lang", "slice": "de"} | item(value=0.1), {"by": "lang", "slice": None} | item(value=0.9), {"by": "lang", "slice": None, "others": 3} | item(value=0.2),
    {"by": "stars", "slice": "5"} | item(value=0.9),
]}}}}  # fmt: skip


def test_a_gate_of_a_slice_judges_that_slice_alone_and_says_so():
    (found,) = judged(SLICED, IN_GERMAN)
    assert (found.passes, found.found) == (False, "0.100 (0.550 to 0.650)")
    assert found.name == "align, exact_match of chat: at least 0.5 where lang is de"
    (of_all, none, five) = judged(
        SLICED, IN_GERMAN | {"slice": None}, IN_GERMAN | {"slice": {"lang": None}}, IN_GERMAN | {"slice": {"stars": 5}}
    )
    assert of_all.passes and none.passes and five.passes
    assert (none.rule, five.rule) == ("at least 0.5 where there is no lang", "at least 0.5 where stars is 5")


@pytest.mark.parametrize(
    "wanted, hint", [({"lang": "dee"}, "did you mean 'de'?"), ({"file": "a"}, "the scores have no slices of it")]
)
def test_a_slice_that_the_scores_do_not_have_is_named(wanted, hint):
    with pytest.raises(Problems) as error:
        judged(SLICED, IN_GERMAN | {"slice": wanted})
    (problem,) = error.value.problems
    assert problem.where == "gates.0.slice" and problem.hint == hint


# -- what params.yaml may say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [
    GAIN,
    {"step": "align", "on": "chat", "metric": "exact_match", "at_least": 0.3, "waive": "a first try"},
    {"no_worse": "lm_eval/arc_easy", "by": 0.01},
    {"no_worse": "chat", "metric": "loss", "by": 0},
    {"step": "sft", "on": "problems", "metric": "reward/one_word", "at_least": 0.1},
    {"step": "sft", "on": "problems", "metric": "pass@1/one_word", "at_least": 0.1},
    {"step": "sft", "on": "lm_eval/a_task_of_a_group", "metric": "acc", "at_least": 0.1},
    GAIN | {"slice": {"file": "data/raw/a.jsonl"}},
    GAIN | {"slice": {"lang": None}},
])  # fmt: skip
def test_these_gates_are_taken(gate):
    assert told(gate) == []


@pytest.mark.parametrize("change, said", [
    ({"step": "algn"}, "gates.0.step: no step 'algn'; expected a name under steps\n  hint: did you mean 'align'?"),
    ({"on": "pears"}, "gates.0.on: no dataset 'pears'; expected a name under datasets, or lm_eval/<task> of evaluate.lm_eval\n  hint: did you mean 'pairs'?"),
    ({"slice": {"lagn": "de"}}, "gates.0.slice: pairs is not sliced by 'lagn'; expected file, or a key of datasets.pairs.slice_by\n  hint: did you mean 'lang'?"),
    ({"slice": {}}, "gates.0.slice: 0 keys; expected one key and its value"),
    ({"on": "lm_eval/arc_easy", "slice": {"file": "a"}}, "gates.0.slice: lm_eval/arc_easy has no slices"),
    ({"metric": "pair_acuracy"}, "gates.0.metric: no metric 'pair_acuracy' of pairs; expected a metric of kind preference\n  hint: did you mean 'pair_accuracy'?"),
    ({"metric": None}, "gates.0: without metric; expected step, on and metric, or no_worse and by"),
    ({"change_low": None}, "gates.0: has no bound; expected one of at_least, at_most, change_low, change_high"),
    ({"at_least": 0.1}, "gates.0: has at_least, change_low; expected one of"),
    ({"by": 0.1}, "gates.0: by without no_worse"),
    ({"no_worse": "pairs", "by": 0}, "gates.0: no_worse with on, change_low"),
    ({"no_worse": "pairs", "on": None, "change_low": None}, "gates.0: no_worse without by"),
    ({"no_worse": "pears", "by": 0, "on": None, "change_low": None, "metric": None}, "gates.0.no_worse: no dataset 'pears'"),
])  # fmt: skip
def test_a_gate_on_what_does_not_exist_is_named(change, said):
    (problem,) = told(GAIN | change)
    assert problem.startswith("params.yaml: " + said)


def test_a_gate_that_is_there_twice_is_named():
    data = DATA | {"gates": [GAIN, GAIN | {"waive": "why"}]}
    assert [str(problem) for problem in gate_problems(data, [])] == [
        "params.yaml: gates.1: is the same as gates.0; expected each gate once\n  hint: remove one"
    ]


def test_a_task_of_a_harness_that_is_off_is_named():
    data = DATA | {"evaluate": {"lm_eval": None}, "gates": [{"no_worse": "lm_eval/arc_easy", "by": 0.01}]}
    assert "no dataset 'lm_eval/arc_easy'" in str(gate_problems(data, [])[0])
