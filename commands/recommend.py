"""`tilth recommend`: which method fits your data, why, and the `steps:` entry to paste.

With data, its kinds decide; without, four questions do. The reasons are those of TRL's and Unsloth's guides.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from commands.inspection.conversion import Conversion

RawPath = Annotated[
    str | None, typer.Argument(metavar="PATH", help="A raw file or folder, instead of the data of params.yaml.")
]
Pairs = Annotated[bool | None, typer.Option(help="There are pairs of answers, with the better one marked.")]
Labels = Annotated[bool | None, typer.Option(help="There are single answers with thumbs up or down.")]
Verifiable = Annotated[bool | None, typer.Option(help="Answers can be verified: a truth and a reward function.")]
OneStage = Annotated[bool | None, typer.Option(help="One training alone, with no supervised fine-tuning before it.")]
Columns = Annotated[
    str | None, typer.Option(help="`columns:` of PATH's dataset, such as 'prompt: question, completion: answer'.")
]
Write = Annotated[
    bool,
    typer.Option(
        "--write", help="Write a whole params.yaml for PATH and the tiny base, if git has the one that is there."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
QUESTIONS = {
    "preference": "Do you have pairs of answers, with the better one marked?",
    "kto": "Do you have single answers with thumbs up or down?",
    "grpo": "Can a program tell whether an answer is right (a ground truth and a reward function)?",
    "one_stage": "Do you want one training alone, without supervised fine-tuning before it?",
}
DATASET_NAMES = {"sft": "chat", "preference": "pairs", "kto": "feedback", "grpo": "problems"}
STEP_ARGS = {  # of a real model
    "sft": "learning_rate: 2.0e-4, num_train_epochs: 2",
    "dpo": "beta: 0.1, learning_rate: 5.0e-6",
    "orpo": "beta: 0.1, learning_rate: 8.0e-6",
    "kto": "beta: 0.1, learning_rate: 5.0e-6",
    "grpo": "num_generations: 8, learning_rate: 1.0e-5",
}
TINY_ARGS = {  # of the tiny model, which starts from random weights: a few minutes, to see the whole pipeline
    "sft": "learning_rate: 3.0e-3, max_steps: 100",
    "dpo": "beta: 0.1, learning_rate: 3.0e-4, max_steps: 50",
    "orpo": "beta: 0.1, learning_rate: 3.0e-4, max_steps: 200",
    "kto": "beta: 0.1, learning_rate: 3.0e-4, max_steps: 50",
    "grpo": "num_generations: 8, learning_rate: 1.0e-4, max_steps: 20",
}
WHY = {
    "sft": "there are conversations to imitate, and nothing that says which of two answers is better",
    "dpo": "there are pairs, and a supervised model to start from: DPO sharpens what SFT taught",
    "orpo": "there are pairs and one stage is wanted: ORPO learns the answer and the preference at once",
    "kto": "there are single answers with thumbs up or down: KTO needs no pairs",
    "grpo": "answers can be verified: GRPO lets the model try, and rewards what is right",
}
TRADE_OFFS = {
    "sft": "the simplest and the most stable; it can only be as good as its answers, and learns nothing from bad ones",
    "dpo": "stable and cheap, no sampling; keeps a reference model in memory (not with LoRA), learns length bias too",
    "orpo": "no reference model and half the steps; needs more pairs than DPO, and its chosen answers must be good ones",
    "kto": "takes feedback as users give it; weaker than DPO where pairs exist, and the classes must be in balance",
    "grpo": "can pass its data; slow, as it generates in training, and a reward that can be cheated will be cheated",
}
PIPELINES = {
    "sft": ("SFT", "good answers, and nothing else"),
    "dpo": ("SFT + DPO", "good answers, then pairs"),
    "kto": ("SFT + KTO", "good answers, then thumbs up or down"),
    "grpo": ("SFT + GRPO", "the form of an answer first, then a reward for right ones"),
    "orpo": ("ORPO alone", "pairs, in one stage"),
}
METHOD_OF_KIND = {"kto": "kto", "grpo": "grpo", "sft": "sft"}
TINY_RATE = "learning_rate: tiny starts from random weights"
COPIED = "the ground truth stands in the prompt, so that numeric_match pays for repeating it: write a reward (docs/rewards.md)"
HOSTILE = "reward_hostile: an answer may reason before its last number"
TOO_LONG = "dropped_share: rows of this length are enough to try it out"
USUAL_LENGTH = 1024  # TRL's default of max_length
TINY_LENGTH = 4096  # the most that is quick; to the tiny model a letter is a token
LONG_SHARE = 0.05  # of the rows; a larger one stops the build
MEASURED_ROWS, BATCH_TOKENS = 1000, 4096
TINY_BASE = "base: {model: tiny}    # proves the pipeline; a real one: model: Qwen/Qwen3-0.6B, revision: <its commit>"
SMALL_DATA = 400  # rows, of which a tenth says little about a model
TEXTS = 100  # letters of an answer that no model gives word for word
ANSWER_LENGTHS = (256, 512)  # the choices of evaluate.max_new_tokens


class DataSource(NamedTuple):
    """A dataset. raw: its raw data, None if params.yaml has it. options: further keys of its entry. notes: comments on it.

    numeric: its truths are numbers. letters: the length that the tiny model is to take; answers: that of 95% of the answers. rows: of the sample.
    long: more of the rows are longer than the tiny model tries out than may be dropped. copied: the ground truths stand in the prompts.
    """

    name: str
    raw: str | None = None
    options: str = ""
    numeric: bool = False
    notes: tuple[str, ...] = ()
    letters: int = 0
    answers: int = 0
    rows: int = 0
    long: bool = False
    copied: bool = False


Datasets = dict[str, DataSource]  # by kind


def main(
    context: typer.Context,
    path: RawPath = None,
    pairs: Pairs = None,
    labels: Labels = None,
    verifiable: Verifiable = None,
    one_stage: OneStage = None,
    columns: Columns = None,
    write: Write = False,
    as_json: Json = False,
) -> None:
    """Recommend a method for your data, or for your answers to four questions, with its `steps:` entry."""
    if write:
        write_params(path, columns, bool(one_stage), context.obj)
        return
    answers = {"preference": pairs, "kto": labels, "grpo": verifiable}
    if path is not None:
        data = data_at(path, columns, context.obj)
    elif any(answer is not None for answer in answers.values()):
        data = data_from_answers(answers)
    elif not (data := data_of_params()):
        answers = ask_questions(QUESTIONS if one_stage is None else {key: QUESTIONS[key] for key in answers})
        data, one_stage = data_from_answers(answers), answers.get("one_stage", one_stage)
    if as_json:
        print_json(data, bool(one_stage))
        return
    from stages.rows.tables import safe_text

    for line in "\n".join(advice_lines(data, bool(one_stage))).split("\n"):
        print(safe_text(line, 2000))


def choose_method(kinds: Collection[str], one_stage: bool) -> str:
    """The method that fits the kinds of data."""
    if "preference" in kinds:
        return "orpo" if one_stage else "dpo"
    return METHOD_OF_KIND[next((kind for kind in ("kto", "grpo") if kind in kinds), "sft")]


# -- the data -----------------------------------------------------------------------------------------------------


def data_of_params() -> Datasets:
    """The first dataset of each kind in params.yaml whose raw data exists."""
    from validators.params import get_section, read_params_yaml

    found = {}
    for name, dataset in get_section(read_params_yaml(), "datasets").items() if Path("params.yaml").exists() else ():
        kind, raw = (dataset.get("kind"), dataset.get("raw")) if isinstance(dataset, dict) else (None, None)
        if kind in DATASET_NAMES and isinstance(raw, str) and Path(raw).exists():
            found.setdefault(kind, DataSource(name))
    return found


def data_at(path: str, columns: str | None, start: Path | None) -> Datasets:
    """The dataset of a raw file or folder, and the supervised one of the same data."""
    from commands.inspection.conversion import are_numbers, best_kind, convert_sample
    from commands.inspection.datasets import dataset_name, path_inside
    from commands.inspection.sample import options_for, read_sample, resolve_path
    from commands.inspection.sample_report import copied_truths

    raw = resolve_path(path, start)
    sample = read_sample(raw, options_for(raw, columns))
    kind, conversion = best_kind(sample)
    inside = path_inside(raw).as_posix()
    source = data_source(dataset_name(raw), inside, conversion)
    numeric = kind == "grpo" and are_numbers(conversion)
    found = {kind: source._replace(numeric=numeric, copied=numeric and copied_truths(conversion["table"]) > 0)}
    if kind != "sft" and not found[kind].copied:
        found["sft"] = data_source(f"{source.name}_sft", inside, convert_sample(sample, "sft"))
    return found


def data_source(name: str, raw: str, conversion: "Conversion") -> DataSource:
    """A dataset of a sample's rows."""
    from commands.inspection.datasets_entry import entry_options, ignore_notes

    rows = conversion["table"].slice(0, MEASURED_ROWS).to_pylist()
    lengths = [letters_of_row(row) for row in rows]
    # of rows that are mostly longer than what is quick, twice that, as nothing of them might be left to learn
    most = TINY_LENGTH if share_below(0.5, lengths) < TINY_LENGTH / 2 else 2 * TINY_LENGTH
    letters, long = min(share_below(0.99, lengths), most), share_below(1 - LONG_SHARE, lengths) > most
    answers = share_below(
        0.95, [len(str(row["messages"][-1]["content"]).encode()) for row in rows if row.get("messages")]
    )
    options = entry_options(conversion) + (", metrics: [exact_match, rouge_l]" if answers > TEXTS else "")
    notes, count = tuple(ignore_notes(conversion)), conversion["valid"]
    return DataSource(name, raw, options, notes=notes, letters=letters, answers=answers, rows=count, long=long)


