"""What the buyback commands answer: sentences for people, one JSON object for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from api.cli.options import OutputFormat
from api.cli.output import show

if TYPE_CHECKING:
    from ledger.application import Ledger
    from ledger.decisions.buybacks import Buyback, BuybackFailed
    from ledger.rules.buybacks import BuybackTerms


def answer(
    output_format: OutputFormat,
    said: list[str],
    *,
    buyback: Buyback | None = None,
    terms: BuybackTerms | None = None,
    reason: str | None = None,
    to_sign: str | None = None,
    dry_run: bool = False,
) -> None:
    """Write the sentences and the text ``to_sign``, or all of it as one JSON object.

    ``buyback`` is null there for one that is only rehearsed, and ``terms`` are then what it would
    allow; prices are rao per whole alpha.
    """
    if output_format is OutputFormat.TABLE:
        sys.stdout.write("".join(f"{sentence}\n" for sentence in said) + (to_sign or ""))
        return
    allows = terms if buyback is None else buyback.planned.terms
    content = {
        "dry_run": dry_run,
        "said": said,
        "buyback": None if buyback is None else _state(buyback, reason),
        "terms": allows,
        "to_sign": to_sign,
    }
    show(content, (), output_format)


def end(ledger: Ledger, buyback: Buyback, output_format: OutputFormat) -> None:
    """Answer how it stands; a failed one ends the command with the chain's refusal."""
    from api.errors import ExitCode
    from ledger.decisions.buybacks import BuybackFailed

    def is_ours(fact: BuybackFailed) -> bool:
        return fact.number == buyback.number

    failed = ledger.newest(BuybackFailed, where=is_ours) if buyback.failed else None
    reason = failed.reason if failed else None
    why = f": {reason}; plan another one" if reason else ""
    answer(output_format, [_standing(buyback) + why], buyback=buyback, reason=reason)
    if buyback.failed:
        raise typer.Exit(ExitCode.CHAIN_REFUSED)


def told(terms: BuybackTerms) -> str:
    from api.cli.cells import percent
    from ledger.units import Rao

    said = f"at most {Rao(terms.max_rao)}, at no more than {Rao(terms.max_price_rao)} per alpha"
    price, slippage = terms.price, terms.max_slippage_ppm
    if price is not None and slippage is not None:
        said += f" ({Rao(price.rao)} at block {price.block}, plus {percent(slippage)})"
    return said


def _standing(buyback: Buyback) -> str:
    said = f"buyback {buyback.number} is {buyback.status}"
    sent = buyback.burn_sent or buyback.sent
    if buyback.status in {"sent", "burning"} and sent is not None:
        said += (
            f": sent after block {sent.after_block} with nonce {sent.nonce} of "
            f"{sent.signer or 'the treasury'}, and not in a finalized block yet"
        )
    elif buyback.status == "bought":
        said += ": what it bought is still to be burned; send it again"
    return said


def _state(buyback: Buyback, reason: str | None) -> dict[str, Any]:
    approved, sent = buyback.approved, buyback.burn_sent or buyback.sent
    return {
        "number": buyback.number,
        "status": buyback.status,
        "planned_by": buyback.planned.actor,
        "approved_by": approved.actor if approved else None,
        "signer": sent.signer or None if sent else None,
        "nonce": sent.nonce if sent else None,
        "sent_after_block": sent.after_block if sent else None,
        "reason": reason,
    }


def line(row: dict[str, Any], buyback: Buyback | None) -> dict[str, Any]:
    planned = buyback.planned if buyback else None
    approved = buyback.approved if buyback else None
    sent = buyback.sent if buyback else None
    bought = buyback.bought if buyback else None
    return {
        **row,
        "request": planned.request if planned else None,
        "price_rao": planned.price_rao if planned else None,
        "price_block": planned.price_block if planned else None,
        "price_block_hash": planned.price_block_hash if planned else None,
        "max_slippage_ppm": planned.max_slippage_ppm if planned else None,
        "planned_key": planned.key if planned else None,
        "planned_signature": planned.signature if planned else None,
        "approved_key": approved.key if approved else None,
        "approved_signature": approved.signature if approved else None,
        "how": sent.how if sent else None,
        "signer": sent.signer or None if sent else None,
        "nonce": sent.nonce if sent else None,
        "bought_alpha": bought.bought_alpha if bought else None,
    }
