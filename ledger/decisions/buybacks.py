"""The events of a buyback, and how far one has come. Its rule is the treasury's.

Planned, approved, sent, then executed or failed. Where the runtime buys and burns in one extrinsic,
``executed`` is that one. On older runtimes it is two: what the first one bought is recorded
(``bought``), the burn of it is sent as often as it takes, each time under a number of its own, and
``burned`` ends it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from ledger.decisions.base import DecisionRefusedError
from ledger.facts import ENVELOPE, Fact, fact, upcast
from ledger.rules.buybacks import BuybackTerms, ObservedPrice, Signed

BuyCall = Literal["add_stake_burn", "add_stake_limit"]
"""What buys: and burns at once, or on older runtimes alone."""

_REQUEST: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
"""Begins with a letter, so that it is no number: those name the plans made without a request."""

UNKNOWN_KEY: Final = ""
"""The signer and hotkey of a buyback sent by a program that did not record them."""


@fact("treasury.buyback_planned.v1")
class BuybackPlannedV1(Fact, frozen=True, kw_only=True):
    """A plan without a request, without the price it was made at, and without a signature."""

    number: int
    max_rao: int
    max_price_rao: int
    actor: str


@fact("treasury.buyback_planned.v2")
class BuybackPlanned(Fact, frozen=True, kw_only=True):
    """Buy alpha for at most ``max_rao`` and burn it, at no more than that price per whole alpha.

    Key: ``buyback-planned:<arena>:<request>``. The limit was worked out of ``price_rao``, observed
    at the finalized block ``price_block``; None where whoever planned it gave the limit itself.
    ``signature`` (``0x`` hex, sr25519) is that of ``key`` over
    :func:`ledger.rules.buybacks.plan_text`, None where the policy named no treasurers.
    """

    number: int
    request: str
    max_rao: int
    max_price_rao: int
    price_rao: int | None
    price_block: int | None
    price_block_hash: str | None
    max_slippage_ppm: int | None
    actor: str
    key: str | None
    signature: str | None

    @property
    def terms(self) -> BuybackTerms:
        """What it allows."""
        price = None
        if self.price_rao is not None and self.price_block is not None:
            price = ObservedPrice(self.price_rao, self.price_block, self.price_block_hash or "")
        return BuybackTerms(
            request=self.request,
            max_rao=self.max_rao,
            max_price_rao=self.max_price_rao,
            price=price,
            max_slippage_ppm=self.max_slippage_ppm,
        )


@upcast("treasury.buyback_planned.v1")
def planned_under_its_number(old: BuybackPlannedV1) -> BuybackPlanned:
    """Its number was its request."""
    return BuybackPlanned(
        **_envelope(old),
        number=old.number,
        request=str(old.number),
        max_rao=old.max_rao,
        max_price_rao=old.max_price_rao,
        price_rao=None,
        price_block=None,
        price_block_hash=None,
        max_slippage_ppm=None,
        actor=old.actor,
        key=None,
        signature=None,
    )


@fact("treasury.buyback_approved.v1")
class BuybackApprovedV1(Fact, frozen=True, kw_only=True):
    """A second person agreed; without a signature."""

    number: int
    actor: str


@fact("treasury.buyback_approved.v2")
class BuybackApproved(Fact, frozen=True, kw_only=True):
    """A second person agreed, by another key over :func:`ledger.rules.buybacks.approval_text`."""

    number: int
    actor: str
    key: str | None
    signature: str | None


@upcast("treasury.buyback_approved.v1")
def approved_unsigned(old: BuybackApprovedV1) -> BuybackApproved:
    """By a name alone."""
    return BuybackApproved(
        **_envelope(old), number=old.number, actor=old.actor, key=None, signature=None
    )


@fact("treasury.buyback_sent.v1")
class BuybackSentV1(Fact, frozen=True, kw_only=True):
    """About to send ``add_stake_burn`` with exactly ``nonce``."""

    number: int
    amount_rao: int
    after_block: int
    nonce: int


@fact("treasury.buyback_sent.v2")
class BuybackSent(Fact, frozen=True, kw_only=True):
    """About to send what buys: recorded before the call, so that a crash never buys twice.

    ``signer`` and ``nonce`` are one extrinsic of the chain; ``after_block`` was its newest
    finalized block then. ``hotkey`` is the one bought on. ``max_price_rao`` is its limit, per whole
    alpha: the plan's, or a lower one where the price had fallen since; None where that was not
    recorded, and it was the plan's.
    """

    number: int
    how: BuyCall
    amount_rao: int
    max_price_rao: int | None
    hotkey: str
    signer: str
    nonce: int
    after_block: int


@upcast("treasury.buyback_sent.v1")
def sent_by_the_treasury(old: BuybackSentV1) -> BuybackSent:
    """Always ``add_stake_burn``; by whom and on which hotkey was not recorded."""
    return BuybackSent(
        **_envelope(old),
        number=old.number,
        how="add_stake_burn",
        amount_rao=old.amount_rao,
        max_price_rao=None,
        hotkey=UNKNOWN_KEY,
        signer=UNKNOWN_KEY,
        nonce=old.nonce,
        after_block=old.after_block,
    )


@fact("treasury.buyback_bought.v1")
class BuybackBought(Fact, frozen=True, kw_only=True):
    """The chain bought (event ``StakeAdded``); the alpha is staked and still to be burned."""

    number: int
    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    netuid: int
    spent_rao: int
    bought_alpha: int
    about_block: int


@fact("treasury.buyback_burn_sent.v1")
class BuybackBurnSent(Fact, frozen=True, kw_only=True):
    """About to send the burn of what was bought; ``attempt`` counts from 1."""

    number: int
    attempt: int
    alpha: int
    hotkey: str
    signer: str
    nonce: int
    after_block: int


@fact("treasury.buyback_burn_failed.v1")
class BuybackBurnFailed(Fact, frozen=True, kw_only=True):
    """This sending of the burn burned nothing and never will; the burn is to be sent again."""

    number: int
    attempt: int
    reason: str


@fact("treasury.buyback_burned.v1")
class BuybackBurned(Fact, frozen=True, kw_only=True):
    """The chain burned what was bought (event ``AlphaBurned``)."""

    number: int
    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    netuid: int
    burned_alpha: int
    about_block: int


@fact("treasury.buyback_executed.v1")
class BuybackExecuted(Fact, frozen=True, kw_only=True):
    """The chain bought and burned, in one extrinsic (event ``AddStakeBurn``)."""

    number: int
    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    netuid: int
    spent_rao: int
    burned_alpha: int
    about_block: int


@fact("treasury.buyback_failed.v1")
class BuybackFailed(Fact, frozen=True, kw_only=True):
    """Nothing was bought, and nothing of this sending will be."""

    number: int
    reason: str


def _envelope(old: Fact) -> dict[str, Any]:
    return {name: getattr(old, name) for name in ENVELOPE}


@dataclass(frozen=True, slots=True)
class Buyback:
    """How far one buyback has come."""

    planned: BuybackPlanned
    approved: BuybackApproved | None = None
    sent: BuybackSent | None = None
    bought: BuybackBought | None = None
    burn_sent: BuybackBurnSent | None = None
    """The sending of the burn that nothing is known of yet."""
    burn_attempts: int = 0
    ended: bool = False
    failed: bool = False

    @property
    def status(self) -> str:
        """Planned, approved, sent, bought (the burn is missing), burning, executed or failed."""
        if self.ended:
            return "failed" if self.failed else "executed"
        if self.bought is not None:
            return "bought" if self.burn_sent is None else "burning"
        if self.sent is not None:
            return "sent"
        return "planned" if self.approved is None else "approved"

    @property
    def number(self) -> int:
        """Its number."""
        return self.planned.number

    def planned_again(
        self, max_rao: int, max_slippage_ppm: int | None, actor: str
    ) -> BuybackPlanned:
        """The plan, for the same request. The price may have moved, what is asked for may not."""
        known = self.planned
        same = (known.max_rao, known.max_slippage_ppm, known.actor)
        if same != (max_rao, max_slippage_ppm, actor):
            msg = (
                f"request '{known.request}' is buyback {self.number} already, planned by "
                f"{known.actor} for {known.max_rao} rao; name another request"
            )
            raise DecisionRefusedError(msg)
        return known

    def must_be_approvable(
        self, actor: str, signed: Signed | None, treasurers: Collection[str]
    ) -> None:
        """By another person, and where it is signed by another key."""
        if is_same_person(self.planned.actor, actor):
            msg = f"buyback {self.number} was planned by {actor}; a second person must approve it"
            raise DecisionRefusedError(msg)
        must_be_a_treasurer(f"the approval of buyback {self.number}", signed, treasurers)
        if signed is not None and signed.key == self.planned.key:
            msg = (
                f"buyback {self.number} was planned with the key {signed.key}; another must "
                "approve it"
            )
            raise DecisionRefusedError(msg)

    def must_be_sendable(self, amount_rao: int, treasurers: Collection[str]) -> None:
        """Approved, of keys that are treasurers still, not sent yet, and within its limit."""
        if self.approved is None:
            msg = f"buyback {self.number} is not approved"
            raise DecisionRefusedError(msg)
        if self.sent is not None:
            msg = (
                f"buyback {self.number} was sent already; look for it on chain before anything else"
            )
            raise DecisionRefusedError(msg)
        if treasurers and not {self.planned.key, self.approved.key} <= set(treasurers):
            msg = (
                f"buyback {self.number} is not signed by two of the treasurers that the policy "
                "names now; plan it anew"
            )
            raise DecisionRefusedError(msg)
        self._must_be_of_two()
        if not 0 < amount_rao <= self.planned.max_rao:
            msg = f"buyback {self.number} allows up to {self.planned.max_rao} rao, not {amount_rao}"
            raise DecisionRefusedError(msg)

    def _must_be_of_two(self) -> None:
        """Planned by one and approved by another, whatever wrote it into the log."""
        planned, approved = self.planned, self.approved
        if approved is None:
            return
        same = is_same_person(planned.actor, approved.actor)
        if same or (planned.key is not None and planned.key == approved.key):
            msg = (
                f"buyback {self.number} is planned and approved by one person, {planned.actor}"
                + ("" if same else f", with the key {planned.key}")
                + "; plan it anew, and have a second one approve it"
            )
            raise DecisionRefusedError(msg)

    def must_be_under_way(self) -> None:
        """Sent, and not failed."""
        if self.sent is None:
            msg = f"buyback {self.number} was never sent"
            raise DecisionRefusedError(msg)
        if self.failed:
            msg = (
                f"buyback {self.number} is recorded as failed; book what the chain did by "
                "adjustments"
            )
            raise DecisionRefusedError(msg)

    def must_be_burnable(self) -> tuple[BuybackBought, BuybackSent]:
        """Something was bought, and no burn of it is done or under way."""
        if self.bought is None or self.sent is None:
            msg = f"buyback {self.number} has bought nothing yet, so there is nothing to burn"
            raise DecisionRefusedError(msg)
        if self.ended:
            msg = f"buyback {self.number} is burned already"
            raise DecisionRefusedError(msg)
        if self.burn_sent is not None:
            msg = (
                f"the burn of buyback {self.number} was sent already; look for it on chain before "
                "anything else"
            )
            raise DecisionRefusedError(msg)
        return self.bought, self.sent

    def must_be_able_to_fail(self) -> None:
        """Sent, and nothing of it bought."""
        if self.sent is None:
            msg = f"buyback {self.number} was never sent, so it cannot have failed"
            raise DecisionRefusedError(msg)
        if self.bought is not None or (self.ended and not self.failed):
            what = "executed" if self.ended else "bought"
            msg = f"buyback {self.number} was {what}, so it cannot have failed"
            raise DecisionRefusedError(msg)


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one but for their spaces and capitals."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", " ".join(name.split())).casefold()


def must_be_a_request(request: str) -> None:
    """Refuse what is no name of a request."""
    if not _REQUEST.fullmatch(request):
        msg = (
            f"{request[:64]!r} is no name of a request: 1 to 64 of letters, digits, dot, dash and "
            "underscore, the first a letter"
        )
        raise DecisionRefusedError(msg)


def must_be_a_treasurer(what: str, signed: Signed | None, treasurers: Collection[str]) -> None:
    """Refuse ``what`` unless one of the treasurers signed it, where there are any."""
    if not treasurers:
        return
    if signed is None:
        msg = f"{what} must be signed by a treasurer of the policy: give its wallet"
        raise DecisionRefusedError(msg)
    if signed.key not in treasurers:
        msg = f"{what} is signed by {signed.key}, which is no treasurer of the policy"
        raise DecisionRefusedError(msg)
