"""Whatever happens in whatever order: a fact's cause stands before it, down to one beginning."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import SubmissionAccepted
from ledger.facts import Fact
from ledger.observations import WeightsSubmitted
from ledger.queries.payouts import all_payouts
from ledger.queries.why import payout_path, why
from tests.contract.stores import quick_engine
from tests.property.season import Action, Season, actions
from tests.property.test_views_of_a_season import FULL
from tests.unit.ledger.scenes import Scene

ROOTS = {
    *("arena.opened.v1", "arena.policy_adopted.v1", "arena.paused.v1", "arena.resumed.v1"),
    *("seen.block.v1", "seen.balance.v2", "seen.conflict.v1"),
    *("treasury.converted.v1", "treasury.buyback_planned.v2", "treasury.period_closed.v2"),
    *("rental_budget.reserved.v1", "rental_budget.refused.v1", "seen.invoice_line.v2"),
}
"""What people and the outside begin; everything else follows from something."""


def play(drawn: list[Action], folder: Path) -> Scene:
    season = Season(Scene(quick_engine(folder)))
    for action in drawn:
        season.play(action)
    return season.scene


def check_causes(scene: Scene) -> None:
    seen: dict[str, Fact] = {}
    for logged in scene.log():
        fact = logged.fact
        if fact.causation is None:
            assert fact.topic in ROOTS, f"'{fact.fact_key}' has no cause"
            assert fact.correlation is None
        else:
            cause = seen.get(fact.causation)
            assert cause is not None, f"'{fact.fact_key}' names '{fact.causation}' before it is"
            assert fact.correlation == (cause.correlation or cause.fact_key)
            assert fact.correlation in seen
            assert seen[fact.correlation].causation is None
        seen[fact.fact_key] = fact


def check_payouts(scene: Scene) -> int:
    walked = 0
    for line in scene.read(all_payouts):
        path = scene.read(payout_path, line.hotkey, line.epoch_block)
        if not line.share_ppm:
            assert [fact.topic for fact in path] in ([], [WeightsSubmitted.topic])
            continue
        walked += 1
        assert isinstance(path[0], WeightsSubmitted)
        assert path[0].for_block == line.vector_block
        paid = path[-1]
        assert isinstance(paid, PaymentSeen)
        assert paid.sender == f"cold-{line.hotkey}"
        accepted = next(fact for fact in path if isinstance(fact, SubmissionAccepted))
        assert accepted.payment_id == paid.originator_id
    return walked


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions(min_size=8, max_size=30))
def test_every_cause_stands_before_its_effect_and_every_share_has_its_path(
    drawn: list[Action],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        scene = play(drawn, Path(folder))
        check_causes(scene)
        check_payouts(scene)
        scene.engine.dispose()


def test_the_full_season_pays_shares_and_every_chain_ends_at_its_correlation(
    tmp_path: Path,
) -> None:
    scene = play(FULL, tmp_path)
    check_causes(scene)
    assert check_payouts(scene) >= 1
    for logged in scene.log():
        chain = scene.read(why, logged.fact.fact_key)
        assert chain[0] == logged.fact
        assert chain[-1].fact_key == (logged.fact.correlation or logged.fact.fact_key)
    scene.engine.dispose()
