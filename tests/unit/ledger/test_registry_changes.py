"""What leads from one registry to the next, and what becomes of who left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.commands.block_facts import EmptiedUid, NeuronChange, OwnerChange
from ledger.commands.registry import changes_between
from ledger.observations import UidEmptied
from ledger.queries.weights import registry
from tests.unit.ledger.scenes import Scene

REGISTRIES = st.dictionaries(
    st.integers(0, 5), st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz")), max_size=6
).filter(lambda held: len({hotkey for hotkey, _ in held.values()}) == len(held))
"""A hotkey holds one UID at most."""


def test_a_swapped_hotkey_comes_and_goes_at_its_uid() -> None:
    changes = changes_between({3: ("old", "cold")}, {3: ("new", "cold")})
    assert changes.neurons == (NeuronChange(3, "new", "cold", "old"),)
    assert (changes.emptied, changes.owners) == ((), ())


def test_a_trimmed_subnet_moves_its_hotkeys_left_and_empties_its_last_uids() -> None:
    before = {0: ("a", "x"), 1: ("b", "x"), 2: ("c", "y")}
    changes = changes_between(before, {0: ("a", "x"), 1: ("c", "y")})
    assert changes.neurons == (NeuronChange(1, "c", "y", "b"),)
    assert changes.emptied == (EmptiedUid(2, "c"),)


def test_a_coldkey_swap_is_a_change_of_owner_and_of_nothing_else() -> None:
    changes = changes_between({0: ("a", "x")}, {0: ("a", "y")})
    assert changes.owners == (OwnerChange("a", "x", "y"),)
    assert (changes.neurons, changes.emptied) == ((), ())


@given(REGISTRIES, REGISTRIES)
def test_the_changes_make_the_one_registry_of_the_other(
    before: dict[int, tuple[str, str]], after: dict[int, tuple[str, str]]
) -> None:
    changes = changes_between(before, after)
    made = dict(before)
    for gone in changes.emptied:
        assert made.pop(gone.uid)[0] == gone.hotkey
    for change in changes.neurons:
        made[change.uid] = (change.hotkey, change.coldkey)
    for owner in changes.owners:
        for uid, (hotkey, coldkey) in made.items():
            if (hotkey, coldkey) == (owner.hotkey, owner.old_coldkey):
                made[uid] = (hotkey, owner.new_coldkey)
    assert made == after
    assert bool(changes) == (before != after)


def test_an_emptied_uid_is_nobodys_and_its_king_leaves_the_throne(scene: Scene) -> None:
    scene.register((0, "o", None), (1, "A", None), (2, "B", None))
    first, second = scene.submit("A"), scene.submit("B")
    scene.contest({first: 500, second: 800})
    assert (scene.king(), scene.runner_up()) == ("A", "B")
    scene.block(emptied=(EmptiedUid(1, "A"),))
    assert (scene.king(), scene.runner_up()) == ("B", None)
    assert [(fact.uid, fact.hotkey) for fact in scene.facts(UidEmptied)] == [(1, "A")]
    assert sorted(scene.read(registry)) == [0, 2]
    assert sorted(scene.read(registry, at=scene.head - 1)) == [0, 1, 2]


def test_a_hotkey_that_moves_to_another_uid_keeps_its_throne(scene: Scene) -> None:
    scene.register((0, "o", None), (1, "B", None), (2, "A", None))
    scene.contest({scene.submit("A"): 500})
    scene.block(neurons=(NeuronChange(1, "A", "cold-A", "B"),), emptied=(EmptiedUid(2, "A"),))
    assert scene.king() == "A"
    assert {uid: hotkey for uid, (hotkey, _) in scene.read(registry).items()} == {0: "o", 1: "A"}


def test_a_uid_emptied_and_taken_again_belongs_to_its_new_holder(scene: Scene) -> None:
    scene.register((0, "o", None), (1, "A", None))
    scene.block(emptied=(EmptiedUid(1, "A"),))
    scene.register((1, "C", None))
    assert scene.read(registry)[1] == ("C", "cold-C")
