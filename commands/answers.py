"""`tilth answers`: what a model said to some eval rows of a dataset, beside the answer that was wanted, from the worst to the best.

Of pairs it shows both answers and by how much the model finds the better one likelier, of ratings the answer and its likelihood.

scores/<model>.parquet, data/eval/<d>.parquet -> text, or JSON
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str | None, typer.Argument(help="`base`, or a name under `steps` of params.yaml; the last of these if left out.")
]
Name = Annotated[str | None, typer.Argument(help="A name under `datasets` of params.yaml; all of them if left out.")]
Limit = Annotated[int, typer.Option(min=0, help="How many answers of each dataset to show at most; 0 for all.")]
Worst = Annotated[bool, typer.Option("--worst", help="The worst alone, instead of rows from the worst to the best.")]
Best = Annotated[bool, typer.Option("--best", help="The best alone, the best first.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts: texts are whole.")]
Row = dict[str, Any]
WIDTH = 1000  # characters of a text on a terminal
MOST_BLANKS = 20  # at the end of a text that are shown as they are
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


def main(
    model: Model = None,
    dataset: Name = None,
    limit: Limit = 5,
    worst: Worst = False,
    best: Best = False,
    as_json: Json = False,
) -> None:
    """Show what a model said to eval rows, beside the answer that was wanted: some from the worst to the best.

    Of a dataset of pairs or ratings: how likely it finds each answer.
    """
    from stages.scoring.metric_direction import lower_is_better
    from validators.problems import Problem, Problems

    model = model or last_step()
    known = scored_rows(model)
    if not known:
        where, hint = f"tilth answers {ascii(model)[1:-1]}", "dvc repro scores every model"
        raise Problems([Problem(where, "no scores", "`base` or a step that was scored", hint)])
    if dataset is not None and dataset not in known:
        where, expected = f"tilth answers {model} {ascii(dataset)[1:-1]}", f"one of {', '.join(known)}"
        raise Problems([Problem(where, f"no scores of {model} on {dataset!r}", expected, "tilth report")])
    found = {}
    for name in [dataset] if dataset else known:
        metric, rows = first_metric(known[name]), known[name]
        falls = best != (metric is not None and lower_is_better(metric))
        rows = sorted(rows, key=partial(place_of, metric=metric, falls=falls))
        order, some = f"{'best' if best else 'worst'} {metric} first", rows[: limit or None]
        if len(some) < len(rows) and not worst and not best:
            judged = [row for row in rows if row["scores"].get(metric) is not None] or rows
            order, some = f"from the worst to the best {metric}", spread(judged, limit)
        found[name] = f", {order}" if metric else "", some, len(rows)
    if as_json:
        import json

        print(json.dumps({name: rows for name, (_, rows, _) in found.items()}, indent=2, ensure_ascii=False))
        return
    for name, (order, rows, count) in found.items():
        print(f"{model} on {name}: {len(rows):,} of {count:,} rows{order}{describe_alike(known[name])}")
        for row in rows:
            show(row)
        print()


def last_step() -> str:
    """The last step of params.yaml; `base` where it has none."""
    from validators.params import get_section, read_params_yaml

    return next(reversed(get_section(read_params_yaml(), "steps")), "base")


def place_of(row: Row, metric: str | None, falls: bool) -> tuple[bool, float, str]:
    """What rows are sorted by: the judged ones by their value, downwards if `falls`, then the others.

    A bad answer that is likely is as wrong as a good one that is not. An id is a hash: rows of one value are in a random order that
    stays.
    """
    value = row["scores"].get(metric)
    return value is None, (value or 0) * (-1 if falls != ("bad" in row["texts"]) else 1), row["id"]


def spread(rows: list[Row], limit: int) -> list[Row]:
    """`limit` rows at even distances, the first and the last among them."""
    if limit >= len(rows):
        return rows
    return [rows[round(i * (len(rows) - 1) / max(limit - 1, 1))] for i in range(limit)]


def scored_rows(model: str) -> Mapping[str, list[Row]]:
    """{dataset: its scored rows}; {} of a model that was not scored."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = Path(f"scores/{model}.parquet")
    if not path.is_file():
        return {}
    table = pq.read_table(path)
    names = [name for name in table["dataset"].unique().to_pylist() if Path(f"data/eval/{name}.parquet").is_file()]
    return {
        name: rows_of_dataset(name, table.filter(pc.equal(table["dataset"], name)).to_pylist())
        for name in sorted(names)
    }


