"""The tree is that of RFC 6962, and a proof holds for its own leaves, its own hashes and its own size alone."""

import hashlib
import random

import pytest

from commands.statements.merkle import (
    EMPTY,
    FOLD,
    Tree,
    WrongProofSize,
    fold_hashes,
    leaf_hash,
    node_hash,
    proof_hashes,
    root,
    root_from_proof,
)


def ids_of(count):
    return sorted(hashlib.sha256(str(number).encode()).digest() for number in range(count))


def tree_of(count):
    ids = ids_of(count)
    return Tree(ids, fold_hashes(ids))


def by_the_rfc(ids):
    """MTH of RFC 6962, section 2.1, as it stands there."""
    if not ids:
        return EMPTY
    if len(ids) == 1:
        return leaf_hash(ids[0])
    half = 1
    while half * 2 < len(ids):
        half *= 2
    return node_hash(by_the_rfc(ids[:half]), by_the_rfc(ids[half:]))


def test_leaves_and_nodes_are_hashed_apart():
    assert leaf_hash(b"x") == hashlib.sha256(b"\x00x").digest()
    assert node_hash(b"x", b"y") == hashlib.sha256(b"\x01xy").digest()


@pytest.mark.parametrize("count", [*range(18), 100, FOLD - 1, FOLD, FOLD + 1, 2 * FOLD, 2 * FOLD + 1, 5 * FOLD + 321])
def test_the_root_is_that_of_the_rfc(count):
    assert root(tree_of(count)) == by_the_rfc(ids_of(count))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, FOLD, FOLD + 1, 3 * FOLD + 7])
def test_a_proof_of_any_leaf_or_pair_leads_to_the_root(count):
    tree, pick = tree_of(count), random.Random(5)
    for place in {0, count - 1, *(pick.randrange(count) for _ in range(20))}:
        for places in ([place], [place, place + 1] if place + 1 < count else [place]):
            leaves = {each: tree.ids[each] for each in places}
            assert root_from_proof(count, leaves, proof_hashes(tree, places)) == root(tree)


def test_another_leaf_hash_or_place_leads_elsewhere():
    tree = tree_of(100)
    hashes = proof_hashes(tree, [41])
    assert root_from_proof(100, {41: tree.ids[42]}, hashes) != root(tree)
    assert root_from_proof(100, {40: tree.ids[41]}, hashes) != root(tree)
    for at in range(len(hashes)):
        other = [*hashes[:at], bytes([hashes[at][0] ^ 1]) + hashes[at][1:], *hashes[at + 1 :]]
        assert root_from_proof(100, {41: tree.ids[41]}, other) != root(tree)


def test_a_node_is_no_leaf():
    tree = tree_of(2)
    inside = node_hash(leaf_hash(tree.ids[0]), leaf_hash(tree.ids[1]))
    assert (
        root(tree) == inside and root_from_proof(1, {0: leaf_hash(tree.ids[0]) + leaf_hash(tree.ids[1])}, []) != inside
    )


def test_a_proof_with_a_hash_too_many_or_too_few_is_none():
    tree = tree_of(100)
    hashes = proof_hashes(tree, [41])
    with pytest.raises(WrongProofSize, match="too few"):
        root_from_proof(100, {41: tree.ids[41]}, hashes[:-1])
    with pytest.raises(WrongProofSize, match="too many"):
        root_from_proof(100, {41: tree.ids[41]}, [*hashes, hashes[0]])


def test_two_neighbours_of_a_million_need_no_more_than_38_hashes():
    count, places = 1_000_000, [524_287, 524_288]  # on both sides of the first border: they share nothing

    def needed(low, high):
        from commands.statements.merkle import split_point

        if not any(low <= place < high for place in places):
            return 1
        return 0 if high - low == 1 else needed(low, split_point(low, high)) + needed(split_point(low, high), high)

    assert needed(0, count) <= 38
