"""`tilth trace`: what became of a record, from its line in a raw file to the models that saw it.

dvc.lock, data/train/, data/eval/, data/rejected/, preflight/, models/<step>/made_of.json, scores/
    -> one account for each record
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from commands.builds.build import Build
    from commands.records.search import SearchResult
    from commands.records.table import Record
    from validators.problems import Problem

What = Annotated[str, typer.Argument(help="An id or its first digits, FILE:LINE of a raw file, or a text.")]
Near = Annotated[bool, typer.Option("--near", help="What is almost the same, by the measure of curate.")]
AsText = Annotated[bool, typer.Option("--text", help="WHAT is a text, whatever it looks like.")]
Rev = Annotated[str | None, typer.Option(help="A commit, branch or tag; the working tree if left out.")]
Limit = Annotated[int, typer.Option(min=0, help="How many records are shown at most; 0 for all.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
Account = dict[str, Any]  # what became of a record; its keys are those of --json
Exposure = Mapping[str, Any]  # see `commands/records/exposure.py: exposure_of`


def main(
    context: typer.Context,
    what: What,
    near: Near = False,
    as_text: AsText = False,
    rev: Rev = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """Find a record, and show what became of it, from the raw file to the models that trained on it."""
    from commands.builds.build import read_build
    from commands.records.forgotten import threshold
    from commands.records.search import find_records

    build = read_build(rev)
    found = find_records(build, what, context.obj, limit, threshold(build) if near else None, as_text)
    accounts, problems = accounts_of(build, found.records)
    problems += found.problems
    if as_json:
        import json

        facts = {"what": what, "by": found.by, "rev": build.rev, "total": found.total, "records": accounts}
        print(json.dumps(facts | {"problems": [str(problem) for problem in problems]}, indent=2))
    else:
        show(found, accounts, problems)


# -- what became of each record -----------------------------------------------------------------------------------


def accounts_of(build: "Build", records: "Sequence[Record]") -> "tuple[list[Account], list[Problem]]":
    """(what became of each record, problems of files that cannot be read)."""
    from commands.records.difficulty import read_sorting
    from commands.records.exposure import left_out_by_row, scores_of, trained_models
    from commands.records.rollouts import rollouts_of
    from commands.records.search import OTHER_ID, records_with_ids

    others = {match[1] for record in records if (match := OTHER_ID.search(record.detail or ""))}
    rows_by_id = records_with_ids(build, {record.id for record in records if record.id} | others)
    problems: list[Problem] = []
    models, dropped = trained_models(build), left_out_by_row(build)
    scores = scores_of(build, {record.id for record in records if record.room == "eval"}, problems)
    generated = rollouts_of(build, {record.id for record in records if record.room == "train"}, problems)
    rows = [*records, *(row for rows in rows_by_id.values() for row in rows)]
    sorting = read_sorting(build, {(row.dataset, row.id) for row in rows if row.room == "train"}, problems)
    return [
        account(build, record, rows_by_id, models, dropped, scores, generated, sorting) for record in records
    ], problems


def account(
    build: "Build",
    record: "Record",
    rows_by_id: "Mapping[str, list[Record]]",
    models: Any,
    dropped: Any,
    scores: Any,
    generated: Any,
    sorting: Any,
) -> Account:
    """What became of one record. The other arguments are what `accounts_of` reads once for all records."""
    from commands.records.exposure import exposure_of

    stayed = row_that_stayed(record, rows_by_id)
    side = None if record.room == "rejected" else record.room
    return {
        "source": record.source,
        "line": record.line,
        "dataset": record.dataset,
        "kind": build.datasets[record.dataset]["kind"],
        "id": record.id,
        "side": side,
        "stages": stage_outcomes(record, build.datasets[record.dataset]["kind"]),
        "check": record.check,
        "detail": record.detail,
        "likeness": record.likeness,
        "stayed": stayed and {"id": stayed.id, "source": stayed.source, "line": stayed.line, "side": stayed.room},
        "models": [
            exposure
            for step in build.steps
            for exposure in exposure_of(build, step, record, stayed, models, dropped, sorting)
        ],
        "difficulty": sorting.get((record.dataset, record.id)) if side == "train" else None,
        "scores": scores.get((record.dataset, record.id), {}) if side == "eval" else None,
        "rollouts": generated.get(record.id, {}) if side == "train" else {},
        "content": record.content,
    }


def stage_outcomes(record: "Record", kind: str) -> dict[str, str]:
    """{stage: outcome} of the data stages, up to the one that rejected the record."""
    outcomes = {"ingest": "a row", "validate": "passed", "curate": record.room}
    if record.stage is None:
        return outcomes
    names = list(outcomes)
    before = {name: outcomes[name] for name in names[: names.index(record.stage)]}
    from stages.core.outcomes import NOT_SAMPLED

    verb = "not sampled" if record.check == NOT_SAMPLED else "rejected"
    return before | {record.stage: f"{verb} by {record.check}"}


def row_that_stayed(record: "Record", rows_by_id: "Mapping[str, list[Record]]") -> "Record | None":
    """The row in train or eval that a rejected record duplicates, resembles or contradicts, or None."""
    from commands.records.search import OTHER_ID

    visited: set[str] = set()
    detail = record.detail or ""
    while (match := OTHER_ID.search(detail)) and match[1] not in visited:
        visited.add(match[1])
        rows = [row for row in rows_by_id.get(match[1], []) if row.dataset == record.dataset]
        if stayed := next((row for row in rows if row.room != "rejected"), None):
            return stayed
        detail = next((row.detail or "" for row in rows if row is not record), "")
    return None


# -- shown --------------------------------------------------------------------------------------------------------


def show(found: "SearchResult", accounts: Sequence[Account], problems: "Sequence[Problem]") -> None:
    """Print the accounts, then the problems on stderr."""
    import shutil
    import sys

    from stages.rows.tables import safe_text

    width = max(60, shutil.get_terminal_size((100, 24)).columns)
    what = {"id": "with this id", "line": "of this line", "text": "", "likeness": "almost the same"}[found.by]
    exact = found.by == "text" and found.records[0].exact
    if found.by == "text":
        one = found.total == 1
        what = (
            f"that {'says' if one else 'say'} this in a turn"
            if exact
            else f"that {'holds' if one else 'hold'} this text"
        )
    print(f"{found.total:,} record{'s' * (found.total != 1)} {what}\n")
    for item in accounts:
        print("\n".join(line for line in account_lines(item, width)) + "\n")
    if found.total > len(accounts):
        print(f"{found.total - len(accounts):,} more: --limit 0 shows all {found.total:,}")
    for problem in problems:
        print("\n".join(safe_text(line, 2000) for line in f"warning: {problem}".splitlines()), file=sys.stderr)


def account_lines(item: Account, width: int) -> Iterator[str]:
    """The lines of one account. width: of a line at most, in characters."""
    from stages.rows.tables import safe_text

    alike = f"  {item['likeness']:.0%} alike" if item["likeness"] is not None else ""
    yield f"{safe_text(item['source'], 400)}:{item['line']}{alike}"
    for turn in turn_texts(item):
        yield from wrapped_lines("", safe_text(turn, 2 * width - 40), width)
    yield from wrapped_lines("id", item["id"] or "none: it never became a row", width)
    yield from wrapped_lines("dataset", f"{item['dataset']}, of kind {item['kind']}", width)
    for stage, outcome in item["stages"].items():
        yield from wrapped_lines(stage, outcome, width)
    if item["detail"]:
        yield from wrapped_lines("", safe_text(item["detail"], 1000), width)
    if item["stayed"]:
        stayed = item["stayed"]
        yield from wrapped_lines(
            "stayed", f"{safe_text(stayed['source'], 400)}:{stayed['line']} in {stayed['side']}", width
        )
    if difficulty := item["difficulty"]:
        text = (
            f"{difficulty['right']} of {difficulty['judged']} answers are right: kept"
            if difficulty["check"] is None
            else f"not trained on, by {difficulty['check']}: {difficulty['detail']}"
        )
        yield from wrapped_lines("keep", text, width)
    yield from model_lines(item, width)


def wrapped_lines(label: str, text: str, width: int) -> Iterator[str]:
    """A label and a text beside it, wrapped to the width."""
    import textwrap

    lines = textwrap.wrap(text, width - 12, break_on_hyphens=False) or [""]
    for number, line in enumerate(lines):
        yield f"  {label if not number else '':<9} {line}".rstrip()


def model_lines(item: Account, width: int) -> Iterator[str]:
    """Lines on the models: which trained on a record and which did not, its scores, and answers of its training."""
    from commands.records.exposure import format_scores
    from stages.rows.tables import safe_text

    trained = [model_in_words(seen) for seen in item["models"] if seen["trained"]]
    if trained:
        yield from wrapped_lines("models", "trained on it: " + ", ".join(trained), width)
    elif item["side"] == "train" and not item["models"]:
        yield from wrapped_lines("models", f"none: no step trains on {item['dataset']}", width)
    for seen in item["models"]:
        if not seen["trained"]:
            label = "models" if not trained and seen is item["models"][0] else ""
            yield from wrapped_lines(label, f"{seen['step']}: {safe_text(reason_in_words(seen), 1000)}", width)
    for model, scored in (item["scores"] or {}).items():
        yield from wrapped_lines(
            "scores" if model == next(iter(item["scores"])) else "", f"{model}: {format_scores(scored)}", width
        )
        if scored.get("generation") is not None:
            yield from wrapped_lines("", f"  said: {safe_text(scored['generation'], width - 22)}", width)
    for step, answers in item["rollouts"].items():
        mean = sum(answer["reward"] for answer in answers) / len(answers)
        text = f"{step}: {len(answers):,} answers of its training are kept, reward {mean:.3f} on average"
        yield from wrapped_lines("rollouts" if step == next(iter(item["rollouts"])) else "", text, width)
        best, worst = (pick(answers, key=lambda answer: answer["reward"]) for pick in (max, min))
        for answer in [best, worst] if worst["reward"] < best["reward"] else [best]:
            yield from wrapped_lines(
                "",
                f"  step {answer['step']:,}, reward {answer['reward']:.3g}: {safe_text(answer['completion'], width - 40)}",
                width,
            )
    if item["scores"] == {}:
        yield from wrapped_lines("scores", "none: evaluate takes the first max_rows eval rows by id", width)


def reason_in_words(seen: Exposure) -> str:
    """Why a model has not trained on a record, or why that is unknown; with the command that may change it."""
    if "final" in seen:
        return seen["why"]
    found = "not on this one" if seen["trained"] is False else "whether on this one is not known"
    return f"{seen['why']}; dvc repro" if "not trained" in seen["why"] else f"{seen['why']}; {found}; dvc repro"


def model_in_words(seen: Exposure) -> str:
    """A model, the step of its chain that trained on the record, and how often."""
    often = f"{seen['times']:,} times" if seen["times"] > 1 else ""
    parts = [f"through {seen['through']}" * (seen["through"] != seen["step"]), often, seen["why"]]
    more = ", ".join(part for part in parts if part)
    return seen["step"] + (f" ({more})" if more else "")


def turn_texts(item: Account) -> Iterator[str]:
    """The turns of a record, one text each."""
    import json

    from commands.checks.conservation import WITHOUT_TEXT
    from stages.rows.personal_data import WITHHELD

    content = item["content"]
    if isinstance(content, str) and item["id"]:
        content = json.loads(content)
    if content is None:
        yield (
            "its text is not kept"
            if item["check"] in WITHOUT_TEXT or WITHHELD in (item["detail"] or "")
            else "its text is not there"
        )
    elif isinstance(content, str):
        yield content
    else:
        for name, value in content.items():
            if isinstance(value, list):
                mark = f"{name} " if name in ("chosen", "rejected") else ""
                for turn in value:
                    parts = [turn.get("reasoning_content"), turn["content"], turn.get("tool_calls")]
                    yield f"{mark}{turn['role']}: {' '.join(str(part) for part in parts if part)}"
            elif value not in (None, "{}"):
                yield f"{name}: {value}"
