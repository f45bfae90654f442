"""A Merkle tree over sorted ids, and proofs that an id is, or is not, among them.

    tree = Tree(ids, fold_hashes(ids))             # ids: 32 bytes each, in sorted order, none twice
    hashes = proof_hashes(tree, [3, 4])            # the hashes that prove the leaves 3 and 4
    root_from_proof(len(ids), {3: ids[3], 4: ids[4]}, hashes) == root(tree)

The tree is that of RFC 6962 (certificate transparency), with SHA-256. A leaf is the hash of 0x00 and the id. A node is the hash
of 0x01 and its two sides. The left side of n leaves has as many leaves as the largest power of two below n.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FOLD = 1 << 10  # leaves under one stored hash: a proof computes some thousand hashes, instead of two for each id
EMPTY = hashlib.sha256().digest()


@dataclass(frozen=True)
class Tree:
    """ids: 32 bytes each, sorted. folds: the hash of each FOLD leaves, in order."""

    ids: Sequence[bytes]
    folds: list[bytes]


class WrongProofSize(ValueError):
    """The number of hashes in a proof does not fit the size of its tree."""


def leaf_hash(name: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + name).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def join_hashes(hashes: list[bytes]) -> bytes:
    """The hash above some neighbouring hashes. An odd one at the end moves up unchanged."""
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
    """The end of the left side of the leaves from low to high."""
    return low + (1 << (high - low - 1).bit_length() - 1)


def range_hash(tree: Tree, low: int, high: int) -> bytes:
    """The hash of the leaves from low to high, which form one node of the tree."""
    if high - low > FOLD:
        return join_hashes(tree.folds[low // FOLD : -(-high // FOLD)])
    return join_hashes(leaf_hashes(tree.ids[low:high]))


def proof_hashes(tree: Tree, places: list[int]) -> list[bytes]:
    """The hashes beside the paths from some leaves up to the root, from left to right."""
    hashes = []

    def walk(low: int, high: int) -> None:
        if not any(low <= place < high for place in places):
            hashes.append(range_hash(tree, low, high))
        elif high - low > 1:
            walk(low, split_point(low, high))
            walk(split_point(low, high), high)

    if len(tree.ids):
        walk(0, len(tree.ids))
    return hashes


def root_from_proof(size: int, known: Mapping[int, bytes], hashes: list[bytes]) -> bytes:
    """The root of a tree of `size` leaves, computed from some leaves and the hashes of their proof. Raises WrongProofSize."""
    unused = list(hashes)

    def made(low: int, high: int) -> bytes:
        if not any(low <= place < high for place in known):
            if not unused:
                raise WrongProofSize(f"has {len(hashes)} hashes, too few for {size:,} leaves")
            return unused.pop(0)
        if high - low == 1:
            return leaf_hash(known[low])
        return node_hash(made(low, split_point(low, high)), made(split_point(low, high), high))

    computed = made(0, size) if size else EMPTY
    if unused:
        raise WrongProofSize(f"has {len(hashes)} hashes, too many for {size:,} leaves")
    return computed
