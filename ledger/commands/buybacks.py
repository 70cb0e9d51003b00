"""Planning a buyback and approving it. What is sent and found of it is :mod:`chain.buyback`'s."""

from __future__ import annotations

from ledger.application import Ledger, Unit
from ledger.commands.said import check_actor
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import Buyback, BuybackPlanned
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.rules.buybacks import MAX_SLIPPAGE_PPM, BuybackTerms, Signed


def plan_buyback(
    ledger: Ledger, terms: BuybackTerms, actor: str, signed: Signed | None = None
) -> BuybackPlanned:
    """Plan a buyback; for a request that was planned already, that plan.

    Where the policy in force names treasurers, ``signed`` must be of one of them. That it holds is
    checked by :mod:`chain.treasurers` before, and again before anything is sent.
    """
    _check_plan(terms, actor)

    def work(unit: Unit) -> BuybackPlanned:
        return _treasury(unit).plan_buyback(
            unit.context,
            terms.max_rao,
            terms.max_price_rao,
            actor,
            request=terms.request,
            price=terms.price,
            max_slippage_ppm=terms.max_slippage_ppm,
            signed=signed,
            treasurers=_treasurers(unit),
        )

    return ledger.decide(work)


def approve_buyback(
    ledger: Ledger, number: int, actor: str, signed: Signed | None = None
) -> Buyback:
    """Approve a plan as a second person, with a second key; doing so again is a no-op."""
    check_actor(actor)

    def work(unit: Unit) -> Buyback:
        treasury = _treasury(unit)
        unit.because(treasury.buyback(number).planned)
        treasury.approve_buyback(
            unit.context, number, actor, signed=signed, treasurers=_treasurers(unit)
        )
        return treasury.buyback(number)

    return ledger.decide(work)


def rehearse_plan(ledger: Ledger, terms: BuybackTerms, actor: str) -> BuybackPlanned | None:
    """Refuse what :func:`plan_buyback` would, but for a missing signature; records nothing.

    The plan that the request is already, None where it would be a new one.
    """
    _check_plan(terms, actor)
    return _recorded(ledger).plan_of(
        terms.max_rao, terms.max_price_rao, actor, terms.request, terms.max_slippage_ppm
    )


def rehearse_approval(ledger: Ledger, number: int, actor: str) -> Buyback:
    """Refuse what :func:`approve_buyback` would, but for a missing signature; records nothing."""
    check_actor(actor)
    buyback = _recorded(ledger).buyback(number)
    buyback.must_be_approvable(actor, None, ())
    return buyback


def treasurers_of(ledger: Ledger) -> tuple[str, ...]:
    """The keys that must sign now, by the policy in force; none where names suffice."""
    head = ledger.head().effective_block
    return ledger.arena_state().policy_at(head).treasury.treasurers


def _treasurers(unit: Unit) -> tuple[str, ...]:
    return unit.arena.policy_at(unit.block).treasury.treasurers


def _treasury(unit: Unit) -> Treasury:
    return unit.get(Treasury, treasury_id(unit.context.arena))


def _recorded(ledger: Ledger) -> Treasury:
    return ledger.load(Treasury, treasury_id(ledger.arena))


def _check_plan(terms: BuybackTerms, actor: str) -> None:
    check_actor(actor)
    if not 0 <= (terms.max_slippage_ppm or 0) <= MAX_SLIPPAGE_PPM:
        msg = f"a slippage of {terms.max_slippage_ppm} ppm is none; give 0 to 100 percent"
        raise DecisionRefusedError(msg)
