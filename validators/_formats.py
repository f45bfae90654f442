"""Checks of a dataset's options in params.yaml: shapes by name, columns by name or number, a pattern that compiles."""

from validators._cautions import Entry
from validators.problems import Problem, did_you_mean

SHAPES = (
    "openai_preference",
    "preference",
    "feedback",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "verifiable",
    "chatml",
    "query_response",
    "query_calls",
    "multiple_choice",
    "scored",
    "compared",
    "seed",
    "input_output",
    "reply_tree",
    "extractive",
)
# fmt: off
COLUMNS = (
    "messages", "conversations", "prompt", "completion", "response", "instruction", "input", "output", "chosen",
    "rejected", "label", "question", "query", "problem", "context", "history", "system", "ground_truth", "answer",
    "solution", "tools", "reasoning_content", "train",
)
# fmt: on


def option_problems(where: str, dataset: Entry) -> list[Problem]:
    """Problems of a dataset's options that the schema does not find."""
    problems, columns = [], dataset.get("columns")
    for wanted, name in columns.items() if isinstance(columns, dict) else ():
        place = f"{where}.columns.{wanted}"
        if wanted not in COLUMNS:
            hint = did_you_mean(wanted, COLUMNS)
            problems.append(Problem(place, f"no shape has a column {wanted!r}", "wanted name: name in the file", hint))
        if name == []:
            problems.append(Problem(place, "no name", "a name in the file, or several, which are joined", ""))
        for number in [name] if isinstance(name, int) else name if isinstance(name, list) else []:
            if isinstance(number, int) and number < 1:
                problems.append(Problem(place, f"column {number}", "1 for the first column", ""))
    names = (
        [name for given in columns.values() for name in (given if isinstance(given, list) else [given])]
        if columns
        else []
    )
    if len({type(name) for name in names}) > 1:
        hint = "numbers are for CSV without a line of names"
        problems.append(Problem(f"{where}.columns", "names and numbers", "one or the other", hint))
    shape = dataset.get("format")
    if shape is not None and shape not in SHAPES:
        problems.append(Problem(f"{where}.format", f"no shape {shape!r}", "", did_you_mean(shape, SHAPES)))
    if dataset.get("reasoning") == "mask" and dataset.get("kind") == "grpo":
        found, hint = "mask in a grpo dataset", "it has prompts without answers: leave it out"
        problems.append(Problem(f"{where}.reasoning", found, "mask in a dataset with answers", hint))
    split_on = dataset.get("split_on")
    if isinstance(split_on, list) and "user" not in split_on:
        hint = "split_on: [system, user]"
        problems.append(Problem(f"{where}.split_on", f"{split_on} without 'user'", "[user] or [system, user]", hint))
    problems += slice_problems(f"{where}.slice_by", dataset.get("slice_by"))
    if dataset.get("ground_truth_pattern") is not None:
        problems += pattern_problems(f"{where}.ground_truth_pattern", dataset)
    return problems


def slice_problems(where: str, keys: object) -> list[Problem]:
    """Problems of `slice_by`: a key that is named twice, or `file`, by which scores are always sliced."""
    keys = keys if isinstance(keys, list) else []
    problems = [
        Problem(where, f"{key!r} twice", "each key once", "remove one")
        for key in dict.fromkeys(keys)
        if keys.count(key) > 1
    ]
    if "file" in keys:
        hint = "remove it; a key of the records with that name can be sliced by under no other"
        problems.append(
            Problem(where, "'file' is the raw file, of which there are slices anyway", "keys of the records", hint)
        )
    return problems


def mask_problems(where: str, steps: dict[str, Entry], datasets: dict[str, Entry]) -> list[Problem]:
    """Problems of steps that would learn thoughts, though their dataset has `reasoning: mask`."""
    problems = []
    for name, step in steps.items():
        dataset, args = step.get("dataset"), step.get("args") or {}
        if (datasets.get(dataset) or {}).get("reasoning") != "mask":
            continue
        hint = f"datasets.{dataset}.reasoning: drop"
        if step.get("method") == "orpo":
            found = f"orpo on {dataset!r}, which has reasoning: mask"
            problems.append(
                Problem(f"{where}.{name}.method", found, "dpo: ORPO's loss takes all tokens of the chosen answer", hint)
            )
        learns_all = args.get("assistant_only_loss") is False and not args.get("completion_only_loss")
        if step.get("method") == "sft" and learns_all:
            found = f"false, on {dataset!r}, which has reasoning: mask"
            hint = "leave it out, or reasoning: drop, last_turn or keep of the dataset"
            place = f"{where}.{name}.args.assistant_only_loss"
            problems.append(Problem(place, found, "true: else all is learned", hint))
    return problems


def pattern_problems(where: str, dataset: Entry) -> list[Problem]:
    """Problems of `ground_truth_pattern`: another kind than grpo, no regular expression, not exactly one group."""
    import regex

    pattern, kind = dataset["ground_truth_pattern"], dataset.get("kind")
    if kind not in (None, "grpo"):
        return [Problem(where, f"a {kind} dataset has no ground truth", "no such key", "it belongs to kind grpo")]
    try:
        groups = regex.compile(pattern).groups
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        return [Problem(where, f"{pattern!r} does not compile: {error}", "a regular expression", "quote it with ''")]
    if groups != 1:
        hint = "the group is what is kept: '#### (.+)$'; write (?:...) for a group that is not"
        return [Problem(where, f"{groups} groups in {pattern!r}", "one group", hint)]
    return []
