"""`tilth prove`: a small file that proves that a model was, or was not, trained on a row, without the other rows.

provenance/models/<step>.intoto.json, data/train/, scores/<step>.seen.parquet -> <step>-<id>.proof.json

`tilth verify PROOF` checks it with the statement alone.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from commands.records.table import Record
    from commands.statements.proofs import Proof, StatedRows

Row = Annotated[
    str, typer.Argument(metavar="ROW", help="An id or its first digits, FILE:LINE of a raw file, or a text.")
]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="STEP", help="The model that was, or was not, trained on it.")
]
Out = Annotated[
    str | None,
    typer.Option("--out", "-o", metavar="FILE", help="Where to write the proof; STEP-ID.proof.json if left out."),
]
AsText = Annotated[bool, typer.Option("--text", help="ROW is a text, whatever it looks like.")]

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]


def main(
    context: typer.Context, row: Row, model: Model, out: Out = None, as_text: AsText = False, as_json: Json = False
) -> None:
    """Write a proof that a model was, or was not, trained on a row."""
    import json

    from commands.statements.folder import read, statement_path
    from commands.statements.proofs import stated_rows

    start, where = Path(context.obj or "."), statement_path(model)
    if not where.is_file():
        check_step(model)
    name, notes = resolve_id(row, start, as_text)
    statement = read(where, "the statement of the model", "tilth provenance")
    check_statement(model, statement)
    rows = stated_rows(statement, str(where))
    file, proof = start / (out or f"{model}-{name[:12]}.proof.json"), make_proof(model, rows, name)
    text = json.dumps(proof, separators=(",", ":")) + "\n"
    file.write_text(text, encoding="utf-8", newline="\n")
    if as_json:
        facts = {"model": model, "id": name, "trained": proof["trained"], "rows": rows["size"], "notes": notes}
        print(json.dumps(facts | {"proof": str(file), "bytes": len(text), "statement": str(where)}, indent=2))
        return
    sentence = (
        "was trained on {}: 1 of {:,} rows" if proof["trained"] else "was not trained on {}: none of its {:,} rows"
    )
    print(f"{model} {sentence.format(name, rows['size'])}")
    for note in notes:
        print(f"  {note}")
    print(f"{file}, {len(text):,} bytes; tilth verify {file.name} checks it with {where} alone")


def check_step(model: str) -> None:
    from commands.builds.build import read_build
    from validators.problems import Problem, Problems, did_you_mean

    build = read_build()
    if model not in build.steps:
        raise Problems(
            [Problem(f"tilth prove --model {model}", "no such step", "", did_you_mean(model, list(build.steps)))]
        )


def resolve_id(row: str, start: Path, as_text: bool) -> tuple[str, list[str]]:
    """(the id that ROW stands for, notes on it). A whole id may be unknown to this build. Raises Problems."""
    from commands.builds.build import read_build
    from commands.records.search import find_records
    from commands.statements.proofs import ID
    from validators.problems import Problem, Problems

    if ID.fullmatch(row) and not as_text:
        return row, []
    records = find_records(read_build(), row, start, limit=0, as_text=as_text).records
    ids = sorted({record.id for record in records if record.id})
    if not ids:
        found = f"{records[0].place} became no row, so it has no id"
        raise Problems([Problem("ROW", found, "a record with an id", f"tilth trace {records[0].place}")])
    if len(ids) > 1:
        listed = ", ".join(f"{record.place} {record.id[:12]}…" for record in records[:5] if record.id)
        raise Problems([Problem("ROW", f"{len(ids):,} ids: {listed}", "one", "a whole id, or FILE:LINE of one row")])
    return ids[0], [note for record in records for note in notes_of(record)]


def notes_of(record: "Record") -> Iterator[str]:
    """A note for a rejected record: the proof of its id does not cover the similar row that may have stayed."""
    from commands.records.search import OTHER_ID

    match = OTHER_ID.search(record.detail or "")
    if match and match[1] != record.id:
        yield f"{record.place} is {record.detail}: prove {match[1][:12]}… too"


def check_statement(model: str, statement: dict[str, Any]) -> None:
    """Raise Problems if the statement is of another build than the present one: the proof would be of old rows."""
    from commands.statements.folder import statement_path
    from commands.statements.formats import byproducts, subjects
    from stages.core.hashes import sha256
    from validators.problems import Problem, Problems

    stated: dict[str, str | None] = {
        name: digest for name, digest in byproducts(statement).items() if name.startswith("scores/")
    }
    stated |= {f"models/{model}/made_of.json": subjects(statement).get("made_of.json")}
    changed = [name for name, digest in stated.items() if Path(name).is_file() and sha256(name) != digest]
    if changed:
        found = f"is of another build: {', '.join(changed)} is not what it names"
        raise Problems([Problem(str(statement_path(model)), found, "the statement of this build", "tilth provenance")])


def make_proof(model: str, rows: "StatedRows", name: str) -> "Proof":
    """The proof of an id, from the stored tree; if that is missing or damaged, from a tree that is built again."""
    from commands.statements.proofs import proof_problems, prove
    from commands.statements.tree_cache import cached_tree
    from validators.problems import Problems

    kept = cached_tree(rows["root"], rows["size"])
    proof = prove(kept, model, name) if kept else None
    if proof is None or proof_problems(proof, rows, model):
        from commands.builds.build import read_build
        from commands.statements.row_tree import build_tree

        proof = prove(build_tree(read_build(), model), model, name)
    if problems := proof_problems(proof, rows, f"the statement of {model}"):
        raise Problems(problems)
    return proof
