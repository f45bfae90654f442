"""Task files are data: each way in which the harness would run code that comes with one is refused, by file and key."""

import importlib.util

import pytest

from stages.scoring import task_files

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("lm_eval"), reason="the extra lm-eval is not installed")
TASK = """
task: letters
dataset_path: json
dataset_kwargs: {data_files: {test: data/tasks/letters.jsonl}, field: rows}
test_split: test
output_type: generate_until
description: &said !!str "Answer."
doc_to_text: "{{question|regex_replace('a', 'b')}}"
doc_to_target: "{{said}}"
generation_kwargs: {until: ["."], max_gen_toks: 4, do_sample: false}
filter_list: [{name: strict, filter: [{function: regex, regex_pattern: "(a)"}, {function: take_first}]}]
fewshot_config: {sampler: first_n, samples: [{question: a, said: *said}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}]
metadata: {version: 1.0, authors: us}
"""
GROUP = """
group: both
task: [letters, {task: gsm8k, num_fewshot: 5, metadata: {version: 2}}, {group: inner, task: [letters]}]
aggregate_metric_list: [{metric: pass@1, weight_by_size: true}]
metadata: {version: 1.0, source: a page}
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/tasks"
    folder.mkdir(parents=True)
    (folder / "letters.yaml").write_text(TASK)
    return folder


def told():
    return [str(problem) for problem in task_files.task_file_problems()]


def test_tasks_and_groups_of_settings_and_templates_are_taken(tasks):
    (tasks / "both.yaml").write_text(GROUP)
    (tasks.parents[1] / "json").mkdir()  # dataset_path: json is not this
    (tasks / "_common").write_text("num_fewshot: 0\n")
    (tasks / "other.yaml").write_text(
        "include: [_common, letters.yaml]\ntask: other\nuse_prompt: qa-basic:q-newline-a\n"
    )
    assert told() == []


def test_without_task_files_there_is_nothing_to_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told() == []


@pytest.mark.parametrize(
    "line, key, found",
    [
        ("process_docs: !function helper.go", "process_docs", "'!function helper.go' names Python code"),
        ("process_results: !function os.system", "process_results", "'!function os.system' names Python code"),
        ("custom_dataset: !function helper.go", "custom_dataset", "'!function helper.go' names Python code"),
        ("custom_dataset: helper.go", "custom_dataset", "'helper.go' names Python code"),
        ("class: !function task.Mine", "class", "'!function task.Mine' names Python code"),
        ("class: task.Mine", "class", "'task.Mine' names Python code"),
        ("doc_to_text: !!python/name:os.system", "doc_to_text", "'!!python/name:os.system' names Python code"),
        ("unsafe_code: true", "unsafe_code", "True is for tasks that run code which a model wrote"),
        (
            "metric_list: [{metric: !function helper.score}]",
            "metric_list[0].metric",
            "'!function helper.score' names Python code",
        ),
        ("metric_list: [{metric: data/tasks/mine.py}]", "metric_list", "'data/tasks/mine.py' is a script to be loaded"),
        ("metric_list: [{metric: acc, hf_evaluate: true}]", "metric_list", "'acc' is a script to be loaded"),
        (
            "filter_list: [{name: a, filter: [{function: custom, filter_fn: !function helper.go}]}]",
            "filter_list[0].filter[0].filter_fn",
            "'!function helper.go' names Python code",
        ),
        (
            "fewshot_config: {samples: !function helper.go}",
            "fewshot_config.samples",
            "'!function helper.go' names Python code",
        ),
        (
            "generation_kwargs: {until: [a], custom_generate: data/tasks/mine, trust_remote_code: true}",
            "generation_kwargs.custom_generate",
            "'data/tasks/mine' runs a generate.py",
        ),
        ("use_prompt: data/tasks/prompts.yaml:first", "use_prompt", "is a template of another file"),
        ("use_prompt: promptsource:first", "use_prompt", "is a template of another file"),
        ("dataset_path: pandas", "dataset_path", "'pandas' reads pickles, which run code"),
        ("dataset_path: data/tasks/mine.py", "dataset_path", "'data/tasks/mine.py' is a script"),
        ("dataset_path: data/tasks", "dataset_path", "'data/tasks' is a folder"),
        (
            "dataset_kwargs: {trust_remote_code: true}",
            "dataset_kwargs.trust_remote_code",
            "True is not about reading files",
        ),
        ("dataset_kwargs: {storage_options: {}}", "dataset_kwargs.storage_options", "{} is not about reading files"),
        (
            "dataset_kwargs: {data_files: {test: ['reference::data/tasks/a.json']}}",
            "dataset_kwargs.data_files",
            "'reference::data/tasks/a.json' is outside the project",
        ),
        (
            "dataset_kwargs: {data_files: https://example.org/a.jsonl}",
            "dataset_kwargs.data_files",
            "'https://example.org/a.jsonl' is outside the project",
        ),
        (
            "dataset_kwargs: {data_dir: ../elsewhere}",
            "dataset_kwargs.data_dir",
            "'../elsewhere' is outside the project",
        ),
    ],
)
def test_what_would_run_code_or_read_elsewhere_is_named_with_its_file_and_key(tasks, line, key, found):
    (tasks / "mine.yaml").write_text(f"task: mine\n{line}\n")
    problems = told()
    assert problems[0].startswith(f"data/tasks/mine.yaml: {key}: ") and found in problems[0]
    assert "\n  hint: " in problems[0]
    (tasks / "mine.yaml").write_text(f"group: mine\ntask:\n- task: gsm8k\n  {line}\n")
    assert told()[0].startswith(f"data/tasks/mine.yaml: task[0].{key}: ")


def test_an_entry_of_a_group_does_not_speak_to_the_code_of_the_harness(tasks):
    # its `niah_single_1` loads the tokenizer that its metadata names, code of a model included
    entry = "{task: niah_single_1, metadata: {version: 1, tokenizer: data/tasks/mine}}"
    (tasks / "mine.yaml").write_text(f"group: mine\ntask: [{entry}]\ndataset_kwargs: {{pretrained: data/tasks/mine}}\n")
    kwargs, metadata = told()
    assert "dataset_kwargs.pretrained: 'data/tasks/mine' is not about reading files" in kwargs
    assert "task[0].metadata: 'tokenizer' would reach code of the harness's own tasks" in metadata


def test_what_is_named_twice_merged_or_included_counts(tasks):
    (tasks / "mine.yaml").write_text(
        "task: mine\nx: &x {include: deep/_one.yaml}\n<<: *x\nprocess_docs: !function a.b\nprocess_docs: null\n"
    )
    (tasks / "deep").mkdir()
    (tasks / "deep/_one.yaml").write_text("include: ../_two\nnum_fewshot: 1\n")
    (tasks / "_two").write_text("doc_to_text: !function c.d\n")
    first, second = told()
    assert first.startswith("data/tasks/mine.yaml: process_docs: '!function a.b'")
    assert second.startswith("data/tasks/deep/../_two: doc_to_text: '!function c.d'")


@pytest.mark.parametrize("name", ["../../../outside.yaml", "/outside.yaml", "lost.yaml", "letters"])
def test_only_files_of_the_project_are_included(tasks, tmp_path, name):
    (tmp_path.parent / "outside.yaml").write_text(TASK)
    (tasks / "mine.yaml").write_text(f"task: mine\ninclude: {name}\n")
    (found,) = told()
    assert found.startswith(f"data/tasks/mine.yaml: include: {name!r} is not a file of the project")


def test_files_that_include_one_another_are_read_once(tasks):
    (tasks / "a.yaml").write_text("task: a\ninclude: b.yaml\n")
    (tasks / "b.yaml").write_text("task: b\ninclude: a.yaml\n")
    assert told() == []


def test_a_link_that_leaves_the_project_is_not_followed(tasks, tmp_path):
    (tmp_path.parent / "elsewhere.yaml").write_text("task: mine\nclass: a.b\n")
    (tasks / "mine.yaml").symlink_to(tmp_path.parent / "elsewhere.yaml")
    (tasks / "round.yaml").symlink_to("round.yaml")
    (found,) = told()
    assert found.startswith("data/tasks/mine.yaml: a link that leaves the project")


@pytest.mark.parametrize("text", ["task: [", "task: a\n--- b", "- a", "", "a: 2024-13-01", "\udce9: a", "[" * 3000])
def test_what_is_no_task_file_is_said_so(tasks, text):
    (tasks / "mine.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    (found,) = told()
    assert found.startswith("data/tasks/mine.yaml: not a task file")


def test_what_a_file_says_cannot_steer_the_terminal(tasks):
    (tasks / "mine.yaml").write_text('task: mine\n"\\e]0;a\\a": !function "\\e[2J.x"\n')
    (found,) = told()
    assert "\x1b" not in found and "\\x1b]0;a\\x07" in found


def test_the_sandbox_has_the_settings_of_the_harness_and_gives_what_it_gives(tasks):
    from lm_eval import utils

    given = utils.env
    template = "{{ rows[0].a|upper }} {{ 'abc'|regex_replace('b', 'x') }} {{ [1, 2].index(2) }}\n"
    expected = given.from_string(template).render(rows=[{"a": "b"}])
    try:
        task_files.sandbox_templates()
        assert utils.env.sandboxed and utils.apply_template(template, {"rows": [{"a": "b"}]}) == expected == "B axc 1\n"
        settings = set(vars(given)) - {"filters", "cache", "tests", "globals", "policies"}
        assert {name for name in settings if getattr(utils.env, name) != getattr(given, name)} <= {
            "sandboxed",
            "extensions",
        }
        assert utils.env.filters == given.filters
    finally:
        utils.env = given
