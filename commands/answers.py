"""`tilth answers`: what a model said to the eval rows of a dataset, beside the answer that was wanted, the worst first.

scores/<model>.parquet, data/eval/<d>.parquet -> text, or JSON
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="`base`, or a name under `steps` of params.yaml.")]
Name = Annotated[
    str | None, typer.Argument(help="A name under `datasets` of params.yaml; all that have answers if left out.")
]
Limit = Annotated[int, typer.Option(min=0, help="How many answers of each dataset to show at most; 0 for all.")]
Best = Annotated[bool, typer.Option("--best", help="The best first, instead of the worst.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts: texts are whole.")]
Row = dict[str, Any]
WIDTH = 1000  # characters of a text on a terminal
NOT_METRICS = {
    "nll",
    "tokens",
    "right",
    "logp",
    "label",
    "chosen_logp",
    "rejected_logp",
    "cut",
    "cut_thinking",
    "win_rate",
}


def main(model: Model, dataset: Name = None, limit: Limit = 5, best: Best = False, as_json: Json = False) -> None:
    """Show what a model said to eval rows, beside the answer that was wanted, the worst first."""
    from stages.scoring.metric_direction import lower_is_better
    from validators.problems import Problem, Problems

    known = dict(generated_answers(model))
    if not known:
        hint = "kind kto has no answers; kind preference has them where it names `metrics`; dvc repro scores a model"
        raise Problems(
            [Problem(f"tilth answers {ascii(model)[1:-1]}", "no scored answers", "a model that was scored", hint)]
        )
    if dataset is not None and dataset not in known:
        where, expected = f"tilth answers {model} {ascii(dataset)[1:-1]}", f"one of {', '.join(known)}"
        raise Problems([Problem(where, f"no answers of {model} to {dataset!r}", expected, "tilth report")])
    found = {}
    for name in [dataset] if dataset else known:
        metric, rows = first_metric(known[name]), known[name]
        falls = best != (metric is not None and lower_is_better(metric))
        # an id is a hash, so rows of the same value are in a random order, and it stays; rows that are not judged come last
        judged = [row for row in rows if row["scores"].get(metric) is not None]
        judged.sort(key=lambda row: (row["scores"][metric] * (-1 if falls else 1), row["id"]))
        rows = judged + sorted((row for row in rows if row["scores"].get(metric) is None), key=lambda row: row["id"])
        found[name] = metric, rows[: limit or None], len(rows)
    if as_json:
        import json

        print(json.dumps({name: rows for name, (_, rows, _) in found.items()}, indent=2, ensure_ascii=False))
        return
    for name, (metric, rows, count) in found.items():
        order = f", {'best' if best else 'worst'} {metric} first" if metric else ""
        print(f"{model} on {name}: {len(rows):,} of {count:,} answers{order}")
        for row in rows:
            show(row)
        print()


def generated_answers(model: str) -> "Mapping[str, list[Row]]":
    """{dataset: its answered rows}; {} of a model that was not scored."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = Path(f"scores/{model}.parquet")
    if not path.is_file():
        return {}
    table = pq.read_table(path)
    if "generation" not in table.column_names:
        return {}
    table = table.filter(pc.is_valid(table["generation"]))
    names = [name for name in table["dataset"].unique().to_pylist() if Path(f"data/eval/{name}.parquet").is_file()]
    return {name: answered_rows(name, table.filter(pc.equal(table["dataset"], name))) for name in sorted(names)}


def answered_rows(dataset: str, scores: Any) -> list[Row]:
    """[{id, row: `source:line`, prompt, answer, reference, scores}] of a dataset. scores: its part of the model's table."""
    import pyarrow.parquet as pq

    from stages.rows.batches import decode_row

    rows = {row["id"]: decode_row(row) for row in pq.read_table(f"data/eval/{dataset}.parquet").to_pylist()}
    return [
        prompt_and_reference(rows[line["id"]])
        | {
            "answer": line["generation"],
            "cut": bool(line["cut"] or line["cut_thinking"]),
            "scores": {
                name: value
                for name, value in line.items()
                if isinstance(value, (int, float))
                and name not in NOT_METRICS
                and not name.startswith(("passed/", "lm_eval/"))
            },
        }
        for line in scores.to_pylist()
        if line["id"] in rows
    ]


def prompt_and_reference(row: Row) -> Row:
    """The turns before the answer, and the answer that was wanted."""
    if "messages" in row:
        prompt, reference = row["messages"][:-1], row["messages"][-1].get("content")
    else:
        prompt = row["prompt"]
        reference = row["ground_truth"] if "ground_truth" in row else row["chosen"][-1].get("content")
    return {"id": row["id"], "row": f"{row['source']}:{row['line']}", "prompt": prompt, "reference": reference}


def first_metric(rows: list[Row]) -> str | None:
    """The metric that rows are in the order of: the first that judges one of them."""
    return next((name for row in rows for name in row["scores"]), None)


def show(row: Row) -> None:
    """Print a row: its place and its scores, then its turns, the answer and the reference."""
    from stages.rows.tables import safe_text

    scores = [f"{name} {value:g}" for name, value in row["scores"].items()]
    print(safe_text("  ".join([row["row"], *scores, *(["cut at max_new_tokens"] if row["cut"] else [])]), WIDTH))
    for turn in row["prompt"]:
        text = turn.get("content") or json_text(turn.get("tool_calls"))
        print_text(turn["role"], text)
    print_text("answer", row["answer"])
    print_text("wanted", row["reference"] or "")


def json_text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False) if value else ""


def print_text(name: str, text: str) -> None:
    """Print a text under its name, with its own lines, cut to a length."""
    from stages.rows.tables import safe_text

    first, *rest = text[:WIDTH].split("\n")
    for label, line in [(name, first), *(("", line) for line in rest)]:
        print(f"  {label:<10}{safe_text(line, WIDTH)}".rstrip())
    if len(text) > WIDTH:
        print(f"  {'':<10}({len(text) - WIDTH:,} more characters)")
