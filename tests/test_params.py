import copy
import json
from pathlib import Path

import pytest
from builds import SAMPLE

from validators._cautions import KIND_OF_METHOD
from validators.params import examine, fill_defaults, read_params_yaml
from validators.problems import Problems

SHIPPED = json.dumps(read_params_yaml(SAMPLE))
REVISION = "0123456789abcdef0123456789abcdef01234567"


def shipped(**steps):
    """params.yaml of the repository as data without YAML's aliases, its steps replaced if given, then without gates on others."""
    data = json.loads(SHIPPED)
    if steps:
        data |= {"steps": steps, "gates": []}
    return data


def method(name, **keys):
    """A step as params.yaml ships it for a method, with keys replaced."""
    return shipped()["methods"][name] | keys


def put(data, path, value):
    *parents, key = path.split(".")
    place = data
    for part in parents:
        place = place[part]
    place[key] = value
    return data


def drop(data, path):
    *parents, key = path.split(".")
    place = data
    for part in parents:
        place = place[part]
    del place[key]
    return data


def mistakes(data):
    """(where, hint) of every problem, without the file's name."""
    problems, _ = examine(data)
    return [(problem.where.removeprefix("params.yaml: "), problem.hint) for problem in problems]


def test_the_shipped_file_has_no_mistake_and_no_warning_that_is_not_waived():
    assert mistakes(shipped()) == []
    assert [warning.name for warning in examine(shipped())[1] if warning.waived is None] == []


@pytest.mark.parametrize("name", KIND_OF_METHOD)
def test_every_shipped_method_is_right_after_sft(name):
    data = shipped(sft=method("sft"), align=method(name))
    assert mistakes(data) == []
    assert [warning.name for warning in examine(data)[1] if warning.waived is None] == []


def test_examining_leaves_the_data_as_it_was():
    data = shipped()
    examine(data)
    assert data == shipped()