def share_below(share: float, lengths: list[int]) -> int:
    """The length that a share of them does not exceed; 0 of none."""
    return sorted(lengths)[min(int(share * len(lengths)), len(lengths) - 1)] if lengths else 0


def letters_of_row(row: Mapping[str, Any]) -> int:
    """About how many tokens the tiny model, to which a byte is one, sees of a row: of a pair, its longer answer."""
    turns = {
        key: row[key] for key in ("messages", "prompt", "completion", "chosen", "rejected", "tools") if row.get(key)
    }
    parts = {
        key: sum(len(str(value).encode()) for turn in value if turn for value in turn.values() if value)
        if isinstance(value, list)
        else len(str(value).encode())
        for key, value in turns.items()
    }
    return sum(parts.values()) - min(parts.get("chosen", 0), parts.get("rejected", 0))


def data_from_answers(answers: Mapping[str, bool | None]) -> Datasets:
    """The data that the answers name; conversations are always assumed."""
    kinds = ["sft", *(kind for kind in ("preference", "kto", "grpo") if answers.get(kind))]
    return {kind: DataSource(DATASET_NAMES[kind], f"data/raw/{DATASET_NAMES[kind]}") for kind in kinds}


def ask_questions(questions: Mapping[str, str]) -> dict[str, bool]:
    """{question: answer}, prompted for on the terminal. Raises Problems if there is no answer."""
    from validators.problems import Problem, Problems

    try:
        return {key: typer.confirm(text, default=False) for key, text in questions.items()}
    except typer.Abort:
        hint = "--pairs/--no-pairs, --labels, --verifiable, --one-stage; or tilth recommend PATH"
        raise Problems([Problem("tilth recommend", "no data and no answers", "answers or options", hint)]) from None


