"""The Merkle tree: roots and proofs against RFC 6962's own recursive definitions."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import InvalidInput
from farlane.ledger.tree import EMPTY_ROOT, Frontier, Tree, leaf_hash, verify_consistency, verify_inclusion


def definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1" + definition(leaves[:k]) + definition(leaves[k:])).digest()


def leaves_of(count: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(count)]


def tree_of(count: int) -> Tree:
    return Tree(map(leaf_hash, leaves_of(count)))


def test_the_published_vectors() -> None:
    # Source: the test vectors of the Certificate Transparency log implementation, eight inputs.
    inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    tree = Tree(leaf_hash(bytes.fromhex(text)) for text in inputs)
    assert tree.root(0).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree.root(1).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree.root(8).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.integers(0, 130))
def test_roots_are_those_of_the_definition(count: int) -> None:
    tree, frontier = tree_of(count), Frontier()
    for leaf in leaves_of(count):
        frontier.append(leaf_hash(leaf))
    assert tree.root() == frontier.root() == definition(leaves_of(count))
    assert Frontier.from_bytes(frontier.to_bytes()).root() == tree.root()


@given(st.integers(1, 130), st.data())
def test_every_leaf_has_a_proof_and_no_other_fits(count: int, data: st.DataObject) -> None:
    tree = tree_of(130)
    index = data.draw(st.integers(0, count - 1))
    proof, root = tree.inclusion(index, count), tree.root(count)
    assert verify_inclusion(tree.leaf(index), index, count, proof, root)
    other = data.draw(st.integers(0, 129).filter(lambda n: n != index))
    assert not verify_inclusion(tree.leaf(other), index, count, proof, root)
    assert not verify_inclusion(tree.leaf(index), other, count, proof, root)
    assert not verify_inclusion(tree.leaf(index), index, count, [*proof, root], root)
    assert not verify_inclusion(tree.leaf(index), index, count, proof, EMPTY_ROOT)
    if proof:
        assert not verify_inclusion(tree.leaf(index), index, count, proof[1:], root)


@given(st.integers(0, 130), st.integers(0, 130))
def test_growth_can_be_proved_and_a_fork_cannot(first: int, second: int) -> None:
    old, new = sorted((first, second))
    tree = tree_of(130)
    proof = tree.consistency(old, new)
    assert verify_consistency(old, new, tree.root(old), tree.root(new), proof)
    forked = Tree([leaf_hash(b"another"), *map(leaf_hash, leaves_of(130)[1:])])
    if old:
        assert not verify_consistency(old, new, forked.root(old), tree.root(new), proof)
        assert not verify_consistency(old, new, tree.root(old), forked.root(new), proof)
        assert not verify_consistency(new + 1, new, tree.root(old), tree.root(new), proof)


def test_sizes_that_never_were_are_refused() -> None:
    tree = tree_of(5)
    for wrong in (lambda: tree.root(6), lambda: tree.inclusion(5), lambda: tree.consistency(4, 3)):
        with pytest.raises(InvalidInput):
            wrong()
    with pytest.raises(InvalidInput, match="a frontier of 3 leaves"):
        Frontier(3, [bytes(32)])


def test_a_copy_of_a_frontier_goes_its_own_way() -> None:
    frontier = Frontier()
    frontier.append(leaf_hash(b"a"))
    copy = frontier.copy()
    copy.append(leaf_hash(b"b"))
    assert (frontier.size, copy.size) == (1, 2)
    assert frontier.root() != copy.root()