def rows_of_dataset(dataset: str, scored: list[Row]) -> list[Row]:
    """[{id, row: `source:line`, prompt, texts: {name: text}, cut, scores}] of a dataset. scored: its rows of the model's table."""
    import pyarrow.parquet as pq

    from stages.rows.batches import decode_row

    rows = {row["id"]: decode_row(row) for row in pq.read_table(f"data/eval/{dataset}.parquet").to_pylist()}
    return [row_facts(rows[line["id"]], line) for line in scored if line["id"] in rows]


def row_facts(row: Row, line: Row) -> Row:
    """What is shown of a row of eval. line: its scores."""
    scores = {
        name: value
        for name, value in line.items()
        if isinstance(value, (int, float)) and name not in NOT_METRICS and not name.startswith(("passed/", "lm_eval/"))
    }
    prompt = row["messages"][:-1] if "messages" in row else row["prompt"]
    texts: dict[str, str] = {} if line.get("generation") is None else {"answer": line["generation"]}
    if "chosen" in row:
        # log-probabilities are means per token: the margin is that of `pair_accuracy`
        chosen, rejected = line["chosen_logp"], line["rejected_logp"]
        scores = ({} if chosen is None or rejected is None else {"margin": chosen - rejected}) | scores
        texts |= {side: last_text(row[side]) for side in ("chosen", "rejected")}
    elif "label" in row:
        good = bool(row["label"])
        scores = ({} if line["logp"] is None else {"logp": line["logp"]}) | scores
        texts["good" if good else "bad"] = last_text(row["completion"])
    else:
        texts["wanted"] = row["ground_truth"] if "ground_truth" in row else last_text(row["messages"])
    return {
        "id": row["id"],
        "row": f"{row['source']}:{row['line']}",
        "prompt": prompt,
        "texts": texts,
        "cut": bool(line.get("cut") or line.get("cut_thinking")),
        "scores": scores,
    }


def last_text(turns: list[Row]) -> str:
    """The text of the last turn, or its calls."""
    return turns[-1].get("content") or json_text(turns[-1].get("tool_calls"))


def first_metric(rows: list[Row]) -> str | None:
    """The metric that rows are in the order of: the first by which two of them differ, or else the first."""
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    telling = (name for name in names if len({row["scores"].get(name) for row in rows}) > 1)
    return next(telling, next(iter(names), None))


def describe_alike(rows: list[Row]) -> str:
    """That several answers are one and the same text, if most are; else ""."""
    texts = Counter(row["texts"]["answer"] for row in rows if "answer" in row["texts"])
    count = texts.most_common(1)[0][1] if texts else 0
    return f"; {count:,} of {texts.total():,} answers are the same" if count > 1 and 2 * count > texts.total() else ""


def show(row: Row) -> None:
    """Print a row: its place and its scores, then its turns, the answer and the reference."""
    from stages.rows.tables import safe_text

    scores = [f"{name} {value:.3g}" for name, value in row["scores"].items()]
    print(safe_text("  ".join([row["row"], *scores, *(["cut at max_new_tokens"] if row["cut"] else [])]), WIDTH))
    for turn in row["prompt"]:
        text = turn.get("content") or json_text(turn.get("tool_calls"))
        print_text(turn["role"], text)
    for name, text in row["texts"].items():
        print_text(name, text or "")


def json_text(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False) if value else ""


def print_text(name: str, text: str) -> None:
    """Print a text under its name, with its own lines, cut to a length."""
    from stages.rows.tables import safe_text

    blanks = len(text) - len(text.rstrip())
    if blanks > MOST_BLANKS:  # a random model may say nothing else to the last token
        text = f"{text.rstrip()}\n({blanks:,} blanks follow)"
    left_out = len(text) - WIDTH
    if left_out > 0:  # the middle: prompts of a kind differ at their end
        text = f"{text[: WIDTH // 2]}\n({left_out:,} characters left out)\n{text[-WIDTH // 2 :]}"
    first, *rest = text.split("\n")
    for label, line in [(name, first), *(("", line) for line in rest)]:
        print(f"  {label:<10}{safe_text(line, WIDTH)}".rstrip())
