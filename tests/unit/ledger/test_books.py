"""The books: no money event without an entry, entries balance, residuals are named or stay open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from ledger.books import accounts, postings
from ledger.books.postings import MONEY_FACTS, SILENT_FACTS, Entry, Posting, UnbalancedError
from ledger.commands.block_facts import AlphaBurned, Withdrawal
from ledger.commands.money import record_balances
from ledger.decisions.treasury import Treasury
from ledger.facts import ENVELOPE, FACTS, Fact
from ledger.keys import ArenaKey, treasury_id
from ledger.projections.journal import JournalProjection
from ledger.projections.runner import catch_up
from ledger.queries.scope import scope_at
from ledger.queries.treasury import (
    Asked,
    TreasuryLine,
    account_balances,
    journal,
    treasury_lines,
)
from ledger.store.codec import decode
from ledger.store.logs import all_heads
from ledger.store.schema import events, logs
from ledger.units import Rao
from tests.unit.ledger.scenes import FEE_RAO, TREASURY, Scene, block_hash

MONEY_FIELD = re.compile(r"(_rao|_alpha|_usd_micros|amount|price)$|^alpha$|usd_micros")
WHOLE = st.integers(min_value=0, max_value=10**18)


# -- postings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", sorted(FACTS))
def test_every_event_with_an_amount_has_an_entry_or_a_reason_for_none(topic: str) -> None:
    kind = FACTS[topic]
    amounts = [
        name for name in kind.__struct_fields__ if name not in ENVELOPE and MONEY_FIELD.search(name)
    ]
    if amounts:
        assert (kind in MONEY_FACTS) != (topic in SILENT_FACTS), amounts
    assert kind not in MONEY_FACTS or topic not in SILENT_FACTS


def test_every_reason_is_about_an_event_there_is() -> None:
    assert set(SILENT_FACTS) <= set(FACTS)
    assert all(SILENT_FACTS.values())


def made(kind: type[Fact], data: st.DataObject) -> Fact:
    """An event of a type with drawn amounts."""
    values: dict[str, Any] = {
        "originator_id": UUID(int=1),
        "originator_version": 1,
        "arena": "0x" + "14" * 32 + "/14",
        "fact_key": "k",
        "effective_block": 7,
    }
    hints = get_type_hints(kind)
    for name in kind.__struct_fields__:
        if name in values or name in ENVELOPE:
            continue
        drawn: Any = "text"
        if name == "asset":
            drawn = data.draw(st.sampled_from(["TAO", "USD", "ALPHA"]))
        elif hints[name] is int or (name.endswith("_rao") and int in get_args(hints[name])):
            drawn = data.draw(WHOLE)
        elif name == "contest_ids":
            drawn = (UUID(int=7), UUID(int=8))
        elif name == "contest_usd_micros":
            drawn = data.draw(st.tuples(WHOLE, WHOLE))
        values[name] = drawn
    return kind(**values)


@pytest.mark.parametrize("kind", MONEY_FACTS, ids=lambda kind: kind.topic)
@given(data=st.data())
def test_the_postings_of_every_money_event_balance_per_asset(
    kind: type[Fact], data: st.DataObject
) -> None:
    entry = postings.entry_of(made(kind, data))
    sums: dict[str, int] = {}
    for posting in entry.postings if entry else ():
        sums[posting.asset] = sums.get(posting.asset, 0) + posting.value
        assert posting.value
    assert not any(sums.values())


def test_the_chart_has_every_account_that_has_a_name_of_its_own() -> None:
    texts = [text for text in vars(accounts).values() if isinstance(text, str)]
    named = {text.removesuffix(":") for text in texts if re.fullmatch("[a-z]+:[a-z_:]+", text)}
    assert {accounts.TREASURY, "assets:provider"} < named
    assert named == accounts.CHART
    assert accounts.in_chart("assets")
    assert accounts.in_chart("assets:provider")
    assert not accounts.in_chart("assets:prov")
    assert not accounts.in_chart("assets:provider:pods")


def test_an_entry_that_does_not_balance_stops_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = next(iter(MONEY_FACTS))
    lopsided = Entry(1, (Posting.of(accounts.TREASURY, Rao(5)),), None)
    monkeypatch.setitem(MONEY_FACTS, kind, lambda _fact: lopsided)
    fact = kind(
        originator_id=UUID(int=1),
        originator_version=1,
        arena="x",
        fact_key="k",
        effective_block=1,
        **{name: None for name in kind.__struct_fields__ if name not in ENVELOPE},
    )
    with pytest.raises(UnbalancedError, match="do not balance"):
        postings.entry_of(fact)


GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "events"


@pytest.mark.parametrize("kind", MONEY_FACTS, ids=lambda kind: kind.topic)
def test_a_recorded_money_event_is_in_the_journal_under_its_name(
    kind: type[Fact], engine: Engine
) -> None:
    state = (GOLDEN / f"{kind.topic}.json").read_bytes().strip()
    fact = decode(kind.topic, state)
    with engine.begin() as connection:
        arena = ArenaKey.parse(fact.arena)
        head = {"network": "test", "netuid": arena.netuid, "effective_block": fact.effective_block}
        connection.execute(insert(logs).values(log_id=1, arena=fact.arena, position=1, **head))
        connection.execute(
            insert(events).values(
                log_id=1,
                position=1,
                originator_id=fact.originator_id,
                originator_version=fact.originator_version,
                topic=kind.topic,
                fact_key=fact.fact_key,
                effective_block=fact.effective_block,
                state=state,
            )
        )
    catch_up(engine, [JournalProjection()])
    with engine.connect() as connection:
        scope = scope_at(connection, all_heads(connection)[0], None)
        rows, total = journal(scope, Asked(), limit=100)
    assert total == len(rows) >= 2
    assert {(row["event"], row["fact_key"]) for row in rows} == {(kind.topic, fact.fact_key)}
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["asset"]] = sums.get(row["asset"], 0) + row["amount"]
    assert not any(sums.values())


# -- a treasury in the log --------------------------------------------------------------------


def close(scene: Scene, tao: int, alpha: int | None = None) -> None:
    stated = [("TAO", TREASURY, tao, "chain")]
    if alpha is not None:
        stated.append(("ALPHA", TREASURY, alpha, "chain"))
    record_balances(scene.ledger, tuple(stated), about_block=scene.head)
    decide(scene, lambda treasury, context: treasury.close_period(context, context.block, 10, "op"))


def decide(scene: Scene, work: Any) -> None:
    identity = treasury_id(scene.ledger.arena)
    scene.ledger.decide(lambda unit: work(unit.get(Treasury, identity), unit.context))


def found(scene: Scene, asset: str = "TAO", period: int = 1) -> TreasuryLine:
    lines = scene.read(treasury_lines)
    (only,) = [item for item in lines if (item.asset, item.period) == (asset, period)]
    assert isinstance(only, TreasuryLine)
    return only


def opening(scene: Scene, tao: int, alpha: int | None = None) -> None:
    stated = [("TAO", TREASURY, tao, "chain")]
    if alpha is not None:
        stated.append(("ALPHA", TREASURY, alpha, "chain"))
    record_balances(scene.ledger, tuple(stated), about_block=scene.head)


def test_fees_and_unclaimed_payments_reconcile(scene: Scene) -> None:
    opening(scene, 1_000)
    scene.submit("A")
    scene.pay("B", "b", FEE_RAO + 7)
    close(scene, 1_000 + 2 * FEE_RAO + 7)
    assert (found(scene).status, found(scene).inflows) == ("reconciled", 2 * FEE_RAO + 7)
    assert found(scene, "USD").status == "unresolved"


def test_an_outflow_is_a_break_until_its_booking_explains_it_late(scene: Scene) -> None:
    opening(scene, 1_000)
    number = scene.head + 1
    trade = block_hash(number, "trade")
    scene.block(withdrawals=(Withdrawal(1, 1, trade, "exchange", 400),))
    close(scene, 600)
    before = scene.head
    assert found(scene).status == "explained"
    assert [found(scene).breaks[0].kind] == ["on_chain_not_in_books"]
    scene.block()
    decide(
        scene,
        lambda treasury, context: treasury.convert(
            context,
            reference=trade,
            sold_rao=400,
            bought_usd_micros=1,
            usd_micros_per_tao=1,
            provider="pods",
            source="desk",
            about_block=number,
            actor="op",
        ),
    )
    line = found(scene)
    assert (line.status, line.outflows, line.residual) == ("explained", 0, -400)
    assert (line.status_now, line.breaks_now, line.residual_now) == ("reconciled", (), 0)
    assert (line.late_inflows, line.late_outflows) == (0, 400)
    (then,) = [item for item in scene.read(treasury_lines, at=before) if item.asset == "TAO"]
    assert (then.status, then.status_now, then.late_outflows) == ("explained", "explained", 0)


def test_money_that_nothing_explains_stays_unexplained(scene: Scene) -> None:
    opening(scene, 1_000)
    scene.block()
    close(scene, 990)
    line_ = found(scene)
    assert (line_.residual, line_.status, line_.unexplained) == (-10, "unexplained", -10)


def test_a_gift_of_tao_is_counted_once(scene: Scene) -> None:
    opening(scene, 0)
    paid = scene.pay("operator", "gift", 5_000)
    decide(
        scene,
        lambda treasury, context: treasury.contribute(
            context,
            reference=paid.tx,
            asset="TAO",
            amount=5_000,
            provider=None,
            contributor="operator",
            about_block=context.block,
            actor="op",
        ),
    )
    close(scene, 5_000)
    assert (found(scene).status, found(scene).inflows) == ("reconciled", 5_000)
    sums = {row["account"]: row["amount"] for row in scene.read(account_balances)}
    assert sums[accounts.UNCLAIMED] == 0
    assert sums[accounts.CONTRIBUTIONS] == -5_000


@pytest.mark.parametrize("is_booked", [True, False])
def test_alpha_bought_and_burned_at_once_leaves_no_break_in_alpha(
    scene: Scene, is_booked: bool
) -> None:
    opening(scene, 1_000, 50)
    number = scene.head + 1
    extrinsic = block_hash(number, "buyback")
    scene.block(
        burns=(AlphaBurned(2, extrinsic, "add_stake_burn", TREASURY, "h", 14, 300, 9_000),),
    )

    def work(treasury: Treasury, context: Any) -> None:
        treasury.plan_buyback(context, 300, 10, "one")
        treasury.approve_buyback(context, 1, "two")
        treasury.send_buyback(context, 1, 300, 0)
        treasury.execute_buyback(
            context,
            1,
            block=number,
            block_hash=block_hash(number),
            extrinsic_index=2,
            extrinsic_hash=extrinsic,
            netuid=14,
            spent_rao=300,
            burned_alpha=9_000,
            about_block=number,
        )

    if is_booked:
        decide(scene, work)
    close(scene, 700, 50)
    alpha = found(scene, "ALPHA:14")
    assert (alpha.status, alpha.residual, alpha.breaks) == ("reconciled", 0, ())
    assert found(scene).status == ("reconciled" if is_booked else "explained")


def test_alpha_burned_out_of_the_stake_is_a_break(scene: Scene) -> None:
    opening(scene, 0, 50)
    number = scene.head + 1
    scene.block(
        burns=(
            AlphaBurned(2, block_hash(number, "b"), "recycle_alpha", TREASURY, "h", 14, None, 20),
        )
    )
    close(scene, 0, 30)
    alpha = found(scene, "ALPHA:14")
    assert (alpha.residual, alpha.status) == (-20, "explained")
