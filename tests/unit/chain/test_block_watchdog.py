"""A node whose head stands still is left; one that brings blocks is not."""

from __future__ import annotations

from chain.watchdog import PATIENCE_S, BlockWatchdog


class TwoNodes:
    """A chain that says which of two nodes is asked."""

    def __init__(self, *places: str) -> None:
        self._places = list(places)

    @property
    def place(self) -> str:
        return self._places[0]

    def leave(self) -> str:
        self._places.append(self._places.pop(0))
        return self.place


class Clock:
    """Seconds that pass when the test says so."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def watched(*places: str) -> tuple[BlockWatchdog, Clock]:
    clock = Clock()
    return BlockWatchdog(TwoNodes(*places), clock=clock), clock


def test_nothing_happens_while_blocks_come() -> None:
    dog, clock = watched("ws://a", "ws://b")
    for head in range(100):
        clock.now += PATIENCE_S - 1
        assert dog.look(head) is None


def test_a_node_whose_head_stands_still_is_left_for_the_next_and_that_is_told() -> None:
    dog, clock = watched("ws://a", "ws://b")
    assert dog.look(7) is None
    clock.now += PATIENCE_S - 1
    assert dog.look(7) is None
    clock.now += 1
    stall = dog.look(7)
    assert stall is not None
    assert (stall.place, stall.newest, stall.silent_s) == ("ws://a", 7, PATIENCE_S)
    assert stall.moved_to == "ws://b"
    assert str(stall) == (
        "no finalized block after 7 came from ws://a in 120 s; ws://b is asked instead"
    )


def test_the_next_node_has_the_same_time() -> None:
    dog, clock = watched("ws://a", "ws://b")
    clock.now += PATIENCE_S
    assert dog.look(None) is not None
    clock.now += PATIENCE_S - 1
    assert dog.look(None) is None
    clock.now += 1
    stall = dog.look(None)
    assert stall is not None
    assert (stall.place, stall.moved_to, stall.newest) == ("ws://b", "ws://a", None)


def test_an_older_head_is_no_new_block() -> None:
    dog, clock = watched("ws://a")
    assert dog.look(9) is None
    clock.now += PATIENCE_S
    stall = dog.look(8)
    assert stall is not None
    assert str(stall) == (
        "no finalized block after 9 came from ws://a in 120 s; its connection was made anew"
    )
    clock.now += 1
    assert dog.look(10) is None
