"""An epoch's emission is split into incentive and dividends without gaining or losing a unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.node_epoch import split_emission

U16 = st.integers(0, 65_535)
ROWS = st.lists(
    st.tuples(st.integers(0, 10**13), U16 | st.just(0), U16 | st.just(0), st.booleans()),
    min_size=1,
    max_size=16,
)


@given(ROWS)
def test_both_parts_add_up_to_the_emission(rows: list[tuple[int, int, int, bool]]) -> None:
    emission, incentive, dividends, permits = (list(column) for column in zip(*rows, strict=True))
    parts = split_emission(emission, incentive, dividends, permits)
    assert [sum(part) for part in parts] == emission
    assert all(miner >= 0 and validator >= 0 for miner, validator in parts)


def test_a_miner_gets_only_incentive_and_a_validator_only_dividends() -> None:
    assert split_emission([100, 60, 40], [0, 39_321, 26_214], [65_535, 0, 0], [True] * 3) == [
        (0, 100),
        (60, 0),
        (40, 0),
    ]


def test_one_that_mines_and_validates_is_split_by_its_shares_of_the_two_halves() -> None:
    """The half for miners is 1,000 and the half for validators too: UID 0 has a quarter of one and
    half of the other, so a third of its 750 is incentive."""
    parts = split_emission([750, 750, 500], [1, 3, 0], [2, 0, 2], [True, False, True])
    assert parts == [(250, 500), (750, 0), (0, 500)]


def test_without_any_weights_the_epoch_pays_validators_by_stake() -> None:
    assert split_emission([5, 7], [0, 0], [0, 0], [False, False]) == [(0, 5), (0, 7)]


def test_a_share_too_small_for_u16_goes_by_the_permit() -> None:
    parts = split_emission([100, 100, 1, 1], [0, 9, 0, 0], [9, 0, 0, 0], [True, False, True, False])
    assert parts == [(0, 100), (100, 0), (0, 1), (1, 0)]


def test_vectors_of_different_epochs_are_refused_and_not_padded() -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        split_emission([1, 2], [1], [1, 0], [True, True])
