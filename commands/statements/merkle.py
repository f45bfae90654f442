"""A Merkle tree over ids in sorted order, and a proof that one id is, or is not, among them.

    tree = Tree(ids, folded(ids))                  # ids: 32 bytes each, in sorted order, none twice
    hashes = proof(tree, [3, 4])                   # what lies beside the leaves 3 and 4
    root_by(len(ids), {3: ids[3], 4: ids[4]}, hashes) == root(tree)

The tree is that of RFC 6962 (certificate transparency): SHA-256, a leaf is the hash of 0x00 and the id, a node that of 0x01 and
its two sides, and the left side of n leaves has as many as the largest power of two below n.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FOLD = 1 << 10  # leaves under one hash that is kept: a proof makes some thousand hashes anew, and not two for each id
EMPTY = hashlib.sha256().digest()


@dataclass(frozen=True)
class Tree:
    """ids: 32 bytes each, sorted. folds: the hash of each FOLD leaves, in order."""

    ids: Sequence[bytes]
    folds: list[bytes]


class WrongProofSize(ValueError):
    """A proof has more or fewer hashes than a tree of its size needs."""


def leaf_hash(name: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + name).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def join_hashes(hashes: list[bytes]) -> bytes:
    """The hash above some hashes that stand side by side; an odd one at the end goes up as it is."""
    while len(hashes) > 1:
        odd = hashes[-1:] if len(hashes) % 2 else []
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=False)] + odd
    return hashes[0] if hashes else EMPTY


def fold_hashes(ids: Sequence[bytes]) -> list[bytes]:
    """The hash of each FOLD leaves."""
    return [join_hashes(leaf_hashes(ids[start : start + FOLD])) for start in range(0, len(ids), FOLD)]


def leaf_hashes(ids: Sequence[bytes]) -> list[bytes]:
    return [leaf_hash(name) for name in ids]


def root(tree: Tree) -> bytes:
    return join_hashes(tree.folds)


def split_point(low: int, high: int) -> int:
    """Where the left side of the leaves from low to high ends."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def range_hash(tree: Tree, low: int, high: int) -> bytes:
    """The hash of the leaves from low to high, which are one node of the tree."""
    if high - low > FOLD:
        return join_hashes(tree.folds[low // FOLD : -(-high // FOLD)])
    return join_hashes(leaf_hashes(tree.ids[low:high]))


def proof_hashes(tree: Tree, places: list[int]) -> list[bytes]:
    """The hashes beside the ways from some leaves up to the root, from left to right."""
    found = []

    def walk(low: int, high: int) -> None:
        if not any(low <= place < high for place in places):
            found.append(range_hash(tree, low, high))
        elif high - low > 1:
            walk(low, split_point(low, high))
            walk(split_point(low, high), high)

    if len(tree.ids):
        walk(0, len(tree.ids))
    return found


def root_from_proof(size: int, known: Mapping[int, bytes], hashes: list[bytes]) -> bytes:
    """The root of a tree of so many leaves, by some of them and the hashes of their proof. Raises Misfit."""
    left = list(hashes)

    def made(low: int, high: int) -> bytes:
        if not any(low <= place < high for place in known):
            if not left:
                raise WrongProofSize(f"has {len(hashes)} hashes, too few for {size:,} leaves")
            return left.pop(0)
        if high - low == 1:
            return leaf_hash(known[low])
        return node_hash(made(low, split_point(low, high)), made(split_point(low, high), high))

    found = made(0, size) if size else EMPTY
    if left:
        raise WrongProofSize(f"has {len(hashes)} hashes, too many for {size:,} leaves")
    return found
