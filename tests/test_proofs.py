"""A proof about one row: true of what was trained on and of what was not, and worth nothing once anything in it is changed."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from commands.statements.formats import PROVENANCE_TYPE, ROOT_DIGEST, ROWS, STATEMENT_TYPE
from commands.statements.merkle import Tree, fold_hashes, root
from commands.statements.proofs import proof_problems, prove, stated_rows
from validators.problems import Problems

IDS = sorted(hashlib.sha256(str(number).encode()).digest() for number in range(3_000))
ABSENT = [hashlib.sha256(f"no {number}".encode()).hexdigest() for number in range(300)]
FIRST, LAST = "0" * 64, "f" * 64


def tree_of(ids):
    return Tree(ids, fold_hashes(ids))


TREE = tree_of(IDS)
SAID = {"model": "align", "root": root(TREE).hex(), "size": len(IDS)}


def statement(**other):
    said = SAID | other
    rows = {"name": ROWS, "digest": {ROOT_DIGEST: said["root"]}, "annotations": {"size": said["size"]}}
    definition = {"externalParameters": {"step": said["model"]}, "resolvedDependencies": [rows]}
    return {"_type": STATEMENT_TYPE, "predicateType": PROVENANCE_TYPE, "predicate": {"buildDefinition": definition}}


def wrong(proof, **other):
    """What is found wrong with a proof, as text."""
    return "; ".join(map(str, proof_problems(proof, SAID | other, "x.json")))


@pytest.mark.parametrize("name", [IDS[0].hex(), IDS[1234].hex(), IDS[-1].hex()])
def test_a_row_that_was_trained_on_is_shown_to_be(name):
    found = prove(TREE, "align", name)
    assert found["trained"] and not wrong(found)


@pytest.mark.parametrize("name", [FIRST, *ABSENT[:20], LAST])
def test_a_row_that_was_not_trained_on_is_shown_not_to_be(name):
    found = prove(TREE, "align", name)
    assert not found["trained"] and not wrong(found)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_small_trees_have_proofs_too(count):
    tree = tree_of(IDS[:count])
    for name in (FIRST, LAST, *(each.hex() for each in IDS[:count])):
        said = SAID | {"root": root(tree).hex(), "size": count}
        assert proof_problems(prove(tree, "align", name), said, "x") == []


def test_the_claim_cannot_be_turned_around():
    there, absent = prove(TREE, "align", IDS[7].hex()), prove(TREE, "align", ABSENT[0])
    assert "not neighbours" in wrong(there | {"trained": False})
    assert "another id" in wrong(absent | {"trained": True})
    assert "another id" in wrong(there | {"id": IDS[8].hex()})


def test_leaves_with_a_row_between_them_show_nothing():
    """Whoever hides row 8 shows rows 7 and 9, both of the tree: they are no neighbours."""
    from commands.statements.merkle import proof_hashes

    hashes = base64.b64encode(b"".join(proof_hashes(TREE, [7, 9]))).decode()
    hidden = prove(TREE, "align", IDS[8].hex()) | {
        "trained": False,
        "hashes": hashes,
        "leaves": {"7": IDS[7].hex(), "9": IDS[9].hex()},
    }
    assert "not neighbours" in wrong(hidden)
    alone = hidden | {
        "leaves": {"7": IDS[7].hex()},
        "hashes": base64.b64encode(b"".join(proof_hashes(TREE, [7]))).decode(),
    }
    assert "not neighbours" in wrong(alone)
    lying = hidden | {"leaves": {"7": IDS[7].hex(), "8": IDS[9].hex()}}
    assert "root" in wrong(lying) or "hashes" in wrong(lying)


def test_every_changed_hash_is_found():
    found = prove(TREE, "align", ABSENT[3])
    hashes = base64.b64decode(found["hashes"])
    for at in range(0, len(hashes), 7):
        other = hashes[:at] + bytes([hashes[at] ^ 4]) + hashes[at + 1 :]
        assert "leads to root" in wrong(found | {"hashes": base64.b64encode(other).decode()})


def test_a_proof_of_another_model_root_or_size_is_named():
    found = prove(TREE, "align", ABSENT[0])
    assert "is of model 'align'; expected sft" in wrong(found, model="sft")
    assert "as the statement says" in wrong(found, root="5f" * 32)
    assert "as the statement says" in wrong(found, size=2_999)
    # who writes the statement's root into a proof of another tree
    other = prove(tree_of(IDS[:-1]), "align", ABSENT[0]) | {"root": SAID["root"], "size": SAID["size"]}
    assert "leads to root" in wrong(other) or "hashes" in wrong(other)


@pytest.mark.parametrize(
    "change",
    [
        {"proof": "tilth-row-v9"}, {"id": "5f"}, {"id": None}, {"trained": 1}, {"size": "3000"}, {"leaves": {"-1": "5f" * 32}},
        {"leaves": {"3000": "5f" * 32}}, {"leaves": {"07": "5f" * 32}}, {"leaves": {"7": 5}}, {"leaves": []}, {"hashes": "!!"},
        {"hashes": "AAAA"}, {"more": 1}, {"leaves": {"9" * 30: "5f" * 32}},
    ],
)  # fmt: skip
def test_what_is_no_proof_is_named_and_not_read(change):
    assert wrong(prove(TREE, "align", ABSENT[0]) | change)


@pytest.mark.parametrize("name", [IDS[1234].hex(), *ABSENT[:5]])
def test_a_proof_is_small(name):
    assert len(json.dumps(prove(TREE, "align", name))) < 2_000


def test_a_statement_says_of_which_rows():
    assert stated_rows(statement(), "x") == SAID


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"_type": STATEMENT_TYPE},
        statement() | {"predicateType": "x"},
        statement(root="5f"),
        statement(size=-1),
        statement(size=True),
        statement() | {"predicate": []},
    ],
)
def test_what_is_no_statement_is_named(document):
    with pytest.raises(Problems, match="x: "):
        stated_rows(document, "x")


def checked_by_the_page(proof, folder, monkeypatch):
    """Whether the code of docs/audit.md, which needs nothing of ours, takes a proof."""
    page = Path(__file__).parents[1].joinpath("docs/audit.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    Path("proof.json").write_text(json.dumps(proof), encoding="utf-8")
    Path("statement.json").write_text(json.dumps(statement()), encoding="utf-8")
    try:
        exec(code, {})
    except (AssertionError, IndexError):
        return False
    return True


def test_the_page_checks_a_proof_without_our_code(tmp_path, monkeypatch):
    there, absent = prove(TREE, "align", IDS[7].hex()), prove(TREE, "align", ABSENT[0])
    for proof in (there, absent, prove(TREE, "align", FIRST), prove(TREE, "align", LAST)):
        assert checked_by_the_page(proof, tmp_path, monkeypatch)
    wrong = [
        there | {"trained": False}, absent | {"trained": True}, there | {"id": IDS[8].hex()}, absent | {"id": IDS[8].hex()},
        there | {"leaves": {"8": IDS[7].hex()}}, absent | {"hashes": there["hashes"]}, absent | {"id": FIRST}, absent | {"id": LAST},
    ]  # fmt: skip
    for proof in wrong:
        assert not checked_by_the_page(proof, tmp_path, monkeypatch)
