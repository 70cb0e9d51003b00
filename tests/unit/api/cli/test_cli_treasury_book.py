"""`treasury convert | contribute | adjust | pay | destroy | price | balance | close | periods`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chain.simulated import Commit, Pay, Transfer, account, paid_payload
from ledger.decisions.treasury import (
    Adjusted,
    AlphaDestroyed,
    Contributed,
    PayablePaid,
    PeriodClosed,
    TaoConverted,
)
from ledger.facts import Fact
from ledger.observations import BalanceObserved, NetworkFeeSeen, PriceObserved
from ledger.store.logs import head_of
from tests.unit.api.cli.chained import put_in_place
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.following.support import (
    DIGEST,
    MINER,
    MINER_COLD,
    OPENS_AT,
    TAO,
    TREASURY,
    Following,
    follow,
)

NODE = ("--node", "ws://127.0.0.1:1")
ANN = ("--actor", "ann")
USD = 10**6

Say = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[Following]:
    """Two blocks: a sale leaves the treasury, and a payment arrives that nobody claims."""
    sale = Transfer(source=TREASURY, destination=account("exchange"), rao=TAO, label="sale")
    pay = Pay(
        label="gift",
        coldkey=MINER_COLD,
        hotkey=MINER,
        digest=DIGEST,
        treasury=TREASURY,
        amount_rao=TAO // 2,
    )
    found = follow(tmp_path, {OPENS_AT + 1: [sale], OPENS_AT + 2: [pay]})
    environment.setenv("LEDGER_NETWORK", "test")
    environment.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    put_in_place(environment, found, {})
    found.advance(2)
    yield found
    found.chain.close()


@pytest.fixture
def treasury(run: Run) -> Say:
    return lambda *words: run("treasury", *words)


def asked(treasury: Say, *words: object) -> dict[str, Any]:
    result = treasury(*words, "--format", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def newest(place: Following, kind: type[Fact]) -> Any:
    return place.ledger.newest(kind)


def position(place: Following) -> int:
    with place.services.engine.connect() as connection:
        head = head_of(connection, place.ledger.arena)
    assert head is not None
    return head.position


def tx(place: Following, label: str) -> str:
    return place.chain.labels[label].extrinsic_hash


def sale(place: Following, **changes: str) -> list[str]:
    options = {
        "--sold-tao": "1",
        "--for-usd": "315.25",
        "--usd-per-tao": "315.25",
        "--provider": "shadeform",
        "--source": "exchange",
        "--reference": tx(place, "sale"),
        **{f"--{name.replace('_', '-')}": value for name, value in changes.items()},
    }
    return ["convert", *(word for pair in options.items() for word in pair), *ANN]


def test_a_sale_is_booked_once(place: Following, treasury: Say) -> None:
    first = treasury(*sale(place))
    assert first.exit_code == 0, first.output
    assert first.stdout == (
        "the sale of 1.000000000 TAO for 315.250000 USD at shadeform is booked about block "
        f"{OPENS_AT + 1} ({tx(place, 'sale')})\n"
    )
    assert first.stderr == ""
    assert "was booked already" in treasury(*sale(place)).stdout
    fact = newest(place, TaoConverted)
    assert (fact.sold_rao, fact.bought_usd_micros) == (TAO, 315_250_000)
    assert (fact.usd_micros_per_tao, fact.actor) == (315_250_000, "ann")


def test_a_sale_that_is_not_in_the_log_says_so_on_stderr(place: Following, treasury: Say) -> None:
    words = sale(place, reference="0x01", about_block=str(OPENS_AT + 1))
    result = treasury(*words)
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert "in_books_not_on_chain" in result.stderr
    found = asked(treasury, *words)
    assert (found["new"], found["about_block"], len(found["notes"])) == (False, OPENS_AT + 1, 1)


def test_a_price_that_does_not_fit_is_refused_in_one_sentence(
    place: Following, treasury: Say
) -> None:
    failed(treasury(*sale(place, usd_per_tao="300")), 8, "per TAO is not 315.250000 USD")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sold_tao": "1e3"}, "is not an amount of TAO"),
        ({"sold_tao": "0.0000000001"}, "at most 9 decimals"),
        ({"for_usd": "1,000"}, "is not an amount of dollars"),
        ({"for_usd": "0.0000001"}, "at most 6 decimals"),
        ({"sold_tao": "-1"}, "is not an amount of TAO"),
    ],
)
def test_amounts_are_exact_decimals(
    place: Following, treasury: Say, changes: dict[str, str], said: str
) -> None:
    before = position(place)
    failed(treasury(*sale(place, **changes)), 2, said)
    assert position(place) == before


def test_a_payment_nobody_claimed_becomes_a_contribution(place: Following, treasury: Say) -> None:
    words = ("contribute", "--tao", "0.5", "--contributor", "bob", "--reference")
    said = treasury(*words, tx(place, "gift"), *ANN)
    assert "the contribution of 0.500000000 TAO by bob is booked" in said.stdout, said.output
    assert newest(place, Contributed).amount == TAO // 2
    failed(treasury(*words, "0x02", *ANN), 8, "no payment to the treasury in extrinsic 0x02")


ABOUT = ("--about-block", OPENS_AT + 1)
FIX = ("adjust", "--reason", "a bank's charge", "--reference", "r-1", *ABOUT, *ANN)


@pytest.mark.parametrize(
    ("words", "kind", "expected"),
    [
        ((*FIX, "--usd=-12.34", "--provider", "lium"), Adjusted, {"amount": -12_340_000}),
        ((*FIX, "--usd=+12.34", "--provider", "lium"), Adjusted, {"amount": 12_340_000}),
        ((*FIX, "--tao=-0.5"), Adjusted, {"amount": -TAO // 2, "asset": "TAO", "provider": None}),
        ((*FIX, "--alpha", "2"), Adjusted, {"amount": 2 * TAO, "asset": "ALPHA"}),
        (
            (
                "contribute",
                "--usd",
                "50",
                "--provider",
                "lium",
                "--contributor",
                "bob",
                "--reference",
                "w",
                *ABOUT,
                *ANN,
            ),
            Contributed,
            {"amount": 50 * USD, "asset": "USD", "provider": "lium"},
        ),
        (
            (
                "pay",
                "lium",
                "--usd",
                "7.5",
                "--from",
                "shadeform",
                "--invoice",
                "i-1",
                "--reference",
                "w",
                *ABOUT,
                *ANN,
            ),
            PayablePaid,
            {"usd_micros": 7_500_000, "paid_from": "shadeform", "invoice": "i-1"},
        ),
        (
            (
                "destroy",
                "--recycled-alpha",
                "1.5",
                "--reason",
                "why",
                "--reference",
                "0x03",
                *ABOUT,
                *ANN,
            ),
            AlphaDestroyed,
            {"how": "recycled", "alpha": 3 * TAO // 2, "netuid": 14},
        ),
        (
            (
                "destroy",
                "--burned-alpha",
                "1",
                "--reason",
                "why",
                "--reference",
                "0x03",
                *ABOUT,
                *ANN,
            ),
            AlphaDestroyed,
            {"how": "burned", "alpha": TAO},
        ),
        (
            ("price", "--usd-per-tao", "315.25", "--source", "exchange", "--at-block", 101),
            PriceObserved,
            {"pair": "TAO/USD", "price": 315_250_000, "source": "exchange", "about_block": 101},
        ),
        (
            (
                "balance",
                "shadeform",
                "--usd",
                "1234.56",
                "--at-block",
                101,
                "--source",
                "statement of June",
                *ANN,
            ),
            BalanceObserved,
            {"amount": 1_234_560_000, "statement": "statement of June", "actor": "ann"},
        ),
    ],
)
def test_every_booking_is_recorded_as_said_and_once(
    place: Following,
    treasury: Say,
    words: tuple[object, ...],
    kind: type[Fact],
    expected: dict[str, Any],
) -> None:
    assert asked(treasury, *words)["new"] is True
    fact, stands_at = newest(place, kind), position(place)
    assert {name: getattr(fact, name) for name in expected} == expected
    assert asked(treasury, *words)["new"] is False
    assert position(place) == stands_at


@pytest.mark.parametrize(
    "words",
    [
        (*FIX, "--usd", "1", "--provider", "shadefrom"),
        (
            *("contribute", "--usd", "1", "--provider", "shadefrom", "--contributor", "bob"),
            *("--reference", "w", *ABOUT, *ANN),
        ),
        ("pay", "shadefrom", "--usd", "1", "--from", "lium", "--reference", "w", *ABOUT, *ANN),
        ("balance", "shadefrom", "--usd", "1", "--at-block", 101, "--source", "June", *ANN),
        (
            *("convert", "--sold-tao", "1", "--for-usd", "315", "--usd-per-tao", "315"),
            *("--source", "x", "--provider", "shadefrom", "--reference", "0x01", *ABOUT, *ANN),
        ),
    ],
    ids=lambda words: words[0],
)
def test_a_slip_in_a_providers_name_books_nothing(
    place: Following, treasury: Say, words: tuple[object, ...]
) -> None:
    before = position(place)
    failed(treasury(*words), 8, "no provider 'shadefrom' is known here, only lium, shadeform")
    assert position(place) == before
    assert asked(treasury, *words, "--new-provider")["new"] is True
    assert asked(treasury, *words)["new"] is False


def test_a_statement_is_corrected_with_a_reason_and_the_reconciliation_says_so(
    place: Following, treasury: Say
) -> None:
    words = ("balance", "shadeform", "--at-block", 101, "--source", "statement of June", *ANN)
    asked(treasury, *words, "--usd", "12.34")
    refused = treasury(*words, "--usd", "-21.34")
    assert refused.exit_code != 0
    assert refused.stderr.count("\n") == 1
    assert "say why it is wrong with --correction" in refused.stderr
    right = asked(treasury, *words, "--usd", "-21.34", "--correction", "overdrawn, and misread")
    assert right["new"] is True
    shown = treasury("reconcile").stdout
    assert "Statements that were corrected" in shown
    for text in ("12.340000", "-21.340000", "overdrawn, and misread", "ann"):
        assert text in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (FIX, "give one of --tao, --usd and --alpha"),
        ((*FIX, "--tao", "1", "--alpha", "1"), "give one of --tao, --usd and --alpha"),
        (
            ("destroy", "--reason", "r", "--reference", "0x", *ANN),
            "give one of --burned-alpha and --recycled-alpha",
        ),
        (
            (
                "destroy",
                "--burned-alpha",
                "1",
                "--recycled-alpha",
                "1",
                "--reason",
                "r",
                "--reference",
                "0x",
                *ANN,
            ),
            "give one of --burned-alpha and --recycled-alpha",
        ),
        (("costs", "--contest", "1", "--submission", "2"), "are one question each"),
    ],
)
def test_a_question_of_two_amounts_is_wrong_usage(
    place: Following, treasury: Say, words: tuple[object, ...], said: str
) -> None:
    result = treasury(*words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert place.ledger.newest(Adjusted) is None


# -- closing ----------------------------------------------------------------------------------

END = OPENS_AT + 2
CLOSE = ("close", "--to-block", END, *ANN)


def test_a_period_closes_with_its_figures_and_says_what_is_missing(
    place: Following, treasury: Say
) -> None:
    assert treasury(*sale(place)).exit_code == 0
    place.advance()
    rehearsed = asked(treasury, *CLOSE, "--dry-run")
    assert (rehearsed["new"], rehearsed["period"]["status"]) == (False, "unresolved")
    assert place.ledger.newest(PeriodClosed) is None
    closed = treasury(*CLOSE)
    assert closed.exit_code == 0, closed.output
    assert "period 1 is closed\n" in closed.stdout
    assert "was not observed, so reserve and proposal are unresolved; give --node" in closed.stderr
    assert "no statement of shadeform at block 102" in closed.stderr
    again = asked(treasury, *CLOSE)
    assert (again["new"], again["period"]["number"]) == (False, 1)
    assert again["period"] == asked(treasury, "periods")["items"][0]


def test_a_node_gives_the_closing_balance_of_that_block(place: Following, treasury: Say) -> None:
    place.advance()
    before = position(place)
    rehearsed = asked(treasury, *CLOSE, "--dry-run", *NODE)
    assert rehearsed["period"]["status"] == "counted"
    assert position(place) == before
    closed = asked(treasury, *CLOSE, *NODE)
    assert closed["new"] is True
    assert closed["period"]["reserve_rao"] == 0
    seen = place.ledger.newest(BalanceObserved, where=lambda fact: fact.asset == "TAO")
    assert seen is not None
    assert (seen.about_block, seen.source) == (END, "chain")
    assert seen.amount == 10 * TAO - TAO + TAO // 2 - fees(place)


def fees(place: Following) -> int:
    paid = place.ledger.newest(NetworkFeeSeen)
    return paid.fee_rao if paid else 0


def test_what_is_left_of_the_fees_is_proposed_with_the_command_that_plans_it(
    tmp_path: Path, environment: pytest.MonkeyPatch, treasury: Say
) -> None:
    pay = Pay(
        label="fee",
        coldkey=MINER_COLD,
        hotkey=MINER,
        digest=DIGEST,
        treasury=TREASURY,
        amount_rao=TAO // 10,
    )
    commit = Commit(hotkey=MINER, payload=paid_payload("registry.test/m:v1", DIGEST, "fee"))
    found = follow(tmp_path, {OPENS_AT + 1: [pay], OPENS_AT + 2: [commit]})
    environment.setenv("LEDGER_NETWORK", "test")
    environment.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    put_in_place(environment, found, {})
    found.advance(2)
    closed = treasury(*CLOSE, *NODE)
    plan = (
        "cacheon-ledger treasury buyback --max-tao 0.100000000 --max-slippage PERCENT "
        "--request period-1"
    )
    assert closed.stdout.endswith(
        f"period 1 is closed\nplan the buyback that is proposed by: {plan}\n"
    )
    assert closed.stderr == ""
    again = asked(treasury, *CLOSE)
    assert again["plan"] == plan
    assert again["period"]["proposed_buyback_rao"] == TAO // 10
    words = plan.replace("PERCENT", "2.5").split()[1:]
    assert "buyback 1 is planned" in treasury(*words[1:], *ANN, *NODE).stdout
    found.chain.close()


def test_a_refused_closing_records_nothing_of_the_node(place: Following, treasury: Say) -> None:
    before = position(place)
    failed(treasury("close", "--to-block", OPENS_AT, *ANN, *NODE), 8, "cannot end at block 100")
    failed(treasury("close", "--to-block", 999, *ANN, *NODE), 8, "block 102 is the newest")
    assert position(place) == before


def test_a_table_of_periods_known_at_a_block(place: Following, treasury: Say) -> None:
    place.advance()
    assert treasury(*CLOSE).exit_code == 0
    assert treasury("periods", "--known-at", END).stdout == "Closed periods: rental first: none\n"
    assert "unresolved" in treasury("periods").stdout


def test_costs_of_what_is_not_there_end_with_a_sentence(place: Following, treasury: Say) -> None:
    failed(treasury("costs", "--contest", "77"), 13, "no contest 77 is in the log")
    failed(treasury("costs", "--submission", "77"), 13, "no submission 77 is in the log")
    assert asked(treasury, "costs")["contests"]["total"] == 0
