"""`tilth recommend`: which method fits your data, why, and the `steps:` entry to paste.

With data, its kinds decide; without, four questions do. The reasons are those of TRL's and Unsloth's guides.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.inspection.params_lines import (
    Datasets,
    DataSource,
    data_source,
    params_head,
    params_lines,
    params_tail,
    recommended_steps,
)

if TYPE_CHECKING:
    from commands.inspection.conversion import Conversion
    from commands.inspection.sample import Sample

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
WRITTEN = Path(".work/recommended.yaml")  # what `--write` wrote last, which it may replace
LEARNED = {  # what supervised rows of the same records learn
    "preference": "learns the better answer of each pair (`chosen`)",
    "kto": "learns the answers that are rated good, and no others",
}
METHOD_OF_KIND = {"kto": "kto", "grpo": "grpo", "sft": "sft"}


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
    answers = {"preference": pairs, "kto": labels, "grpo": verifiable}
    wanted = next((kind for kind, answer in answers.items() if answer), None)
    if write:
        write_params(path, columns, bool(one_stage), context.obj, wanted)
        return
    if path is not None:
        data = datasets_of(*read_data(path, columns, context.obj, wanted))
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


def read_data(
    path: str, columns: str | None, start: Path | None, wanted: str | None
) -> "tuple[Path, Sample, str, Conversion]":
    """The path, a sample, the kind and its conversion of a raw file or folder. wanted: the kind, None for the one that fits best.

    Raises Problems where no record can become the kind that is wanted.
    """
    from commands.inspection.conversion import best_kind, convert_sample, join_context
    from commands.inspection.sample import options_for, read_sample, resolve_path
    from validators.problems import Problem, Problems

    raw = resolve_path(path, start)
    sample = read_sample(raw, options_for(raw, columns))
    kind, conversion = best_kind(sample)
    if wanted and wanted != kind:
        if not sample["kinds"][wanted]:
            found = f"none of {len(sample['records']):,} records can become a row of kind {wanted}"
            hint = f"they fit kind {kind}: leave the option out, or name the keys by --columns"
            raise Problems([Problem(path, found, "what the option says", hint)])
        kind, conversion = wanted, convert_sample(sample, wanted)
    sample, conversion = join_context(sample, kind, conversion)
    return raw, sample, kind, conversion


def datasets_of(raw: Path, sample: "Sample", kind: str, conversion: "Conversion") -> Datasets:
    """The dataset of a raw file or folder, and the supervised one of the same data."""
    from commands.inspection.conversion import are_numbers, convert_sample
    from commands.inspection.datasets import dataset_name, path_inside
    from commands.inspection.sample_report import copied_truths

    inside = path_inside(raw).as_posix()
    source = data_source(dataset_name(raw), inside, conversion, sample["whole"], kind)
    numeric = kind == "grpo" and are_numbers(conversion)
    found = {kind: source._replace(numeric=numeric, copied=numeric and copied_truths(conversion["table"]) > 0)}
    if kind != "sft" and not found[kind].copied:
        found["sft"] = data_source(f"{source.name}_sft", inside, convert_sample(sample, "sft"), sample["whole"], "sft")
    return found


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


def write_params(
    path: str | None, columns: str | None, one_stage: bool, start: Path | None, wanted: str | None
) -> None:
    """Write a whole params.yaml and print it. Raises Problems without a path, and where git does not have the one that is there.

    wanted: the kind of its dataset, None for the one that fits best.
    """
    from commands.builds.git import git
    from commands.inspection.sample_report import report_lines
    from stages.rows.tables import safe_text
    from validators.problems import Problem, Problems

    if path is None:
        raise Problems([Problem("tilth recommend --write", "no PATH", "a raw file or folder of data/raw", "")])
    raw, sample, kind, conversion = read_data(path, columns, start, wanted)
    records, rejects = len(sample["records"]), conversion["rejects"]
    if 2 * conversion["valid"] < records:
        first = f"{rejects[0]['source']}:{rejects[0]['line']}: {rejects[0]['check']}: {safe_text(rejects[0]['detail'], 200)}"
        found = f"most of {records:,} records would be rejected as kind {kind}; the first: {first}"
        hint = f"tilth inspect {path} shows what is wrong; another kind: --pairs, --labels, --verifiable; other names of keys: --columns"
        raise Problems([Problem(path, found, "records of which most become rows", hint)])
    data = datasets_of(raw, sample, kind, conversion)
    method = choose_method(data, one_stage)
    lines = [
        f"# {'GRPO' if any(source.copied for source in data.values()) else PIPELINES[method][0]}: {WHY[method]}",
        *params_head(data),
        *params_lines(data, method, tiny=True, whole=True),
        *params_tail(data),
    ]
    text, file = "".join(safe_text(line, 2000) + "\n" for line in lines), Path("params.yaml")
    there = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    written = WRITTEN.read_text(encoding="utf-8") if WRITTEN.exists() else None
    if there not in ("", text, written) and git("status", "--porcelain", "--", file.name) != b"":
        hint = f"git commit {file}, or move it away; then this one takes its place"
        raise Problems([Problem(str(file), "has changes that git does not have", "a file that git has", hint)])
    file.write_text(text, encoding="utf-8")
    WRITTEN.parent.mkdir(exist_ok=True)
    WRITTEN.write_text(text, encoding="utf-8")
    shown = [*report_lines(sample, kind, conversion)]
    if kind != "sft" and "sft" in recommended_steps(data, method):
        learned = [LEARNED[kind]] if kind in LEARNED else []
        shown += [f"{data['sft'].name}: {line}" for line in (*learned, *data["sft"].shown)]
    for line in (*shown, "", *text.splitlines(), "", *next_lines(data, method)):
        print(line)
    if kind == "sft" and could_be_verified(sample):
        print(
            f"The answers are short: tilth recommend {path} --verifiable --write lets the model try, and rewards right ones (GRPO)"
        )


def could_be_verified(sample: "Sample") -> bool:
    """Whether nearly all records of supervised data have a short answer, which a reward function can compare."""
    from commands.inspection.conversion import are_checkable, convert_sample

    if 2 * sample["kinds"]["grpo"] < len(sample["records"]):
        return False
    conversion = convert_sample(sample, "grpo")
    return not conversion["stops"] and are_checkable(conversion)


def next_lines(data: Datasets, method: str) -> Iterator[str]:
    """What to type after `--write`."""
    last = recommended_steps(data, method)[-1]
    yield "wrote params.yaml: read it, change what you know better. Then"
    yield "  dvc repro                                # checks it, builds a model, scores it"
    yield f"  tilth answers {last:<26} # what it says to held-out rows, beside what was wanted"
    yield "  tilth lineage                            # what it is made of"
    yield '  git add --all && git commit -m "mine"    # what it is made of, for good'


def base_is_tiny() -> bool:
    from validators.params import get_section, read_params_yaml

    return Path("params.yaml").exists() and get_section(read_params_yaml(), "base").get("model") == "tiny"
