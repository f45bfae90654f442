import pytest

from stages.reporting import scoreboard
from stages.reporting.headlines import headline
from stages.reporting.score_text import format_score


def item(value, change=None, low=None, high=None):
    return {
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "n": 10,
        "change": change,
        "change_low": low,
        "change_high": high,
    }


@pytest.mark.parametrize(
    "metric, interval, verdict",
    [
        ("exact_match", (0.2, 0.1, 0.3), "better"),
        ("exact_match", (-0.2, -0.3, -0.1), "worse"),
        ("exact_match", (0.2, -0.1, 0.3), None),
        ("loss", (0.2, 0.1, 0.3), "worse"),
        ("loss", (-0.2, -0.3, -0.1), "better"),
        ("exact_match", (0.0, 0.0, 0.0), None),
        ("auc", (0.1, None, None), None),
    ],
)
def test_a_change_is_better_or_worse_only_where_its_interval_excludes_zero(metric, interval, verdict):
    assert format_score(item(0.5, *interval), metric)["verdict"] == verdict


def test_a_score_of_few_rows_says_so_and_so_do_answers_that_were_cut():
    found = format_score(item(0.5) | {"low": None, "high": None, "cut": 4}, "exact_match")
    assert (found["interval"], found["noted"]) == ("n 10: too few rows", "4 of 10 answers cut")
    assert format_score(item(0.5) | {"cut": 0, "cut_thinking": 2}, "exact_match")["noted"] == "2 cut while thinking"
    assert scoreboard.thinking_lines(
        {"sft": {"exact_match": item(0.5) | {"cut_thinking": 2, "finished": 0.625}, "loss": item(0.5)}}
    ) == ["sft, exact_match: 2 of 10 answers cut while thinking, 0.625 of the others"]
    assert format_score(item(0.5), "exact_match")["interval"] == "[0.400, 0.600]"


def test_a_score_that_cannot_be_told_is_a_dash():
    nothing = {
        "value": None,
        "low": None,
        "high": None,
        "n": 5,
        "change": None,
        "change_low": None,
        "change_high": None,
    }
    assert format_score(nothing, "auc")["value"] == "–"
    assert scoreboard.plot_position(nothing, [nothing])["x"] is None


def test_shares_stand_on_the_whole_scale_and_others_on_that_of_the_models():
    half = item(0.5)
    assert scoreboard.plot_position(half, [half])["x"] == 75
    loss, other = item(2.0), item(6.0)
    assert (
        scoreboard.plot_position(loss, [loss, other])["low_x"] == 5
        and scoreboard.plot_position(other, [loss, other])["high_x"] == 145
    )


def test_steps_are_compared_on_their_own_metric_and_on_a_shared_one():
    scores = {
        "base": {"chat": {"exact_match": item(0.1)}, "pairs": {"pair_accuracy": item(0.5)}},
        "dpo": {
            "chat": {"exact_match": item(0.2, 0.1, 0.05, 0.15)},
            "pairs": {"pair_accuracy": item(0.9, 0.4, 0.3, 0.5)},
        },
        "sft": None,
    }
    steps = {
        "dpo": {"method": "dpo", "from": "base", "dataset": "pairs"},
        "sft": {"method": "sft", "from": "base", "dataset": "chat"},
    }
    seen = {"dpo": {"rows": 9, "seen": 8, "times": 16, "tokens": 400, "sequences": 16}, "sft": None}
    board = scoreboard.board(scores, steps, {"dpo": {"trained_rows": 9, "optimizer_steps": 3}, "sft": None}, seen)
    assert board["common"] == {"dataset": "chat", "metric": "exact_match"}
    dpo, sft = board["compared"]
    assert (dpo["own_metric"], dpo["own"]["value"], dpo["common"]["value"], dpo["rows"]) == (
        "pair_accuracy",
        "0.900",
        "0.200",
        8,
    )
    assert (dpo["rows_seen"], dpo["tokens_seen"], sft["rows"], sft["tokens_seen"]) == (16, 400, None, None)
    assert sft["own"] is None and sft["common"] is None
    assert [name for name, step in steps.items() if headline(name, step, {"dpo": scores["dpo"]})] == ["dpo"]


def test_a_headline_is_the_loss_where_no_model_gives_an_answer_and_says_why():
    nothing, some = item(0.0) | {"cut": 9}, item(0.1)
    steps = {"sft": {"method": "sft", "from": "base", "dataset": "chat"}}
    scores = {
        name: {"chat": {"loss": item(loss), "exact_match": nothing}} for name, loss in (("base", 5.0), ("sft", 0.2))
    }
    board = scoreboard.board(scores, steps, {"sft": None}, {})
    line = headline("sft", steps["sft"], scores)
    assert (line["metric"], line["score"]["value"]) == ("loss", "0.200")
    assert line["why"] == "not exact_match: it is 0 for every model, and evaluate.max_new_tokens cut 18 of 20 answers"
    assert board["common"] == {"dataset": "chat", "metric": "loss"} and board["compared"][0]["own_metric"] == "loss"
    scores["base"]["chat"]["exact_match"] = some
    line = headline("sft", steps["sft"], scores)
    assert (line["metric"], line["why"]) == ("exact_match", "")


def test_a_reward_of_nothing_stays_as_no_loss_is_there_to_say():
    steps = {"align": {"method": "grpo", "from": "base", "dataset": "maths"}}
    scores = {name: {"maths": {"reward": item(0.0)}} for name in ("base", "align")}
    line = headline("align", steps["align"], scores)
    assert (line["metric"], line["why"]) == ("reward", "it is 0 for every model")


def test_scores_of_other_tasks_are_shown_as_all_others():
    task = {"acc": item(0.4) | {"stderr": 0.05}, "word_perplexity": {"value": 9.0, "low": 8.0, "high": 10.0}}
    (table,) = scoreboard.board({"base": {"lm_eval/arc": task}}, {}, {}, {})["scores"]
    assert table["name"] == "lm_eval/arc" and table["rows"] == 10
    assert [(metric["name"], metric["lower"]) for metric in table["metrics"]] == [
        ("acc", False),
        ("word_perplexity", True),
    ]


def test_the_text_to_copy_has_every_number_as_it_is_in_the_file():
    scores = {"base": {"chat": {"loss": item(0.123456)}}}
    header, line = scoreboard.scores_as_text(scores, ["chat"]).splitlines()
    assert header.split("\t")[:4] == ["dataset", "metric", "model", "value"]
    assert line.split("\t")[:4] == ["chat", "loss", "base", "0.123456"]


def test_the_headline_of_a_dataset_with_metrics_of_its_own_is_the_first_of_them():
    scores = {"sft": {"d": {"loss": item(2.0), "token_accuracy": item(0.4), "rouge_l": item(0.1)}}}
    step = {"method": "sft", "dataset": "d", "from": "base"}
    assert headline("sft", step, scores)["metric"] == "rouge_l"
    none = {"sft": {"d": {"loss": item(2.0), "rouge_l": item(0.0)}}}
    assert headline("sft", step, none)["metric"] == "loss"
    assert headline("sft", step, {"sft": {"d": {"loss": item(2.0)}}}) is None
