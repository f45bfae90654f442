"""A proof that a model was, or was not, trained on a row. The build makes it; the model's statement is enough to check it.

    {"proof": "tilth-row-v1", "model": "align", "id": "5f0e...", "trained": false,
     "size": 1000000, "root": "9a1c...", "leaves": {"417": "5f0a...", "418": "5f1b..."}, "hashes": "base64"}

leaves: the id itself where it was trained on; else its neighbours in sorted order (only one at either end). hashes: those beside
the paths from the leaves to the root, from left to right, 32 bytes each.
"""

import base64
import bisect
import re
from collections.abc import Mapping
from typing import Any, TypedDict

from commands.statements.formats import PROVENANCE_TYPE, ROOT_DIGEST, ROWS, STATEMENT_TYPE
from commands.statements.merkle import Tree, WrongProofSize, proof_hashes, root, root_from_proof
from validators.problems import Problem, Problems

FORMAT = "tilth-row-v1"
ID = re.compile("[0-9a-f]{64}")


class Proof(TypedDict):
    proof: str
    model: str
    id: str
    trained: bool
    size: int
    root: str
    leaves: dict[str, str]
    hashes: str


class StatedRows(TypedDict):
    """The rows that a model was trained on, according to its statement: the root of their tree and their number."""

    model: str
    root: str
    size: int


def prove(tree: Tree, model: str, name: str) -> Proof:
    """The proof of an id."""
    count, row_id = len(tree.ids), bytes.fromhex(name)
    place = bisect.bisect_left(tree.ids, row_id)
    trained = place < count and tree.ids[place] == row_id
    places = [place] if trained else [near for near in (place - 1, place) if 0 <= near < count]
    return {
        "proof": FORMAT,
        "model": model,
        "id": name,
        "trained": trained,
        "size": count,
        "root": root(tree).hex(),
        "leaves": {str(near): tree.ids[near].hex() for near in places},
        "hashes": base64.b64encode(b"".join(proof_hashes(tree, places))).decode(),
    }


def stated_rows(statement: dict[str, Any], where: str) -> StatedRows:
    """The rows that a statement names. Raises Problems where it is not a statement or has no rows."""
    try:
        if statement["_type"] != STATEMENT_TYPE or statement["predicateType"] != PROVENANCE_TYPE:
            raise KeyError("_type")
        definition = statement["predicate"]["buildDefinition"]
        rows = next(
            each
            for each in definition["resolvedDependencies"]
            if each["name"] == ROWS and ROOT_DIGEST in each["digest"]
        )
        stated = StatedRows(
            model=definition["externalParameters"]["step"],
            root=rows["digest"][ROOT_DIGEST],
            size=rows["annotations"]["size"],
        )
    except (KeyError, TypeError, StopIteration):
        expected = "a statement of a model, with the root of the rows that it was trained on"
        raise Problems(
            [Problem(where, "has no root of training rows", expected, "tilth provenance writes them")]
        ) from None
    if not ID.fullmatch(str(stated["root"])) or type(stated["size"]) is not int or stated["size"] < 0:
        raise Problems(
            [
                Problem(
                    where, f"root {stated['root']!a}, size {stated['size']!a}", "a hash and a count", "tilth provenance"
                )
            ]
        )
    return stated


def proof_problems(proof: Mapping[str, Any], rows: StatedRows, where: str) -> list[Problem]:
    """The problems of a proof. rows: those of the statement; only the statement is trusted."""
    if shape := format_problem(proof):
        return [Problem(where, shape, f"a proof as {FORMAT} has it", "tilth prove writes one")]
    if proof["model"] != rows["model"]:
        return [
            Problem(
                where, f"is of model {proof['model']!a}", f"{rows['model']}, the model of the statement", "--statement"
            )
        ]
    if (proof["root"], proof["size"]) != (rows["root"], rows["size"]):
        made, stated = (f"root {each['root'][:16]}… of {each['size']:,} rows" for each in (proof, rows))
        return [
            Problem(
                where, f"is of {made}", f"{stated}, as the statement says", "the proof and the statement of one build"
            )
        ]
    if problem := leaves_problem(proof):
        return [Problem(where, problem, "the id itself, or its neighbours in sorted order", "tilth prove writes one")]
    hashes = base64.b64decode(proof["hashes"])
    parts = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    try:
        leaves = {int(place): bytes.fromhex(name) for place, name in proof["leaves"].items()}
        made = root_from_proof(rows["size"], leaves, parts).hex()
    except WrongProofSize as error:
        return [Problem(where, str(error), "the hashes beside its leaves", "tilth prove writes one")]
    if made != rows["root"]:
        return [
            Problem(
                where, f"leads to root {made[:16]}…", f"{rows['root'][:16]}…", "it was changed, or it is not a proof"
            )
        ]
    return []


def format_problem(proof: Mapping[str, Any]) -> str:
    """Why a proof cannot be read; "" where it can."""
    types = {
        "proof": str,
        "model": str,
        "id": str,
        "trained": bool,
        "size": int,
        "root": str,
        "leaves": dict,
        "hashes": str,
    }
    if proof.keys() != types.keys():
        return f"has the keys {', '.join(map(str, proof)) or 'none'}"
    if wrong := [key for key, kind in types.items() if type(proof[key]) is not kind]:
        return f"{wrong[0]} is {type(proof[wrong[0]]).__name__}"
    if proof["proof"] != FORMAT:
        return f"is of format {proof['proof']!a}"
    if odd := [name for name in (proof["id"], proof["root"], *proof["leaves"].values()) if not ID.fullmatch(str(name))]:
        return f"{odd[0]!a} is not a hash"
    if any(not re.fullmatch("0|[1-9][0-9]{0,17}", place) or int(place) >= proof["size"] for place in proof["leaves"]):
        return "has a leaf outside of the tree"
    try:
        whole = len(base64.b64decode(proof["hashes"], validate=True)) % 32 == 0
    except ValueError:
        whole = False
    return "" if whole else "its hashes are not base64 of 32 bytes each"


def leaves_problem(proof: Mapping[str, Any]) -> str:
    """Why the leaves of a proof prove nothing about its id, even where the tree has them; "" where they do."""
    places, name = sorted(map(int, proof["leaves"])), proof["id"]
    names = [proof["leaves"][str(place)] for place in places]
    if proof["trained"]:
        return "" if names == [name] else "shows another id than its own"
    if not proof["size"]:
        return "" if not places else "has leaves of an empty tree"
    first, last = places[:1] == [0], places[-1:] == [proof["size"] - 1]
    if len(places) == 2 and places[1] == places[0] + 1 and names[0] < name < names[1]:
        return ""
    if len(places) == 1 and ((first and name < names[0]) or (last and name > names[0])):
        return ""
    return "its leaves are not neighbours of its id"