# -- the advice ---------------------------------------------------------------------------------------------------


def advice_lines(data: Datasets, one_stage: bool) -> Iterator[str]:
    """The recommendation as lines of text."""
    method = choose_method(data, one_stage)
    title, _ = PIPELINES[method]
    yield f"recommended: {title}"
    yield f"  why:        {WHY[method]}"
    yield f"  trade-offs: {TRADE_OFFS[method]}"
    if one_stage and method in ("kto", "grpo"):
        yield "  one stage:  right where `base` is an instruct model; then leave out the step sft and start from base"
    yield "\nthe usual pipelines:"
    for name, (steps, what) in PIPELINES.items():
        yield f"{'*' if name == method else ' ':>3} {steps:<11} {what}"
    if also := other_methods(data, method):
        yield f"\nthis data also allows {', '.join(f'{other} ({name})' for other, name in also.items())}"
    yield "\nto paste into params.yaml:\n"
    yield from params_lines(data, method, base_is_tiny())
    yield from other_functions(method)


def other_methods(data: Datasets, method: str) -> dict[str, str]:
    """{method: dataset} of the other methods that the data allows."""
    named = {"preference": "ORPO" if method == "dpo" else "DPO", "kto": "KTO", "grpo": "GRPO"}
    also = {named[kind]: data[kind].name for kind in named if kind in data and METHOD_OF_KIND.get(kind) != method}
    if "preference" in data and "kto" not in data:  # each answer of a pair becomes a rated one
        also["KTO"] = f"{data['preference'].name} as kind: kto"
    return also


