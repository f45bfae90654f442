"""`tilth inspect`: what a raw file or folder is, and what it can become, before anything is built.

Reads a sample with the readers, shapes and checks of the build itself, so that what it says is what a build will do.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, cast

import typer

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.reading.readers import Record
    from stages.rows.key_account import KeyAccount
    from stages.validate import Validator
    from validators.problems import Problem, Problems

KINDS = ("sft", "preference", "kto", "grpo")
# the kind that a shape is by nature; any other is supervised
KIND_OF_SHAPE = {
    "preference": "preference", "openai_preference": "preference", "scored": "preference", "compared": "preference",
    "reply_tree": "preference", "feedback": "kto", "verifiable": "grpo", "multiple_choice": "grpo", "extractive": "grpo",
}  # fmt: skip
MAX_RECORDS, MAX_TOKENIZED_ROWS, FIRST_PROBLEMS = 20_000, 1_000, 5
FIRST_TRUTHS, LONG_TRUTH = 3, 200
# where answers are usually found in a worked solution: GSM8K's mark, LaTeX's box, tags, a closing sentence
ANSWER_PATTERNS = (
    r"#### (.+)$",
    r"(?s)\\boxed\{((?:[^{}]|\{(?1)\})+)\}(?!.*\\boxed)",
    r"<answer>\s*(.+?)\s*</answer>",
    r"[Tt]he answer is:? (.+?)\.?$",
)
Raw = Annotated[str, typer.Argument(metavar="PATH", help="A raw file, or a folder of raw files.")]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


class FileSummary(TypedDict):
    """A file: what it is, the shapes of its records in words, and what is wrong with it, each empty where there is nothing to say."""

    path: str
    what: str
    shapes: str
    fault: str


class Sample(TypedDict):
    """The first records of each file, with its path. whole: whether these are all."""

    files: list[FileSummary]
    records: "list[tuple[str, Record]]"
    shapes: Counter[str]
    kinds: Counter[str]
    whole: bool


class Conversion(TypedDict):
    """What a build would make of a sample as rows of one kind.

    characters: of each row. valid: how many rows validate lets pass. stops: what would stop a build. account: the keys that no
    row is made of. prompts: conversations without an answer.
    """

    table: "pa.Table"
    rejects: list[dict[str, Any]]
    warnings: dict[str, str]
    pattern: str | None
    characters: Any
    valid: int
    stops: list[str]
    account: "KeyAccount"
    prompts: int


def main(context: typer.Context, path: Raw, as_json: Json = False) -> None:
    """Tell what a raw file or folder is and can become, with its `datasets:` entry, before anything is built."""
    from stages.rows.tables import safe_text

    raw = resolve_path(path, context.obj)
    found = read_sample(raw)
    if as_json:
        print_json(raw, found, *best_kind(found))
        return
    for file in found["files"]:
        print(f"{safe_text(file['path'], 200)}: {file['what']}")
        for line in (file["shapes"] or file["fault"]).splitlines():
            print(f"  {safe_text(line, 400)}")
    kind, checked = best_kind(found)
    for line in report_lines(found, kind, checked):
        print(line)
    print()
    for line in datasets_entry(raw, kind, checked["pattern"]).splitlines():
        print(safe_text(line, 2000))


def print_json(raw: Path, found: Sample, kind: str, checked: Conversion) -> None:
    import json

    account, rejects = checked["account"], checked["rejects"]
    facts = {
        "files": found["files"],
        "records": len(found["records"]),
        "whole": found["whole"],
        "can_become": dict(found["kinds"]),
        "kind": kind,
        "rows": checked["valid"],
        "rejected": len(rejects),
        "rejects": [
            {key: reject[key] for key in ("source", "line", "check", "detail")} for reject in rejects[:FIRST_PROBLEMS]
        ],
        "stops": checked["stops"] + [f"key {key!r} is in no row" for key in sorted(account.lost)],
        "unused_keys": dict(account.unused),
        "warnings": checked["warnings"],
        "ground_truth_pattern": checked["pattern"],
        "entry": datasets_entry(raw, kind, checked["pattern"]),
    }
    print(json.dumps(facts, indent=2))


def resolve_path(path: str, start: Path | None = None) -> Path:
    """The path that the user means, relative to the project where it is inside. Raises Problems if it is not there."""
    from validators.problems import Problem, Problems

    whole = (start or Path.cwd()) / path
    if not path or not whole.exists():
        hint = "the path is relative to where you are"
        raise Problems([Problem(path or "PATH", "does not exist", "a raw file or a folder of them", hint)])
    root, whole = Path.cwd().resolve(), whole.resolve()
    return whole.relative_to(root) if whole.is_relative_to(root) and whole != root else whole


# -- what is there ------------------------------------------------------------------------------------------------


def read_sample(raw: Path) -> Sample:
    """The first records of each file, and what each file is. Raises Problems where there is no file, or none that can be read."""
    from stages.reading.files import listing
    from validators.problems import Problem, Problems

    try:
        there = listing(str(raw), str(raw))
    except Problems as error:
        raise Problems([Problem(p.where, p.found, p.expected, "put raw data there") for p in error.problems]) from None
    found: Sample = {"files": [], "records": [], "shapes": Counter(), "kinds": Counter(), "whole": True}
    problems: list[Problem] = []
    most = max(100, MAX_RECORDS // len(there.data))
    for file in there.data:
        sample_file(file, most, found, problems)
    if len(problems) == len(there.data):
        raise Problems(problems)
    for file, role in there.others.items():
        found["files"].append({"path": file.as_posix(), "what": "not read", "shapes": "", "fault": role})
    return found


def sample_file(file: Path, most: int, found: Sample, problems: "list[Problem]") -> None:
    """Add one file to `found`; what makes it unreadable to `problems`."""
    from itertools import islice

    from stages.ingest import rows_of_record
    from stages.reading.containers import detect_container
    from stages.reading.readers import records
    from stages.rows.options import NO_OPTIONS
    from stages.rows.shapes import shape_of
    from stages.rows.values import Unreadable
    from validators.problems import Problems

    seen, what, fault, count = Counter(), "unreadable", "", 0
    try:
        what = f"{detect_container(file)}, {encoding(file)}, {file.stat().st_size:,} bytes"
        for count, record in enumerate(islice(records(file), most + 1), 1):
            if count > most:
                found["whole"] = False
                break
            found["records"].append((file.as_posix(), record))
            seen[shape_of(record.value) or "unknown" if record.value is not None else "unreadable"] += 1
            for kind in KINDS if record.value is not None else ():
                try:
                    rows_of_record(record, kind, NO_OPTIONS)
                except Unreadable:
                    continue
                found["kinds"][kind] += 1
    except Problems as error:
        problems += error.problems
        fault = str(error)
    found["shapes"] += seen
    shapes = ", ".join(f"{number:,} {shape}" for shape, number in seen.most_common())
    shapes += f" (the first {most:,} records)" if count > most else ""
    found["files"].append({"path": file.as_posix(), "what": what, "shapes": shapes, "fault": fault})


def encoding(file: Path) -> str:
    """How the text of a file is written, by its first bytes."""
    head = file.read_bytes() if file.stat().st_size < 65536 else file.open("rb").read(65536)
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK", b"\xff\xff\xff\xff", b"ARROW1")):
        return "binary"
    ends = "CRLF line ends" if b"\r\n" in head else ""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a letter may be cut at the end of what was read
            return ", ".join(filter(None, [f"not UTF-8 (byte {error.start:,})", ends]))
    return ", ".join(filter(None, ["UTF-8 with BOM" if head.startswith(b"\xef\xbb\xbf") else "UTF-8", ends]))


def best_kind(found: Sample) -> tuple[str, Conversion]:
    """(kind, what `convert_sample` gives of it): the kind that most records are by nature, if a build would take most of them as such.

    Else the kind of which a build would take the most. Raises Problems, with the first rejects, where it would take none.
    """
    natures = Counter()
    for shape, count in found["shapes"].items():
        if shape not in ("unknown", "unreadable"):
            natures[KIND_OF_SHAPE.get(shape, "sft")] += count
    order = [kind for kind, _ in natures.most_common()]
    tried = {}
    for kind in [*order, *(kind for kind in KINDS if kind not in order)]:
        if found["kinds"][kind]:
            tried[kind] = convert_sample(found, kind)
            if not tried[kind]["stops"] and tried[kind]["valid"] * 2 > len(found["records"]):
                return kind, tried[kind]
    able = {kind: checked for kind, checked in tried.items() if checked["valid"]}
    if not able:
        raise no_rows_error(found, tried)
    best = max(able, key=lambda kind: (not able[kind]["stops"], able[kind]["valid"]))
    return best, able[best]


def no_rows_error(found: Sample, tried: Mapping[str, Conversion]) -> "Problems":
    """Problems that say why no record becomes a row: the first reasons, and how `columns:` would name the keys."""
    from stages.rows.plain_conversations import describe_prompts_only
    from stages.rows.tables import safe_text
    from validators.problems import Problem, Problems

    source, record = found["records"][0] if found["records"] else (found["files"][0]["path"], None)
    value = record.value if record and record.value else {}
    keys = ", ".join(value) or "none that can be read"
    first = next(iter(tried.values()), None) or convert_sample(found, "sft")
    reasons = [
        f"\n  {safe_text(reject['source'], 200)}:{reject['line']}: {reject['check']}: {safe_text(reject['detail'], 200)}"
        for reject in first["rejects"][:FIRST_PROBLEMS]
    ]
    said = f"; {describe_prompts_only(first['prompts'])}" if first["prompts"] else ""
    what = f"the first record's keys: {safe_text(keys, 400)}; no record becomes a row{said}{''.join(reasons)}"
    return Problems([Problem(safe_text(source, 200), what, "a known shape", columns_hint(value))])


def columns_hint(record: Mapping[str, Any]) -> str:
    """A hint on how `columns:` would name a record's keys, where their names and what they hold say so; else where the shapes are."""
    from stages.rows.key_hints import quote_yaml
    from stages.rows.key_meanings import meaning_of
    from stages.rows.tables import safe_text

    keys = {"prompt": [], "answer": [], "thought": []}
    for key, value in record.items():
        meaning = meaning_of(key)
        text = isinstance(value, str) and value.strip()
        if meaning in keys and (
            text
            or (meaning == "prompt" and isinstance(value, (list, dict)) and value)
            or (meaning == "answer" and isinstance(value, (int, float)))
        ):
            keys[meaning].append(safe_text(quote_yaml(key)))
    if not keys["prompt"] or not keys["answer"]:
        return "docs/formats.md has the shapes; or say what the keys are: columns: {prompt: KEY, completion: KEY}"
    asked = keys["prompt"][0] if len(keys["prompt"]) == 1 else f"[{', '.join(keys['prompt'])}]"
    more = "".join(f", reasoning_content: {key}" for key in keys["thought"][:1])
    names = f"columns: {{prompt: {asked}, completion: {keys['answer'][0]}{more}}}"
    others = f"; {', '.join(keys['answer'][1:])} may be the answer as well" if keys["answer"][1:] else ""
    return f"docs/formats.md has the shapes; or say what the keys are, such as {names} (or ground_truth: for kind grpo){others}"