# -- keys and types -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, value, meant",
    [
        ("sed", 7, "seed"),
        ("base.modle", "tiny", "model"),
        ("datasets.chat.knd", "sft", "kind"),
        ("methods.kto.form", "base", "from"),
        ("steps.align.datset", "pairs", "dataset"),
        ("steps.align.lora.lora_alhpa", 8, "lora_alpha"),
        ("evaluate.max_row", 1, "max_rows"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(path, value, meant):
    data = put(shipped(), "steps.align.lora", {"r": 16})
    assert mistakes(put(data, path, value)) == [(path, f"did you mean '{meant}'?")]


def test_an_unknown_key_like_no_other_lists_the_known_ones():
    ((where, hint),) = mistakes(put(shipped(), "datasets.chat.zzzz", 1))
    assert (where, hint) == (
        "datasets.chat.zzzz",
        "known: columns, consent, eval, exclude, format, ground_truth_pattern, ignore, kind, license, margin, max_reject_share, max_rows, metrics, pairs, private, raw, reasoning, slice_by, source, split_on, system, waive, weights",
    )


def test_an_unknown_key_is_found_in_a_step_that_has_the_name_of_a_key():
    data = shipped(sft=method("sft"), lora=method("dpo", datset="pairs"))
    assert mistakes(data) == [("steps.lora.datset", "did you mean 'dataset'?")]


@pytest.mark.parametrize(
    "path",
    [
        "seed",
        "launch",
        "eval_fraction",
        "base",
        "base.model",
        "datasets",
        "datasets.chat.kind",
        "datasets.chat.raw",
        "steps",
        "steps.align.method",
        "steps.align.from",
        "steps.align.dataset",
        "evaluate",
        "evaluate.max_rows",
    ],
)
def test_a_missing_key_is_named(path):
    assert [where for where, _ in mistakes(drop(shipped(), path))] == [path]


@pytest.mark.parametrize(
    "path, value",
    [
        ("seed", "7"),
        ("seed", 7.5),
        ("seed", True),
        ("launch", None),
        ("eval_fraction", 0),
        ("eval_fraction", 1),
        ("eval_fraction", "0.1"),
        ("base", "tiny"),
        ("base.model", 5),
        ("base.backend", "vllm"),
        ("datasets", []),
        ("datasets.chat", "data/raw/chat"),
        ("datasets.chat.raw", ["a", "b"]),
        ("datasets.chat.max_reject_share", 1.5),
        ("datasets.chat.max_reject_share", "5%"),
        ("steps", None),
        ("steps.align", None),
        ("steps.align.args", None),
        ("steps.align.lora", {"r": 0}),
        ("steps.align.lora", {"lora_dropout": 1.0}),
        ("steps.align.waive", {"beta": None}),
        ("evaluate.max_rows", 0),
        ("evaluate.batch_size", 1.5),
    ],
)
def test_a_value_of_a_wrong_type_or_size_is_named(path, value):
    wheres = [where for where, _ in mistakes(put(shipped(), path, value))]
    assert len(wheres) == 1
    assert wheres[0].startswith(path)


@pytest.mark.parametrize(
    "path, value, meant", [("steps.align.method", "dpoo", "dpo"), ("datasets.chat.kind", "stf", "sft")]
)
def test_an_unknown_word_is_named_with_the_one_that_was_meant(path, value, meant):
    found = mistakes(put(shipped(), path, value))
    assert found[0] == (path, f"did you mean '{meant}'?")


@pytest.mark.parametrize(
    "path, value",
    [
        ("methods", 5),
        ("steps.align.from", ["sft"]),
        ("steps.align.dataset", ["pairs"]),
        ("steps.align.method", ["dpo"]),
        ("steps.align.args", ["beta"]),
        ("steps.align.lora", 16),
        ("steps.align.waive", 5),
    ],
)
def test_a_container_of_a_wrong_type_is_no_traceback(path, value):
    wheres = [where for where, _ in mistakes(put(shipped(), path, value))]
    assert wheres == [path]


@pytest.mark.parametrize("rewards", [5, "exact_match"])
def test_rewards_that_are_no_list_are_one_mistake(rewards):
    data = shipped(sft=method("sft"), align=method("grpo", rewards=rewards))
    assert [where for where, _ in mistakes(data)] == ["steps.align.rewards"]


def test_a_mistake_in_a_method_that_a_step_of_its_name_takes_is_said_once():
    data = put(put(shipped(), "methods.sft.frm", "base"), "steps.sft.frm", "base")
    assert [where for where, _ in mistakes(data)] == ["steps.sft.frm"]


def test_a_mistake_in_a_method_that_a_step_of_another_name_takes_is_said_once():
    data = put(put(shipped(), "methods.dpo.frm", "base"), "steps.align.frm", "base")
    assert [where for where, _ in mistakes(data)] == ["steps.align.frm"]


# -- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["My_step", "1st", "a-b", "a.b", "a b", "a/b", "$(x)", "", "_a", "ä"])
@pytest.mark.parametrize("section", ["steps", "datasets", "methods"])
def test_a_name_that_is_not_safe_in_a_shell_is_named(section, name):
    data = shipped()
    data[section][name] = copy.deepcopy(next(iter(data[section].values())))
    assert [where for where, _ in mistakes(data)] == [f"{section}.{name}"]


def test_a_name_that_ends_in_a_newline_is_named():
    assert [where for where, _ in mistakes(put(shipped(), "steps.abc\n", method("sft")))] == ["steps.abc\n"]


def test_a_step_called_base_is_named():
    assert "steps.base" in [where for where, _ in mistakes(put(shipped(), "steps.base", method("sft")))]


def test_an_unknown_dataset_is_named_with_the_one_that_was_meant():
    data = put(shipped(), "steps.align.dataset", "pair")
    assert mistakes(data) == [("steps.align.dataset", "did you mean 'pairs'?")]


def test_an_unknown_parent_is_named_with_the_one_that_was_meant():
    assert mistakes(put(shipped(), "steps.align.from", "stf"))[0] == ("steps.align.from", "did you mean 'sft'?")


def test_a_dataset_of_another_kind_is_named_with_those_that_fit():
    for name, kind in KIND_OF_METHOD.items():
        dataset, fitting = ("pairs", "chat") if kind == "sft" else ("chat", kind_of(kind))
        data = shipped(sft=method("sft"), align=method(name, dataset=dataset))
        assert mistakes(data) == [("steps.align.dataset", f"datasets of that kind: {fitting}")]


def kind_of(kind):
    return next(name for name, dataset in shipped()["datasets"].items() if dataset["kind"] == kind)


@pytest.mark.parametrize("chain", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_steps_that_come_back_to_themselves_are_each_named(chain):
    steps = {name: method("sft", **{"from": chain[i - 1]}) for i, name in enumerate(chain)}
    data = shipped(**steps, behind=method("sft", **{"from": "a"}))
    assert [where for where, _ in mistakes(data)] == [f"steps.{name}.from" for name in chain]


# -- base ---------------------------------------------------------------------------------------------------------


def base(**keys):
    return put(shipped(), "base", keys)


def test_a_hub_id_needs_a_revision():
    ((where, hint),) = mistakes(base(model="Qwen/Qwen3-0.6B", revision=None))
    assert where == "base.revision"
    assert "40 digits" in hint


def test_a_hub_id_with_a_commit_is_right():
    assert mistakes(base(model="Qwen/Qwen3-0.6B", revision=REVISION)) == []


@pytest.mark.parametrize("revision", ["main", "v1.0", REVISION[:7]])
def test_a_revision_that_can_move_is_named(revision):
    assert [where for where, _ in mistakes(base(model="Qwen/Qwen3-0.6B", revision=revision))] == ["base.revision"]


@pytest.mark.parametrize("model", ["missing", "models/that/is/not/there", "./missing", "../x"])
def test_a_model_that_is_not_there_is_named(model):
    assert [where for where, _ in mistakes(base(model=model))] == ["base.model"]


def test_a_local_folder_is_a_model_if_it_has_a_config(tmp_path):
    assert [where for where, _ in mistakes(base(model=str(tmp_path)))] == ["base.model"]
    (tmp_path / "config.json").touch()
    assert mistakes(base(model=str(tmp_path))) == []


# -- rewards ------------------------------------------------------------------------------------------------------


def rewarded(rewards, **args):
    return shipped(sft=method("sft"), align=method("grpo", rewards=rewards, args={"learning_rate": 1.0e-5, **args}))


def test_an_unknown_reward_is_named_with_the_one_that_was_meant():
    assert mistakes(rewarded(["exact_mach"])) == [("steps.align.rewards", "did you mean 'exact_match'?")]


def test_a_private_function_is_no_reward():
    assert [where for where, _ in mistakes(rewarded(["_text"]))] == ["steps.align.rewards"]


@pytest.mark.parametrize("rewards", [None, []])
def test_grpo_without_a_reward_lists_those_there_are(rewards):
    ((where, hint),) = mistakes(rewarded(rewards))
    assert where == "steps.align.rewards"
    assert "exact_match" in hint


@pytest.mark.parametrize("name", [name for name in KIND_OF_METHOD if name != "grpo"])
def test_rewards_belong_to_grpo_alone(name):
    data = shipped(sft=method("sft"), align=method(name, rewards=["exact_match"]))
    assert mistakes(data) == [("steps.align.rewards", "rewards belong to grpo")]


@pytest.mark.parametrize("weights, right", [([1.0, 0.5], True), ([1.0], False), ([1.0, 1.0, 1.0], False)])
def test_there_is_one_weight_for_each_reward(weights, right):
    wheres = [where for where, _ in mistakes(rewarded(["exact_match", "one_word"], reward_weights=weights))]
    assert wheres == ([] if right else ["steps.align.args.reward_weights"])


# -- all at once, and the file ------------------------------------------------------------------------------------


def test_all_mistakes_come_at_once():
    data = shipped(sft=method("sft"), align=method("dpo"), last=method("grpo"))
    put(data, "sed", 1)
    drop(data, "launch")
    put(data, "datasets.chat.knd", "sft")
    put(data, "base", {"model": "Qwen/Qwen3-0.6B"})
    put(data, "steps.Bad", method("sft"))
    put(data, "steps.align.args.bta", 0.1)
    put(data, "steps.align.dataset", "chat")
    put(data, "steps.last.rewards", ["exact_mach"])
    put(data, "steps.last.from", "alin")
    assert sorted(where for where, _ in mistakes(data)) == [
        "base.revision",
        "datasets.chat.knd",
        "launch",
        "sed",
        "steps.Bad",
        "steps.align.args.bta",
        "steps.align.dataset",
        "steps.last.from",
        "steps.last.rewards",
    ]


@pytest.mark.parametrize(
    "text, where, found",
    [
        ("seed: 7\nbase: [1\nx: 2\n", ":3:2", "not YAML"),
        ("seed: 7\n\tbase: 1\n", ":2:1", "not YAML"),
        ("seed: 7\nseed: 8\n", ":2:1", "duplicate key"),
        ("a: &sft {b: 1}\n# on\nx: {*sft, dataset: x}\n", ":3:5", "*sft stands alone"),
        ("a: &sft {b: 1}\nx: {\n  dataset: x, *sft}\n", ":3:15", "*sft stands alone"),
        ("a: &sft {b: 1}\nx: *sft\n  dataset: x\n", ":2:4", "*sft stands alone"),
        ("a: &sft {b: 1}\nx:\n  *sft  # all\n  dataset: x\n", ":3:3", "*sft stands alone"),
        ("seed: *sft\n", ":1:7", "undefined alias"),
        ("seed: !!python/object:os.system x\n", ":1:7", "could not determine a constructor"),
        ("", "", "found NoneType"),
        ("- seed\n", "", "found list"),
    ],
)
def test_a_file_that_is_not_yaml_is_named_with_its_line(tmp_path, text, where, found):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(Problems) as raised:
        read_params_yaml(path)
    (problem,) = raised.value.problems
    assert problem.where == f"{path}{where}"
    assert found in problem.found


def test_a_file_that_is_not_utf8_or_not_there_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"seed: \xff\n")
    for name in ("latin.yaml", "missing.yaml"):
        with pytest.raises(Problems, match=name):
            read_params_yaml(tmp_path / name)


def test_what_is_said_of_a_bare_alias_works(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &sft {b: 1}\nx: {*sft, dataset: x}\n")
    with pytest.raises(Problems) as raised:
        read_params_yaml(path)
    (problem,) = raised.value.problems
    assert "{<<: *sft, dataset: x}" in problem.hint
    path.write_text("a: &sft {b: 1}\nx: {<<: *sft, dataset: x}\n")
    assert read_params_yaml(path)["x"] == {"b": 1, "dataset": "x"}


def test_a_waiver_that_waives_nothing_in_a_step_is_warned_of():
    data = shipped()
    step = data["steps"]["sft"]
    step |= {"args": step["args"] | {"learning_rate": 1e-4}, "waive": {"learning_rate": "came along"}}
    (warning,) = [warning for warning in examine(data)[1] if warning.waived is None]
    assert "steps.sft: waive.learning_rate waives nothing" in str(warning) and "waive: {}" in str(warning)


@pytest.mark.parametrize(
    "key, meant",
    [("lr", "learning_rate"), ("epochs", "num_train_epochs"), ("batch_size", "per_device_train_batch_size")],
)
def test_short_names_of_args_lead_to_those_of_trl(key, meant):
    data = shipped()
    put(data, f"steps.sft.args.{key}", 1)
    assert mistakes(data) == [(f"steps.sft.args.{key}", f"did you mean '{meant}'?")]


def test_numbers_are_read_as_yaml_1_2_has_them(tmp_path):
    (tmp_path / "p.yaml").write_text("a: 1e-4\nb: no\nc: '1e-4'\nd: 010\n")
    assert read_params_yaml(tmp_path / "p.yaml") == {"a": 1e-4, "b": "no", "c": "1e-4", "d": 10}


def test_pass_at_k_wants_as_many_samples():
    valid = shipped()
    valid["evaluate"] |= {"pass_at_k": [1, 8], "samples": 4}
    (problem,) = examine(valid)[0]
    assert (problem.where, problem.found) == ("params.yaml: evaluate.pass_at_k", "pass@8 of 4 samples")
    valid["evaluate"]["samples"] = 8
    assert not examine(valid)[0]


@pytest.mark.parametrize(
    "evaluate, where",
    [
        ({"pass_at_k": []}, "evaluate.pass_at_k"),
        ({"max_thinking_tokens": 0}, "evaluate.max_thinking_tokens"),
        ({"chat_template_kwargs": ["enable_thinking"]}, "evaluate.chat_template_kwargs"),
        ({"pass_at_k": [0]}, "evaluate.pass_at_k.0"),
        ({"temperature": 0}, "evaluate.temperature"),
        ({"lm_eval": {"tasks": []}}, "evaluate.lm_eval.tasks"),
        ({"lm_eval": {"tasks": ["x"], "limt": 3}}, "evaluate.lm_eval.limt"),
    ],
)
def test_what_evaluate_cannot_do_is_a_problem_at_its_key(evaluate, where):
    valid = shipped()
    valid["evaluate"] |= evaluate
    (problem,) = examine(valid)[0]
    assert problem.where == f"params.yaml: {where}"
    if "limt" in where:
        assert problem.hint == "did you mean 'limit'?"


def test_4_bit_weights_need_adapters():
    data = shipped(sft=method("sft", load_in_4bit=True))
    assert mistakes(data) == [("steps.sft.load_in_4bit", "lora: {r: 16, lora_alpha: 16}, or no load_in_4bit")]
    assert mistakes(shipped(sft=method("sft", load_in_4bit=True, lora={"r": 16, "lora_alpha": 16}))) == []
    assert mistakes(shipped(sft=method("sft", load_in_4bit="yes")))[0][0] == "steps.sft.load_in_4bit"


def test_a_method_that_the_backend_does_not_train_is_named(monkeypatch):
    from validators import params

    data = put(shipped(sft=method("sft"), align=method("kto")), "base.backend", "unsloth")
    assert mistakes(data) == []
    monkeypatch.setitem(params.BACKENDS, "unsloth", ("sft",))
    assert mistakes(data) == [("steps.align.method", "base.backend: transformers")]
    assert mistakes(put(data, "base.backend", "auto")) == []


def test_unsloth_with_vllm_needs_adapters():
    step = method("grpo")
    step["args"] = step["args"] | {"use_vllm": True}
    data = put(shipped(sft=method("sft"), align=step), "base.backend", "unsloth")
    assert [where for where, _ in mistakes(data)] == ["steps.align.args.use_vllm"]
    assert mistakes(put(data, "base.backend", "transformers")) == []


def test_a_launch_config_that_is_not_there_is_named(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    wrong = put(shipped(), "launch", "accelerate launch --config_file recipes/accelerate/dpd.yaml")
    assert mistakes(wrong)[0][0] == "launch"
    assert "recipes/accelerate/ddp.yaml" in mistakes(wrong)[0][1]
    right = put(shipped(), "launch", "accelerate launch --config_file recipes/accelerate/ddp.yaml --num_processes 2")
    assert mistakes(right) == []


# -- personal data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rules, where, said",
    [
        ({"rejct": ["email"]}, "curate.personal_data.rejct", "did you mean 'reject'?"),
        ({"reject": ["emial"]}, "curate.personal_data.reject.0", "did you mean 'email'?"),
        ({}, "curate.personal_data", "neither `reject` nor `warn`"),
        ({"reject": ["email"], "warn": ["email"]}, "curate.personal_data.warn", "'email' is in `reject` as well"),
        ({"reject": ["phone"], "regions": ["us"]}, "curate.personal_data.regions", "did you mean 'US'?"),
    ],
)
def test_a_mistake_in_the_rules_for_personal_data_is_named(rules, where, said):
    problems, _ = examine(put(shipped(), "curate.personal_data", rules))
    assert [problem.where for problem in problems] == [f"params.yaml: {where}"] and said in str(problems[0])


def test_rules_for_personal_data_are_off_or_right():
    for rules in (None, {"reject": ["email", "phone"], "warn": ["iban"], "regions": ["US", "DE"]}):
        assert examine(put(shipped(), "curate.personal_data", rules))[0] == []


@pytest.mark.parametrize(
    ("reasoning", "args", "said"),
    [
        ("mask", {"assistant_only_loss": False}, True),
        ("mask", {"assistant_only_loss": False, "completion_only_loss": True}, False),
        ("mask", {"assistant_only_loss": True}, False),
        ("mask", {}, False),
        ("drop", {"assistant_only_loss": False}, False),
    ],
)
def test_a_step_that_learns_all_of_a_dataset_with_masked_thoughts_is_said_once(reasoning, args, said):
    data = shipped()
    name, step = next((name, step) for name, step in data["steps"].items() if step["method"] == "sft")
    data["datasets"][step["dataset"]]["reasoning"] = reasoning
    data["steps"][name] = step | {"args": step.get("args", {}) | args}
    where = f"steps.{name}.args.assistant_only_loss"
    assert [hint for place, hint in mistakes(data) if place == where] == (
        ["leave it out, or reasoning: drop, last_turn or keep of the dataset"] if said else []
    )


@pytest.mark.parametrize("given", [{"every": 1, "max_rows": 10}, {"every": 5}, {}, None])
def test_rollouts_of_a_grpo_step_are_right(given):
    data = shipped()
    data["steps"] = {"sft": data["methods"]["sft"], "align": data["methods"]["grpo"] | {"rollouts": given}}
    assert examine(data)[0] == []
    assert fill_defaults(data)["steps"]["align"]["rollouts"] == (
        None if given is None else {"every": 10, "max_rows": 5000} | given
    )


@pytest.mark.parametrize(
    "method, given, where",
    [("sft", {"every": 5}, "steps.sft.rollouts"), ("grpo", {"every": 0}, "steps.grpo.rollouts.every"), ("grpo", {"evry": 5}, "steps.grpo.rollouts.evry")],
)  # fmt: skip
def test_rollouts_that_cannot_be_are_named(method, given, where):
    data = shipped()
    steps = {"sft": data["methods"]["sft"], method: data["methods"][method] | {"rollouts": given}}
    found = [problem.where for problem in examine(data | {"steps": steps, "gates": []})[0]]
    assert found == [f"params.yaml: {where}"]


def test_an_argument_of_trl_beside_args_is_sent_there():
    from builds import SAMPLE

    data = read_params_yaml(SAMPLE)
    step = next(iter(data["steps"].values()))
    step["reward_weights"] = [1.0, 0.2]
    (problem,) = [each for each in examine(data)[0] if "reward_weights" in each.where]
    assert problem.hint == "args: {reward_weights: ...}"
