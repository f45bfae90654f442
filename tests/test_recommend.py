import json
import shutil
from itertools import product
from types import SimpleNamespace

import pytest
import typer
from builds import SAMPLE
from ruamel.yaml import YAML

from commands import recommend
from commands.recommend import choose_method
from stages.check import check
from validators.params import read_params_yaml
from validators.problems import Problems

FILES = {
    "chat": {"instruction": "q", "output": "a"},
    "pairs": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "feedback": {"prompt": "q", "completion": "a", "label": True},
    "problems": {"question": "q", "answer": "a"},
}


def yaml():
    return YAML(typ="safe", pure=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with raw data of every kind and params.yaml with a section of datasets."""
    monkeypatch.chdir(tmp_path)
    for name, record in FILES.items():
        (tmp_path / "data/raw" / name).mkdir(parents=True)
        (tmp_path / "data/raw" / name / "data.jsonl").write_text(json.dumps(record))
    sample = SAMPLE.read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(
        sample.partition("\ngates:")[0] + "\n", encoding="utf-8"
    )  # they are on its steps
    return tmp_path


@pytest.fixture
def said(project, capsys):
    def said(*arguments, **options):
        recommend.main(SimpleNamespace(obj=project), *arguments, **options)
        return capsys.readouterr().out

    return said


@pytest.fixture
def written(project, said):
    """What is printed with --write in a project without params.yaml."""

    def written(*arguments, **options):
        (project / "params.yaml").unlink(missing_ok=True)
        return said(*arguments, write=True, **options)

    return written


def pasted(project, out):
    """params.yaml with what was printed pasted into it."""
    params = yaml().load(SAMPLE)
    del params["gates"]
    entry = yaml().load(out.split("to paste into params.yaml:")[1])
    params["datasets"] |= entry.get("datasets", {})
    params["steps"] = entry["steps"]
    with open(project / "params.yaml", "w", encoding="utf-8") as file:
        yaml().dump(params, file)
    return entry


@pytest.mark.parametrize(
    "kinds, one_stage, method",
    [
        (["sft", "preference"], True, "orpo"),
        (["sft", "preference"], False, "dpo"),
        (["sft", "kto"], False, "kto"),
        (["sft", "grpo"], False, "grpo"),
        (["sft"], False, "sft"),
        (["sft"], True, "sft"),
        (["sft", "preference", "kto", "grpo"], False, "dpo"),
    ],
)
def test_the_data_chooses_the_method(kinds, one_stage, method):
    assert choose_method(kinds, one_stage) == method


@pytest.mark.parametrize("pairs, labels, verifiable, one_stage", product([True, False], repeat=4))
def test_whatever_is_answered_the_steps_pass_check(said, project, pairs, labels, verifiable, one_stage):
    pasted(project, said(pairs=pairs, labels=labels, verifiable=verifiable, one_stage=one_stage))
    check(read_params_yaml())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("one_stage", [True, False])
def test_whatever_the_path_holds_the_steps_pass_check(said, project, name, one_stage):
    pasted(project, said(f"data/raw/{name}", one_stage=one_stage))
    check(read_params_yaml())


def test_the_data_of_params_is_what_the_steps_name(said, project):
    entry = pasted(project, said())
    assert {name: step["dataset"] for name, step in entry["steps"].items()} == {"sft": "chat", "align": "pairs"}
    assert "datasets" not in entry
    check(read_params_yaml())


def test_other_methods_that_the_data_allows_are_named(said):
    assert "this data also allows ORPO (pairs), KTO (feedback), GRPO (problems)" in said()
    assert "this data also allows ORPO (pairs), KTO (pairs as kind: kto)" in said("data/raw/pairs")
    assert "# rewards: [...] of a step: exact_match, numeric_match, math_verify, one_word, or your own" in said(
        "data/raw/problems"
    )


def test_the_pipelines_around_it_are_told_and_the_recommended_one_is_marked(said):
    out = said(one_stage=True)
    assert "recommended: ORPO alone" in out and "* ORPO alone" in out
    for pipeline in ("SFT + DPO", "SFT + GRPO", "SFT + KTO"):
        assert pipeline in out
    assert "why: " in out and "trade-offs: " in out


def test_without_conversations_supervised_rows_are_made_of_the_same_raw_data(said, project):
    entry = pasted(project, said("data/raw/pairs"))
    assert entry["datasets"]["pairs_sft"] == {"kind": "sft", "raw": "data/raw/pairs"}
    assert entry["steps"]["sft"]["dataset"] == "pairs_sft"


def test_without_data_four_questions_are_asked(said, project, monkeypatch):
    (project / "params.yaml").unlink()
    asked = []
    monkeypatch.setattr(typer, "confirm", lambda text, default: asked.append(text) or "pairs" in text)
    assert "recommended: SFT + DPO" in said()
    assert len(asked) == 4


def test_without_data_and_without_answers_it_is_a_problem(said, project, monkeypatch):
    (project / "params.yaml").unlink()

    def nobody(*_, **__):
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", nobody)
    with pytest.raises(Problems, match=r"no data and no answers(.|\n)*--pairs/--no-pairs"):
        said()


def test_data_that_is_not_there_is_not_counted(said, project):
    shutil.rmtree(project / "data/raw/pairs")
    assert "recommended: SFT + KTO" in said()


def test_a_missing_path_is_a_problem(said):
    with pytest.raises(Problems, match="nope: does not exist"):
        said("nope")


def test_no_escape_code_of_a_name_passes(said, project):
    (project / "\x1b[31mred.jsonl").write_text(json.dumps(FILES["chat"]))
    assert "\x1b" not in said("\x1b[31mred.jsonl")


def test_ground_truths_that_are_numbers_get_the_pattern_and_a_reward_that_reads_numbers(said, project):
    lines = [json.dumps({"question": f"q{i}", "answer": f"It is {i} + 1.\n#### {i + 1}"}) for i in range(4)]
    (project / "data/raw/problems/data.jsonl").write_text("\n".join(lines))
    out = said("data/raw/problems")
    assert "ground_truth_pattern: '#### (.+)$'" in out and "rewards: [numeric_match], args: " in out
    assert "reward_hostile: what it pays for holds the truth; an answer may reason before it}" in out


def test_rates_for_the_tiny_base_are_told_apart_from_those_of_a_real_one(said, project):
    out = said("data/raw/chat")
    assert "learning_rate: 3.0e-3" in out and "# of a real base: args: {learning_rate: 2.0e-4" in out
    params = (project / "params.yaml").read_text().replace("model: tiny", "model: real/base")
    (project / "params.yaml").write_text(params)
    out = said("data/raw/chat")
    assert "real/base" in params and "args: {learning_rate: 2.0e-4" in out and "tiny" not in out and "waive" not in out


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("one_stage", [True, False])
def test_a_whole_params_file_is_valid_as_it_is_printed(written, project, name, one_stage):
    out = written(f"data/raw/{name}", one_stage=one_stage)
    text = (project / "params.yaml").read_text()
    assert text in out
    params = read_params_yaml()
    assert all(warning.waived for warning in check(params))
    assert params["base"] == {"model": "tiny"} and text.startswith("# ") and "what is there" not in text


def test_targets_that_stand_in_their_prompts_are_not_learned_as_answers(written, project):
    puzzles = [json.dumps({"prompt": f"Reach {i} with [7, 9].", "target": str(i), "nums": [7, 9]}) for i in (16, 63)]
    (project / "data/raw/problems/data.jsonl").write_text("\n".join(puzzles))
    out = written("data/raw/problems")
    assert "problems_sft" not in out and "align: {method: grpo, from: base, dataset: problems" in out
    assert "write a reward (docs/rewards.md)" in out and "reward_hostile" not in out
    assert all(warning.waived for warning in check(read_params_yaml()))


def test_columns_are_part_of_every_entry_for_the_data(written, project):
    (project / "data/raw/pairs/data.jsonl").write_text(json.dumps({"q": "q", "good": "a", "bad": "b"}))
    out = written("data/raw/pairs", columns="prompt: q, chosen: good, rejected: bad")
    assert out.count("columns: {prompt: q, chosen: good, rejected: bad}") == 2


def test_params_that_git_does_not_have_are_not_written_over(said, project):
    import subprocess

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True
        )

    before = (project / "params.yaml").read_text()
    with pytest.raises(Problems, match="has changes that git does not have"):
        said("data/raw/chat", write=True)
    assert (project / "params.yaml").read_text() == before
    git("init")
    git("add", "params.yaml")
    git("commit", "-m", "mine")
    said("data/raw/chat", write=True)
    said("data/raw/chat", write=True)  # the same again
    said("data/raw/pairs", write=True)  # in place of what it wrote itself
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# mine\n")
    with pytest.raises(Problems, match="has changes that git does not have"):
        said("data/raw/chat", write=True)
    with pytest.raises(Problems):  # what cannot be read leaves it as it is
        said("data/raw/none", write=True)


def test_a_batch_of_kto_has_two_rows_however_long_they_are(written, project):
    rows = [json.dumps({"prompt": "q", "completion": "word " * 900, "label": label}) for label in (True, False)]
    (project / "data/raw/feedback/data.jsonl").write_text("\n".join(rows))
    align = next(line for line in written("data/raw/feedback").splitlines() if line.startswith("  align:"))
    assert "max_length: 8192, per_device_train_batch_size: 2, gradient_accumulation_steps: 2}" in align


def test_that_the_tiny_base_solves_nothing_does_not_stop_the_build(written, project):
    assert "preflight: {}" in written("data/raw/problems")
    lines = [json.dumps({"question": f"q{i}", "answer": f"It is {i} + 1.\n#### {i + 1}"}) for i in range(4)]
    (project / "data/raw/problems/data.jsonl").write_text("\n".join(lines))
    assert "preflight: {tie_prompts: 0}   # tiny may solve none" in written("data/raw/problems")
    assert all(warning.waived for warning in check(read_params_yaml()))


def test_there_is_room_for_most_answers(written, project):
    assert "max_new_tokens: 64," in written("data/raw/chat")
    (project / "data/raw/chat/data.jsonl").write_text(json.dumps({"instruction": "q", "output": "word " * 60}))
    out = written("data/raw/chat")
    assert (
        "max_new_tokens: 256, max_rows: 500," in out and "metrics: [rouge_l]}" in out
    )  # all of the few that are held out
    longer = "100% of the answers are longer than tiny's 256 letters, which are quick; for a real base: preflight: {}"
    assert f"preflight: {{answers_cut: 1}}   # {longer}" in out
    assert "# quick; of a real base: max_new_tokens: 512, max_rows: 500" in out
    rows = [json.dumps({"instruction": f"q{i}", "output": "word " * (60 if i % 9 == 0 else 1)}) for i in range(90)]
    (project / "data/raw/chat/data.jsonl").write_text("\n".join(rows))
    assert "metrics: [exact_match, rouge_l]}" in written("data/raw/chat")


@pytest.mark.parametrize(("rows", "most"), [(1000, 500), (2000, 100)])
def test_fewer_rows_are_answered_at_length_only_where_that_saves_much_and_it_is_said(written, project, rows, most):
    lines = [json.dumps({"instruction": f"question {i}", "output": "word " * 40}) for i in range(rows)]
    (project / "data/raw/chat/data.jsonl").write_text("\n".join(lines))
    out = written("data/raw/chat")
    told = "# 100 of the eval rows are scored, which is quick; of a real base: 500"
    assert f"max_new_tokens: 256, max_rows: {most}," in out and (told in out) == (most == 100)


def test_which_answers_supervised_rows_of_other_kinds_learn_is_told(written, project):
    assert "pairs_sft: learns the better answer of each pair (`chosen`)" in written("data/raw/pairs")
    rated = [json.dumps({"prompt": "q", "completion": "a", "label": label}) for label in (True, False)]
    (project / "data/raw/feedback/data.jsonl").write_text("\n".join(rated))
    assert "feedback_sft: learns the answers that are rated good, and no others" in written("data/raw/feedback")
    assert "learns" not in written("data/raw/chat")


def test_each_rate_is_waived_for_its_own_reason(written, project):
    out = written("data/raw/pairs")
    sft, align = (next(line for line in out.splitlines() if line.startswith(f"  {name}:")) for name in ("sft", "align"))
    assert "tiny starts from random weights" in sft and "tiny needs larger steps than a real model" in align


def test_of_little_data_a_fifth_is_held_out(written, project):
    assert "eval_fraction: 0.2" in written("data/raw/chat")
    lines = [json.dumps({"instruction": f"question {i}", "output": "a"}) for i in range(500)]
    (project / "data/raw/chat/data.jsonl").write_text("\n".join(lines))
    assert "eval_fraction: 0.1" in written("data/raw/chat")


def test_what_a_row_becomes_comes_first_and_what_to_type_last(written, project):
    (project / "data/raw/problems/data.jsonl").write_text(json.dumps({"question": "q", "answer": "7"}))
    lines = written("data/raw/problems").splitlines()
    assert "first row, prompt: user: 'q'" in lines and lines.index("seed: 7") > lines.index(
        "first row, prompt: user: 'q'"
    )
    assert [line.split("#")[0].strip() for line in lines[-4:]] == [
        "dvc repro", "tilth answers align", "tilth lineage", 'git add --all && git commit -m "mine"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "steps", "note"),
    [
        (40, "max_steps: 100}", False),
        (1100, "num_train_epochs: 5}", False),
        (9_000, "num_train_epochs: 1}", False),
        (20_000, "max_steps: 1500}", True),
    ],
)
def test_a_supervised_training_takes_in_all_rows_where_that_is_quick(written, project, rows, steps, note):
    lines = [json.dumps({"instruction": f"question {i}", "output": "a"}) for i in range(rows)]
    (project / "data/raw/chat/data.jsonl").write_text("\n".join(lines))
    out = written("data/raw/chat")
    reach = "# 1500 steps reach 12,000 rows, enough to try it out; num_train_epochs: 1 in place of max_steps reaches all, in 2,250 steps"
    assert steps in out and (reach in out) == note


def test_what_a_supervised_step_would_learn_of_ground_truths_is_shown_and_is_not_for_a_real_base(written, project):
    lines = [json.dumps({"question": f"q{i}", "answer": f"{i + 1}"}) for i in range(90)]
    (project / "data/raw/problems/data.jsonl").write_text("\n".join(lines))
    out = written("data/raw/problems")
    assert "problems_sft: first row, messages: assistant: '1'" in out
    assert "leave out this step and " in out and "# `from: base` below, as bare answers" in out
    assert (
        "tilth preflight align --answer 'The answer is 18.'" in out
        and "system: 'Reason, then end" in out
        and "held out of both" in out
    )
    assert (
        "args: {num_generations: 8, max_completion_length: 128, learning_rate: 1.0e-4, max_steps: 60}" in out
        and "60 steps reach 60 rows, enough to try it out; num_train_epochs: 1 in place of max_steps reaches all, in 72 steps"
        in out
        and "of a real base that reasons: max_new_tokens of 512" in out
    )


def test_short_answers_are_imitated_or_verified_as_the_option_says(written, project):
    """As BIG-Bench Hard's files, whose `input` and `target` are supervised rows by their names."""
    lines = [json.dumps({"input": f"q{i}", "target": f"({'ABCD'[i % 4]})"}) for i in range(30)]
    (project / "data/raw/problems/data.jsonl").write_text("\n".join(lines))
    out = written("data/raw/problems")
    assert "{kind: sft, raw: data/raw/problems}" in out and "kind: grpo" not in out
    assert out.splitlines()[-1].startswith(
        "The answers are short: tilth recommend data/raw/problems --verifiable --write"
    )
    out = written("data/raw/problems", verifiable=True)
    assert "problems: {kind: grpo, raw: data/raw/problems}" in out and "rewards: [exact_match]" in out
    assert "The answers are short" not in out
    with pytest.raises(Problems, match="none of 30 records can become a row of kind preference"):
        written("data/raw/problems", pairs=True)


def test_a_file_of_which_most_would_be_rejected_gets_no_params(written, project):
    rows = [{"instruction": "q", "output_1": "a", "output_2": "b", "preference": "so-so" if i else 1} for i in range(9)]
    (project / "data/raw/pairs/data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(Problems) as error:
        written("data/raw/pairs")
    assert "most of 9 records would be rejected" in str(error.value) and "'so-so' names neither" in str(error.value)
    assert not (project / "params.yaml").exists()


def test_an_option_decides_about_a_path_without_write_too(said, project):
    (project / "data/raw/problems/data.jsonl").write_text(json.dumps({"input": "q", "target": "(A)"}))
    assert "recommended: SFT + GRPO" in said("data/raw/problems", verifiable=True)


def test_a_passage_is_part_of_every_prompt(written, project):
    record = {"article": "Ann stayed.", "question": "Who stayed?", "options": ["Ben", "Ann"], "answer": "B"}
    (project / "data/raw/problems/data.jsonl").write_text(json.dumps(record))
    out = written("data/raw/problems")
    assert out.count("raw: data/raw/problems, columns: {prompt: [article, question]}}") == 2 and "ignore" not in out


def test_a_whole_params_file_needs_a_path(said):
    with pytest.raises(Problems, match="tilth recommend --write: no PATH"):
        said(write=True)


def test_a_key_that_a_build_would_stop_at_is_in_ignore_with_how_to_keep_it(written, project):
    record = {"question": "q", "options": ["A)1", "B)2"], "correct": "A", "rationale": "because of this and that" * 3}
    (project / "data/raw/problems/data.jsonl").write_text(json.dumps(record))
    out = written("data/raw/problems")
    assert "problems_sft: {kind: sft, raw: data/raw/problems, ignore: [rationale]}" in out
    assert "instead of ignore: columns: {reasoning_content: rationale}" in out
    assert "problems: {kind: grpo, raw: data/raw/problems}\n" in out  # there it is in `extra`


def test_rows_longer_than_the_tiny_base_takes_are_waived_for_it_alone(said, written, project):
    (project / "data/raw/chat/data.jsonl").write_text(json.dumps({"instruction": "q", "output": "word " * 2000}))
    out = written("data/raw/chat")
    assert all(warning.waived for warning in check(read_params_yaml()))
    assert "max_length: 8192, per_device_train_batch_size: 1}" in out
    assert "dropped_share: rows of this length are enough to try it out" in out
    params = (project / "params.yaml").read_text().replace("model: tiny", "model: real/base")
    (project / "params.yaml").write_text(params)
    out = said("data/raw/chat")
    assert "dropped_share" not in out and "num_train_epochs: 2, max_length: 4096}" in out  # a real token has several letters


def test_the_tiny_base_gets_room_for_rows_as_long_as_most_are(written, project):
    record = {"prompt": "q", "chosen": "ä" * 900, "rejected": "b" * 1500}  # a letter of two bytes is two tokens
    (project / "data/raw/pairs/data.jsonl").write_text(json.dumps(record))
    out = written("data/raw/pairs")
    assert out.count("max_length: 2048, per_device_train_batch_size: 2") == 2 and "dropped_share" not in out
    # an optimizer step of preferences has four pairs
    assert out.count("per_device_train_batch_size: 2, gradient_accumulation_steps: 2}") == 1


def test_a_recommendation_is_told_as_json_too(project, said):
    found = json.loads(said(pairs=True, one_stage=True, as_json=True))
    assert found["method"] == "orpo" and found["pipeline"] == "ORPO alone"
    assert yaml().load(found["paste"])["steps"]["orpo"]["method"] == "orpo"
    assert found["also"] == {"DPO": "pairs", "KTO": "pairs as kind: kto"}