# -- what it becomes ----------------------------------------------------------------------------------------------


def convert_sample(found: Sample, kind: str) -> Conversion:
    """The sample through the shapes and checks of a build."""
    import importlib

    from stages.ingest import rows_of_record
    from stages.rows.identity import identify
    from stages.rows.key_account import KeyAccount
    from stages.rows.options import NO_OPTIONS
    from stages.rows.plain_conversations import count_without_answer
    from stages.rows.tables import MESSAGES, row_schema, to_table
    from stages.rows.values import Unreadable
    from stages.validate import examine_table, warnings_of
    from validators._messages import conversation_lengths
    from validators.problems import Problems

    rows, rejects, account, stops = [], [], KeyAccount(), []
    for source, record in found["records"]:
        check, detail = record.fault or (None, None)
        if not check:
            try:
                for row in rows_of_record(record, kind, NO_OPTIONS, account):
                    rows.append(row | identify(row, kind) | {"source": source, "line": record.line})
                continue
            except Unreadable as error:
                check, detail = error.check, error.detail
        rejects.append({"source": source, "line": record.line, "check": check, "detail": detail})
    table = to_table(rows, row_schema(kind, keys=True))
    invalid, measures = examine_table(table, cast("Validator", importlib.import_module(f"validators.{kind}")))
    try:
        warnings = warnings_of(measures, kind)
    except Problems as error:
        warnings = {problem.where: f"{problem.found}; this stops a build" for problem in error.problems}
        stops = list(warnings)
    columns = [field.name for field in table.schema if field.type == MESSAGES]
    return {
        "table": table,
        "rejects": rejects + invalid.to_pylist(),
        "warnings": warnings,
        "pattern": answer_pattern(rows) if kind == "grpo" else None,
        "characters": sum(conversation_lengths(table[column]) for column in columns),
        "valid": table.num_rows - len(invalid),
        "stops": stops,
        "account": account,
        "prompts": count_without_answer(table) if kind == "sft" else 0,
    }