def other_functions(method: str) -> Iterator[str]:
    """The rewards that a grpo step can name, and the metrics that a dataset can."""
    from validators.params import public_functions

    if method == "grpo":
        yield f"# rewards: [...] of a step: {', '.join(public_functions('rewards.py'))}, or your own in validators/rewards.py"
    else:
        names = ", ".join(public_functions("metrics.py"))
        yield f"# metrics: [...] of a dataset: {names}, or your own in validators/metrics.py"


def print_json(data: Datasets, one_stage: bool) -> None:
    import json

    method = choose_method(data, one_stage)
    facts = {"method": method, "pipeline": PIPELINES[method][0], "why": WHY[method], "trade_offs": TRADE_OFFS[method]}
    print(
        json.dumps(
            facts
            | {"also": other_methods(data, method), "paste": "\n".join(params_lines(data, method, base_is_tiny()))},
            indent=2,
        )
    )


def write_params(path: str | None, columns: str | None, one_stage: bool, start: Path | None) -> None:
    """Write a whole params.yaml and print it. Raises Problems without a path, and where git does not have the one that is there."""
    from commands.builds.git import git
    from stages.rows.tables import safe_text
    from validators.problems import Problem, Problems

    if path is None:
        raise Problems([Problem("tilth recommend --write", "no PATH", "a raw file or folder of data/raw", "")])
    data = data_at(path, columns, start)
    method = choose_method(data, one_stage)
    lines = [
        f"# {'GRPO' if any(source.copied for source in data.values()) else PIPELINES[method][0]}: {WHY[method]}",
        *params_head(data),
        *params_lines(data, method, tiny=True, whole=True),
        *params_tail(data),
    ]
    text, file = "".join(safe_text(line, 2000) + "\n" for line in lines), Path("params.yaml")
    there = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    if there not in ("", text) and git("status", "--porcelain", "--", file.name) != b"":
        hint = f"git commit {file}, or move it away; then this one takes its place"
        raise Problems([Problem(str(file), "has changes that git does not have", "a file that git has", hint)])
    file.write_text(text, encoding="utf-8")
    print(f"{text}\nwrote {file}: tilth check, then dvc repro")


def params_head(data: Datasets) -> tuple[str, ...]:
    """The beginning of a params.yaml. Of little data a fifth is held out, so that its scores say something."""
    fraction = 0.1 if min(source.rows for source in data.values()) >= SMALL_DATA else 0.2
    return "seed: 7", "launch: python", f"eval_fraction: {fraction}", TINY_BASE


def params_tail(data: Datasets) -> tuple[str, ...]:
    """The rest of a params.yaml, with room for most of the answers."""
    longest = max(source.answers for source in data.values())
    most = next((length for length in ANSWER_LENGTHS if length > longest), ANSWER_LENGTHS[-1])
    preflight = "preflight: {}"
    if any(source.numeric for source in data.values()):
        preflight = "preflight: {tie_prompts: 0}   # tiny may solve none of these, which would stop the build; remove it for a real base"
    return "curate: {}", preflight, f"evaluate: {{max_new_tokens: {most}, max_rows: 500, batch_size: 16}}"


