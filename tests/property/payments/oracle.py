"""What the rule table of DOMAIN 2 says of a commit, from what the runtime itself knows.

Written from the table, one rule after the other, over calls and bytes; it shares no code with the
verifier. As there, a commit that the runtime refused (R9) or that is malformed (R1) is judged no
further, nor is one whose payment block is unknown (R2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.property.payments.runtime import Made, RawCall, Tx, arg, multisig_of, name_of

BATCHES = {"Utility.batch_all", "Utility.batch", "Utility.force_batch"}


@dataclass(frozen=True)
class Said:
    """What a commit says; ``well_formed`` is False for what is no such JSON object."""

    digest: str
    payment_tx: str
    payment_block: str
    well_formed: bool = True


@dataclass(frozen=True)
class Attempt:
    """A commitment that somebody made or tried to make, as the runtime knows it."""

    netuid: int
    hotkey: str
    block: int
    order: tuple[int, int, int]
    succeeded: bool
    sealed: bool
    payload: bytes


@dataclass
class Rules:
    """An arena's fee by block, and its treasury."""

    treasury: str
    fees: list[tuple[int, int]]
    """(from block, rao), the first one since ever."""
    max_age_blocks: int

    def fee_at(self, block: int) -> int:
        """The fee in force."""
        return [fee for since, fee in self.fees if since <= block or since == self.fees[0][0]][-1]


@dataclass
class Oracle:
    """Judges commits in their order; remembers what was used, in the whole installation."""

    chain: dict[int, Made]
    rules: dict[int, Rules]
    used: set[tuple[int, int]] = field(default_factory=set)
    credits: dict[tuple[int, int], str] = field(default_factory=dict)
    paid: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(netuid, fee) that each payment served, by (block, index)."""

    def judge(self, attempt: Attempt, said: Said | None) -> set[str]:
        """The codes of the broken rules; none, and the payment is taken."""
        if not attempt.succeeded:
            return {"commit_extrinsic_failed"}
        if said is None or not said.well_formed:
            return {"malformed_payload"}
        paid_in = next(
            (made for made in self.chain.values() if made.block.hash == said.payment_block), None
        )
        if paid_in is None or paid_in.number > attempt.block:
            return {"payment_block_unknown"}
        rules = self.rules[attempt.netuid]
        codes: set[str] = set()
        if attempt.block - paid_in.number > rules.max_age_blocks:
            codes.add("payment_expired")
        tx = next((one for one in paid_in.txs if one.hash == said.payment_tx), None)
        if tx is None:
            return codes | {"payment_tx_not_in_block"}
        key = (tx.number, tx.index)
        credit = self.credits.get(key) == attempt.hotkey
        if key in self.used:
            codes.add("payment_already_used")
        if not tx.success:
            codes.add("extrinsic_failed")
        if name_of(tx.call) != "Utility.batch_all":
            codes.add("not_batch_all")
        fee = rules.fee_at(paid_in.number)
        codes |= self._transfers(tx, rules.treasury, fee)
        codes |= self._remarks(tx, f"cacheon:{attempt.hotkey}:{said.digest}".encode())
        owner = paid_in.owners.get(attempt.hotkey)
        if owner is None:
            codes.add("coldkey_unknown")
        elif owner != tx.signer:
            codes.add("signer_not_owner")
        if credit:
            forgiven = {"payment_already_used", "payment_expired", "remark_mismatch"}
            if codes <= forgiven:
                del self.credits[key]
                return set()
        if not codes:
            self.used.add(key)
            self.paid[key] = (attempt.netuid, fee)
        return codes

    def _transfers(self, tx: Tx, treasury: str, fee: int) -> set[str]:
        kept_alive = [c for c in direct(tx.call) if name_of(c) == "Balances.transfer_keep_alive"]
        meant = [c for c in kept_alive if _to(c) == treasury]
        came = [arg(c, "value") for c in meant if id(c) in tx.ran]
        codes = set()
        if kept_alive and not meant:
            codes.add("wrong_destination")
        if len(came) < len(meant):
            codes.add("transfer_not_executed")
        if not came:
            codes.add("no_treasury_transfer")
        elif sum(came) < fee:
            codes.add("amount_too_small")
        return codes

    def _remarks(self, tx: Tx, exact: bytes) -> set[str]:
        remarks = [c["said"] for c in direct(tx.call) if name_of(c) == "System.remark"]
        claims = [remark for remark in remarks if remark.startswith(b"cacheon:")]
        if not claims:
            return {"remark_missing"}
        codes = set() if exact in claims else {"remark_mismatch"}
        return codes | ({"ambiguous_remarks"} if len(claims) > 1 else set())


def direct(made: RawCall) -> Sequence[RawCall]:
    """The direct children of a batch; a lone call stands for itself."""
    if name_of(made) in BATCHES and arg(made, "calls"):
        children: Sequence[RawCall] = arg(made, "calls")
        return children
    return [made]


def attempts_in(made: Made, netuid: int) -> list[Attempt]:
    """The commitments of a block, in their order, each with whom it was made for."""
    found = [
        Attempt(netuid, hotkey, made.number, (0, place, 0), True, False, payload)
        for place, (hotkey, on, payload) in enumerate(
            [reveal for reveal in made.reveals if reveal[1] == netuid]
        )
    ]
    for tx in made.txs:
        listed = [one for one in _listed(tx, tx.call, tx.signer) if arg(one[1], "netuid") == netuid]
        for nth, (hotkey, call) in enumerate(listed):
            fields: Sequence[dict[str, Any]] = arg(call, "info")["fields"]
            sealed = "TimelockEncrypted" in fields[0]
            payload = b"" if sealed else call["said"]
            order = (1, tx.index, nth)
            found.append(
                Attempt(netuid, hotkey, made.number, order, id(call) in tx.ran, sealed, payload)
            )
    return found


def received(made: Made, treasury: str) -> int:
    """Rao that came to a treasury in a block, from others."""
    return sum(
        int(event.attributes["amount"])
        for event in made.block.events
        if (event.module, event.name) == ("Balances", "Transfer")
        and event.attributes["to"] == treasury
        and event.attributes["from"] != treasury
    )


def _listed(tx: Tx, made: RawCall, origin: str) -> list[tuple[str, RawCall]]:
    """Every ``set_commitment`` in a call with whom it was tried for, where the chain let it try."""
    name = name_of(made)
    if name == "Commitments.set_commitment":
        return [(origin, made)]
    if name in BATCHES:
        return [one for child in arg(made, "calls") for one in _listed(tx, child, origin)]
    if name == "Proxy.proxy" and id(made) in tx.ran:
        return _listed(tx, arg(made, "call"), arg(made, "real"))
    if name == "Multisig.as_multi" and id(made) in tx.ran and arg(made, "maybe_timepoint"):
        account = multisig_of(origin, *arg(made, "other_signatories"))
        return _listed(tx, arg(made, "call"), account)
    return []


def _to(made: RawCall) -> str:
    dest = arg(made, "dest")
    return str(dest["Id"] if isinstance(dest, dict) else dest)