def answer_pattern(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The usual pattern that finds an answer in nearly every ground truth that is a whole solution, or None."""
    from stages.rows.options import extract_ground_truth
    from stages.rows.values import Unreadable

    def finds(pattern: str, text: str) -> bool:
        try:
            return extract_ground_truth(text, pattern) != text
        except Unreadable:
            return False

    truths = [row["ground_truth"] for row in rows if row["ground_truth"]]
    return next((p for p in ANSWER_PATTERNS if truths and sum(finds(p, t) for t in truths) > 0.95 * len(truths)), None)


def report_lines(found: Sample, kind: str, checked: Conversion) -> Iterator[str]:
    """The lines that say what the sample becomes."""
    from stages.rows.plain_conversations import describe_prompts_only
    from stages.rows.tables import safe_text

    records, rejects = len(found["records"]), checked["rejects"]
    able = ", ".join(f"{k} {found['kinds'][k]:,}" for k in KINDS if found["kinds"][k])
    yield f"\n{records:,} records looked at{'' if found['whole'] else ', the first of each file'}; can become: {able}"
    yield f"as kind {kind}: {checked['valid']:,} rows, {len(rejects):,} rejected ({len(rejects) / records:.1%})"
    if len(rejects) > 0.05 * records:
        yield "  a build stops at more than 5%: mend the data, or set max_reject_share"
    if checked["prompts"]:
        yield f"  {describe_prompts_only(checked['prompts'])}"
    yield from key_lines(checked["account"])
    yield f"characters a row: {percentiles(checked['characters'])}"
    yield token_line(checked["table"])
    if kind == "grpo":
        yield from truth_lines(checked["table"], checked["pattern"])
    if checked["pattern"]:
        yield f"the ground truths are whole solutions; {checked['pattern']!r} finds the answers in them"
    for check, text in checked["warnings"].items():
        yield f"warning: {check}: {text}"
    for reject in rejects[:FIRST_PROBLEMS]:
        yield f"{safe_text(reject['source'], 200)}:{reject['line']}: {reject['check']}: {safe_text(reject['detail'], 200)}"
    if len(rejects) > FIRST_PROBLEMS:
        yield f"{len(rejects) - FIRST_PROBLEMS:,} more are rejected"


def key_lines(account: "KeyAccount") -> Iterator[str]:
    """The keys that no row is made of, and what is to be done about those that mean something."""
    from stages.rows.key_hints import key_hint, quote_yaml
    from stages.rows.rejects import describe_key_counts
    from stages.rows.tables import safe_text

    if account.unused:
        yield f"keys not used: {describe_key_counts(account.unused)}"
    for key, lost in sorted(account.lost.items()):
        what = f"a build stops: {lost.records:,} records have {safe_text(repr(key))} ({safe_text(lost.sample)!r}), which no row holds"
        yield f"{what}; {safe_text(key_hint(key, lost.meaning), 400)}, or ignore: [{safe_text(quote_yaml(key))}]"


def truth_lines(table: "pa.Table", pattern: str | None) -> Iterator[str]:
    """The first ground truths as a reward function sees them, and what is unusual in all of them. pattern: what finds answers in them."""
    from stages.rows.tables import safe_text
    from validators._truths import alternatives, final_answer, last_number

    columns = ("source", "line", "ground_truth")
    rows = [row for row in table.select(columns).to_pylist() if (row["ground_truth"] or "").strip()]
    for row in rows[:FIRST_TRUTHS]:
        truth = row["ground_truth"]
        seen, final, any_of = safe_text(repr(truth), 120), final_answer(truth), alternatives(truth)
        number = last_number(final or truth)
        if any_of:
            seen += f"; any of {len(any_of):,} is right"
        elif final:
            seen += f"; in the end {safe_text(repr(final))}"
        seen += "" if any_of or number is None else f"; as a number {number:g}"
        yield f"ground truth of {safe_text(row['source'], 200)}:{row['line']}: {seen}"
    truths = [row["ground_truth"] for row in rows]
    if not pattern and (whole := sum(len(truth) > LONG_TRUTH or "\n" in truth.strip() for truth in truths)):
        yield (
            f"warning: {whole:,} of {len(truths):,} ground truths look like whole solutions (several lines, or over {LONG_TRUTH} "
            "characters): no answer will be just that; ground_truth_pattern takes the answer out of them"
        )
    if objects := sum(truth.lstrip().startswith("{") and is_json_object(truth) for truth in truths):
        yield (
            f"warning: {objects:,} of {len(truths):,} ground truths are JSON objects: exact_match wants that very text; "
            "a reward of your own reads them (validators/rewards.py)"
        )


def is_json_object(text: str) -> bool:
    import json

    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def percentiles(numbers: Sequence[int]) -> str:
    import numpy as np

    if not len(numbers):
        return "no rows"
    half, most = np.percentile(numbers, [50, 95], method="nearest")
    return f"p50 {half:,}, p95 {most:,}, max {max(numbers):,}"


def token_line(table: "pa.Table") -> str:
    """How many tokens the base model makes of a row's text, where the base model is built."""
    if not Path("models/base/tokenizer_config.json").exists():
        return "tokens a row: unknown until the base model is there: dvc repro base"
    from stages.rows.tables import MESSAGES
    from stages.training.models import load_tokenizer

    columns = [field.name for field in table.schema if field.type == MESSAGES]
    rows = table.slice(0, MAX_TOKENIZED_ROWS).select(columns).to_pylist()
    if not rows:
        return "tokens a row: no rows"
    texts = ["\n".join(turn["content"] or "" for turns in row.values() for turn in turns) for row in rows]
    counts = [len(ids) for ids in load_tokenizer()(texts, add_special_tokens=False, verbose=False)["input_ids"]]
    return f"tokens a row by {tokenizer_in_words()}, without the template, in the first {len(rows):,} rows: {percentiles(counts)}"


def tokenizer_in_words() -> str:
    """Whose tokenizer models/base has: that of the base model which was built last, which params.yaml may no longer name."""
    from commands.builds.build import read_build
    from commands.builds.params import params_of_run, params_then_and_now
    from validators.problems import Problems

    try:
        build = read_build()
        before, now = params_of_run(build, "base"), params_then_and_now(build, "base")[1]
    except Problems:  # no params.yaml, or no dvc.lock: a folder that somebody put there
        return "the tokenizer of models/base"
    model = ((before or {}).get("base") or {}).get("model") or "an earlier base model"
    if not now:
        return f"the tokenizer of the base model {model}"
    wanted = (now.get("base") or {}).get("model")
    again = "with other settings in params.yaml now" if wanted == model else f"params.yaml has {wanted} now"
    return f"the tokenizer of {model}, which models/base still is ({again}: dvc repro base)"


# -- the entry ----------------------------------------------------------------------------------------------------


def datasets_entry(raw: Path, kind: str, pattern: str | None = None) -> str:
    """One line for `datasets:` of params.yaml. Data outside the project is to be copied into it first."""
    import shlex

    from stages.rows.key_hints import quote_yaml

    inside = raw if not raw.is_absolute() else Path("data/raw", raw.name)
    name, taken = dataset_name(raw), existing_datasets()
    known = [line for each, dataset in taken.items() for line in existing_entry(each, dataset, inside, kind, pattern)]
    if known:
        return "\n".join(known)
    while name in taken:
        name += "_new"
    # single quotes, as a backslash is itself in them
    more = f", ground_truth_pattern: '{pattern}'" if pattern else ""
    line = f"  {name}: {{kind: {kind}, raw: {quote_yaml(inside.as_posix())}{more}}}"
    first = "" if inside == raw else f"first: cp -r {shlex.quote(str(raw))} data/raw/\n\n"
    return f"{first}to paste under `datasets:` in params.yaml:\n\n{line}"


def existing_entry(name: str, dataset: dict[str, Any], raw: Path, kind: str, pattern: str | None) -> Iterator[str]:
    """The line that says that a dataset of params.yaml reads a path, and what differs from what was found; none where it does not."""
    from stages.reading.files import fits_pattern

    there = PurePosixPath(str(dataset.get("raw") or ""))
    if not there.parts or not raw.is_relative_to(there):
        return
    where = "" if raw == Path(there) else f", which reads all of {there}"
    left_out = where and any(fits_pattern(raw.as_posix(), each, str(there)) for each in dataset.get("exclude") or ())
    where += ", but `exclude` leaves this out" if left_out else ""
    other = (
        [f"`kind: {dataset.get('kind')}` there, most of these records are {kind}"]
        if dataset.get("kind") != kind
        else []
    )
    if pattern and not dataset.get("ground_truth_pattern"):
        other.append(f"no ground_truth_pattern there: '{pattern}' finds the answers")
    yield f"params.yaml has it: datasets.{name}{where}" + (f"; what differs: {'; '.join(other)}" if other else "")


def existing_datasets() -> dict[str, dict[str, Any]]:
    """The datasets of params.yaml, if there is one."""
    from validators.params import get_section, read_params_yaml

    datasets = get_section(read_params_yaml(), "datasets") if Path("params.yaml").exists() else {}
    return {name: dataset for name, dataset in datasets.items() if isinstance(dataset, dict)}


def dataset_name(raw: Path) -> str:
    """A name that params.yaml takes, from that of the file."""
    import re

    name = re.sub(r"[^a-z0-9]+", "_", raw.name.split(".")[0].lower()).strip("_")
    # YAML takes a bare null, true or false for a value
    return name if name[:1].isalpha() and name not in ("null", "true", "false") else f"data_{name}".strip("_")