def params_lines(data: Datasets, method: str, tiny: bool, whole: bool = False) -> Iterator[str]:
    """The lines of `datasets:` that params.yaml does not have yet, and those of `steps:`.

    tiny: the base is the tiny model. whole: they are part of a whole params.yaml, and replace nothing.
    """
    kind = "preference" if method in ("dpo", "orpo") else method
    alone = method == "orpo" or data[kind].copied
    used = {kind: data[kind]} if alone else {"sft": data.get("sft") or sft_dataset_from(data[kind]), kind: data[kind]}
    if lines := [
        line
        for used_kind, source in used.items()
        if source.raw
        for line in dataset_lines(source, used_kind, source.raw, kind)
    ]:
        yield "datasets:" if whole else "datasets:           # in addition to, or instead of, what is there"
        yield from lines
    yield "steps:" if whole else "steps:              # instead of what is there"
    if alone:
        yield from step_lines("orpo" if method == "orpo" else "align", method, "base", data[kind], tiny)
        return
    yield from step_lines("sft", "sft", "base", used["sft"], tiny)
    if method != "sft":
        yield from step_lines("align", method, "sft", data[kind], tiny)


def base_is_tiny() -> bool:
    from validators.params import get_section, read_params_yaml

    return Path("params.yaml").exists() and get_section(read_params_yaml(), "base").get("model") == "tiny"


def sft_dataset_from(source: DataSource) -> DataSource:
    """A supervised dataset from the raw data of another kind, which holds good answers too."""
    raw = source.raw
    if raw is None:
        from validators.params import read_params_yaml

        raw = read_params_yaml()["datasets"][source.name]["raw"]
    if not Path(raw).exists():
        return DataSource(f"{source.name}_sft", raw)
    from commands.inspection.conversion import convert_sample
    from commands.inspection.sample import options_for, read_sample

    sample = read_sample(Path(raw), options_for(Path(raw), None))
    return data_source(f"{source.name}_sft", raw, convert_sample(sample, "sft"))


def dataset_lines(source: DataSource, kind: str, raw: str, wanted: str) -> Iterator[str]:
    from stages.rows.key_hints import quote_yaml

    # of rated completions, only the good ones become supervised rows; the rejects may be many
    more = ", max_reject_share: 0.9" if kind == "sft" and wanted == "kto" and source.name.endswith("_sft") else ""
    yield f"  {source.name}: {{kind: {kind}, raw: {quote_yaml(raw)}{more}{source.options}}}"
    for note in source.notes:
        yield f"  # {note}"


def room_for(letters: int, method: str) -> str:
    """The args with which the tiny model takes rows of this length, in batches that a CPU trains in about a second; "" for short rows."""
    fewest = 2 if method == "kto" else 1  # TRL's KTO pairs the rows of a batch
    length, batch = USUAL_LENGTH, max(fewest, min(8, BATCH_TOKENS // max(letters, 1)))
    while length < letters:
        length *= 2
    return (f", max_length: {length}" if length > USUAL_LENGTH else "") + (
        f", per_device_train_batch_size: {batch}" if batch < 8 else ""
    )


def step_lines(name: str, method: str, parent: str, of: DataSource, tiny: bool) -> Iterator[str]:
    """The entry of a step; for the tiny base with its own rates, and those of a real base beside them."""
    from validators._cautions import LEARNING_RATES

    args = (TINY_ARGS if tiny else STEP_ARGS)[method]
    if tiny and method != "grpo":
        args += room_for(of.letters, method)
    rewards = f"rewards: [{'numeric_match' if of.numeric else 'exact_match'}], " if method == "grpo" else ""
    low, high = LEARNING_RATES[method]
    unusual = tiny and not low <= float(args.partition("learning_rate: ")[2].partition(",")[0]) <= high
    reasons = ((TINY_RATE, unusual), (HOSTILE, rewards and of.numeric and not of.copied), (TOO_LONG, tiny and of.long))
    waivers = [waiver for waiver, wanted in reasons if wanted]
    waive = f", waive: {{{', '.join(waivers)}}}" if waivers else ""
    if of.copied:
        yield f"  # {COPIED}"
    yield f"  {name}: {{method: {method}, from: {parent}, dataset: {of.name}, {rewards}args: {{{args}}}{waive}}}"
    if tiny:
        waiver = ", and no waiver of what is tiny" if waive else ""
        yield f"  # of a real base: args: {{{STEP_ARGS[method]}}}{waiver}"
