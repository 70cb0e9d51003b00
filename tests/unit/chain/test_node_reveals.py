"""Reveals of one block are matched to their events: by hotkey, in order, none lost or made up."""

import pytest

from chain.node import NodeChain
from chain.port import Block, ChainEvent, ChainUnavailableError


class StoredReveals(NodeChain):
    """A reader whose ``RevealedCommitments`` entries of the block are given; it asks no node."""

    def __init__(self, entries: dict[str, list[bytes]]) -> None:
        super().__init__("ws://nowhere")
        self._entries = entries

    def _revealed_in(self, block: Block, netuid: int, hotkey: str) -> list[bytes]:
        return list(self._entries[hotkey])


def block_revealing(*hotkeys: str, netuid: int = 2) -> Block:
    events = tuple(
        ChainEvent(i, None, "Commitments", "CommitmentRevealed", {"netuid": netuid, "who": hotkey})
        for i, hotkey in enumerate(hotkeys)
    )
    return Block(7, "0x07", "0x06", None, 293, (), events)


def revealed(chain: NodeChain, block: Block) -> list[tuple[int, str, bytes]]:
    return [(c.index, c.hotkey, c.payload) for c in chain.commits(block, 2)]


def test_two_reveals_of_one_hotkey_keep_their_places_among_others() -> None:
    chain = StoredReveals({"a": [b"a1", b"a2"], "b": [b"b1"]})
    assert revealed(chain, block_revealing("a", "b", "a")) == [
        (0, "a", b"a1"),
        (1, "b", b"b1"),
        (2, "a", b"a2"),
    ]


def test_entries_without_an_event_of_their_own_follow_their_hotkeys_last_one() -> None:
    chain = StoredReveals({"a": [b"a1", b"a2"], "b": [b"b1"]})
    assert revealed(chain, block_revealing("a", "b")) == [
        (0, "a", b"a1"),
        (1, "a", b"a2"),
        (2, "b", b"b1"),
    ]


def test_an_event_whose_entry_the_node_does_not_hold_defers() -> None:
    chain = StoredReveals({"a": [b"a1"]})
    with pytest.raises(ChainUnavailableError, match="archive node"):
        revealed(chain, block_revealing("a", "a"))


def test_reveals_of_another_subnet_are_not_ours() -> None:
    assert revealed(StoredReveals({}), block_revealing("a", netuid=3)) == []


class StoredCommitment(StoredReveals):
    """As above, with what ``CommitmentOf`` holds of every hotkey."""

    def _held(self, block: Block, netuid: int, hotkey: str) -> bytes:
        return f"{netuid} {hotkey}".encode()


def test_a_commit_that_only_its_event_shows_says_what_the_state_holds() -> None:
    chain = StoredCommitment({})
    events = tuple(
        ChainEvent(i, None, "Commitments", "Commitment", {"netuid": 2, "who": hotkey})
        for i, hotkey in enumerate(("a", "b", "a"))
    )
    commits = chain.commits(Block(7, "0x07", "0x06", None, 293, (), events), 2)
    assert [(one.index, one.nth, one.hotkey, one.payload) for one in commits] == [
        (-1, 0, "a", b""),  # a later one of this block took its place, unseen
        (-1, 1, "b", b"2 b"),
        (-1, 2, "a", b"2 a"),
    ]
