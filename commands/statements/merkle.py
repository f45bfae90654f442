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


class Misfit(ValueError):
    """A proof has more or fewer hashes than a tree of its size needs."""


def leaf(name: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + name).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def joined(hashes: list[bytes]) -> bytes:
    """The hash above some hashes that stand side by side; an odd one at the end goes up as it is."""
    while len(hashes) > 1:
        odd = hashes[-1:] if len(hashes) % 2 else []
        hashes = [node(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=False)] + odd
    return hashes[0] if hashes else EMPTY


def folded(ids: Sequence[bytes]) -> list[bytes]:
    """The hash of each FOLD leaves."""
    return [joined(leaves(ids[start : start + FOLD])) for start in range(0, len(ids), FOLD)]


def leaves(ids: Sequence[bytes]) -> list[bytes]:
    return [leaf(name) for name in ids]


def root(tree: Tree) -> bytes:
    return joined(tree.folds)


def middle(low: int, high: int) -> int:
    """Where the left side of the leaves from low to high ends."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def hash_of(tree: Tree, low: int, high: int) -> bytes:
    """The hash of the leaves from low to high, which are one node of the tree."""
    if high - low > FOLD:
        return joined(tree.folds[low // FOLD : -(-high // FOLD)])
    return joined(leaves(tree.ids[low:high]))


def proof(tree: Tree, places: list[int]) -> list[bytes]:
    """The hashes beside the ways from some leaves up to the root, from left to right."""
    found = []

    def walk(low: int, high: int) -> None:
        if not any(low <= place < high for place in places):
            found.append(hash_of(tree, low, high))
        elif high - low > 1:
            walk(low, middle(low, high))
            walk(middle(low, high), high)

    if len(tree.ids):
        walk(0, len(tree.ids))
    return found


def root_by(size: int, known: Mapping[int, bytes], hashes: list[bytes]) -> bytes:
    """The root of a tree of so many leaves, by some of them and the hashes of their proof. Raises Misfit."""
    left = list(hashes)

    def made(low: int, high: int) -> bytes:
        if not any(low <= place < high for place in known):
            if not left:
                raise Misfit(f"has {len(hashes)} hashes, too few for {size:,} leaves")
            return left.pop(0)
        if high - low == 1:
            return leaf(known[low])
        return node(made(low, middle(low, high)), made(middle(low, high), high))

    found = made(0, size) if size else EMPTY
    if left:
        raise Misfit(f"has {len(hashes)} hashes, too many for {size:,} leaves")
    return found
