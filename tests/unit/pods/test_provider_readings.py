"""What providers write, read exactly or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from evaluation.pods.port import Instance, InstanceState, UnansweredError
from evaluation.pods.reading import MAX_USD_MICROS_PER_HOUR, Fields, gpu_name, living, state_of


def fields(**content: object) -> Fields:
    return Fields("there", "a thing", content)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("H200", "H200"),
        ("NVIDIA-H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("h100_sxm5", "H100"),
        ("B300", "B300"),
        ("NVIDIA-B200-SXM", "B200"),
        ("GH200", "GH200"),
        ("NVIDIA GB200", "GB200"),
        ("MI300X", "MI300X"),
        ("A100_80G", "A100"),
        ("H2000", "H2000"),
        ("XH200X9", None),
        ("GeForce", None),
        ("", None),
        (None, None),
    ],
)
def test_a_gpu_is_a_word_of_its_own(text: str | None, name: str | None) -> None:
    assert gpu_name(text) == name


def test_cents_are_millionths_exactly() -> None:
    assert fields(p=2_392).cents("p") == 23_920_000
    assert fields(p=1).cents("p") == 10_000
    assert fields().cents("p") is None
    assert fields(p=None).cents("p") is None
    for wrong in (0, -1, True, "2392", Decimal("2392.0"), 10**9):
        with pytest.raises(UnansweredError):
            fields(p=wrong).cents("p")


def test_the_dearest_price_that_is_believed() -> None:
    most = MAX_USD_MICROS_PER_HOUR // 1_000_000
    assert fields(p=most).dollars("p") == MAX_USD_MICROS_PER_HOUR
    with pytest.raises(UnansweredError, match="more than any machine costs"):
        fields(p=most + Decimal("0.0000001")).dollars("p")
    with pytest.raises(UnansweredError, match="more than any machine costs"):
        fields(p=most).dollars("p", 8)


@pytest.mark.parametrize("currency", ["EUR", "TAO", "", 7, ["USD"]])
def test_another_currency_is_no_price(currency: object) -> None:
    for name in ("currency", "price_currency", "currency_code"):
        with pytest.raises(UnansweredError, match="not in US dollars"):
            fields(p=1, **{name: currency}).dollars("p")
    assert fields(p=1, currency="USD").dollars("p") == 1_000_000


def test_an_error_says_who_sent_what() -> None:
    with pytest.raises(UnansweredError, match=r"^there sent a thing whose id is missing$"):
        fields().text("id")
    with pytest.raises(UnansweredError, match=r"^there sent no list as a thing's rows$"):
        fields(rows={}).rows("rows")
    with pytest.raises(UnansweredError, match=r"^there sent no object as a thing's spec$"):
        fields(spec=[1]).inner("spec")


@pytest.mark.parametrize("wrong", [7, "a\nb", "x" * 201, "\x1b[0m", [], "a\u202eb"])
def test_a_name_is_short_and_printable(wrong: object) -> None:
    with pytest.raises(UnansweredError, match="id"):
        fields(id=wrong).text("id")


def test_of_two_statements_about_one_machine_the_costlier_counts() -> None:
    def one(state: InstanceState) -> Instance:
        return Instance("there", "a", None, state, None, None, None, None)

    states: tuple[InstanceState, ...] = ("running", "stopping", "starting", "failed")
    for order in (states, states[::-1]):
        assert [found.state for found in living(map(one, order))] == ["running"]
    assert [found.state for found in living(map(one, ("gone", "starting", "gone")))] == ["starting"]
    assert list(living(map(one, ("gone", "gone")))) == []


def test_a_word_that_is_not_known_is_a_machine_that_costs() -> None:
    assert state_of("Deleted", {"DELETED": "gone"}, reachable=True) == "gone"
    assert state_of("deleted?", {"DELETED": "gone"}, reachable=False) == "starting"
    assert state_of("deleted?", {"DELETED": "gone"}, reachable=True) == "running"
    assert state_of(None, {"DELETED": "gone"}, reachable=False) == "starting"


def test_what_it_holds_of_a_stranger_is_in_no_repr() -> None:
    assert "secret" not in repr(fields(id="secret"))
