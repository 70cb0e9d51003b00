"""Claims of payments that nobody consumed: `miner claim`, and the treasurer's answers to them.

`treasury claims`, `treasury claim grant | refuse`, `treasury refund` and `treasury credit` say who
decided and why; a refund is sent by the treasury's wallet and matched when it is seen on chain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

import typer

from api.cli.options import (
    Actor,
    AtBlock,
    Database,
    Format,
    Limit,
    Netuid,
    Network,
    Offset,
    OutputFormat,
    must_stand_behind,
)
from api.cli.output import show
from api.cli.session import opened, settings_of
from api.limits import DEFAULT_LIMIT

if TYPE_CHECKING:
    from api.app import Services
    from api.settings import Settings
    from ledger.application import Ledger
    from ledger.keys import ArenaKey

LEDGER_TIMEOUT_S: Final = 30.0

PaymentName = Annotated[
    str, typer.Argument(help="The payment: its extrinsic's hash, or block and index as 123-4.")
]
Reason = Annotated[str, typer.Option(help="Why; it is recorded with the decision.")]
Number = Annotated[
    int | None, typer.Option(min=1, help="Only if this is the number of the open claim.")
]


def register_with_miner(commands: typer.Typer) -> None:
    """Add what miners do."""
    commands.command("claim")(claim)


def register_with_treasury(commands: typer.Typer) -> None:
    """Add what treasurers do."""
    listing = typer.Typer(help="Claims of payments that nobody consumed: list, import, check.")
    listing.callback(invoke_without_command=True)(claims)
    listing.command("import")(import_claims)
    listing.command("check")(check_claims)
    commands.add_typer(listing, name="claims")
    deciding = typer.Typer(
        no_args_is_help=True, help="Grant or refuse the open claim of a payment."
    )
    deciding.command("grant")(grant)
    deciding.command("refuse")(refuse)
    commands.add_typer(deciding, name="claim")
    commands.command("refund")(refund)
    commands.command("credit")(credit)


# -- miners ---------------------------------------------------------------------------------------


def claim(
    payment: PaymentName,
    wants: Annotated[
        Literal["refund", "credit"],
        typer.Option(help="The money back, or a credit that a hotkey's next commit pays with."),
    ],
    wallet: Annotated[str, typer.Option(help="The wallet whose coldkey paid; it signs the claim.")],
    hotkey: Annotated[
        str | None, typer.Option(help="The hotkey (SS58) that gets the credit.")
    ] = None,
    wallet_path: Annotated[
        Path | None, typer.Option(help="The folder of the wallets (the SDK's own by default).")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            help="Print the signed claim to hand in, for the ledger of this HTTP API, instead of "
            "recording it in a database.",
        ),
    ] = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Claim a payment that no submission took, signed by the coldkey that paid.

    Without a ledger's database the signed claim is printed as JSON: hand it to a treasurer, who
    records it by `treasury claims import`.
    """
    from api import chains
    from chain.claims import check_claim, sign_claim
    from ledger.addresses import require_ss58

    if (wants == "credit") != (hotkey is not None):
        msg = "--hotkey names who gets a credit: give it with --wants credit, and only then"
        raise typer.BadParameter(msg)
    if hotkey is not None:
        require_ss58(hotkey)
    settings = settings_of(database, network, netuid)
    keys = chains.wallet(wallet, "default", wallet_path)
    if ledger is not None:
        from api.claim_files import document_of

        arena, name = _arena_of(ledger, settings), _extrinsic_hash(payment)
        signed = sign_claim(keys.signer("coldkey"), arena, name, wants, hotkey)
        check_claim(signed)
        show(document_of(signed), (), OutputFormat.JSON)
        return
    from ledger.commands.claims import record_claim
    from ledger.decisions.base import DecisionRefusedError

    with _ledger(settings) as (services, log):
        line = _line(services, settings, payment)
        address = keys.address("coldkey")
        if address != line["sender"]:  # refused before a password is asked for
            msg = f"payment {payment} came from {line['sender']}, so {address} cannot claim it"
            raise DecisionRefusedError(msg)
        signed = sign_claim(keys.signer("coldkey"), log.arena, _name(line), wants, hotkey)
        check_claim(signed)
        recorded = record_claim(log, UUID(line["payment_id"]), signed)
        what = "the money back" if hotkey is None else f"a credit for {hotkey}"
        said = [f"claim {recorded.number} of payment {_name(line)} wants {what}; it is recorded"]
        _answer(services, settings, said, [line["payment_id"]], output_format)


# -- treasurers -----------------------------------------------------------------------------------


def claims(
    context: typer.Context,
    open_only: Annotated[
        bool, typer.Option("--open", help="Only those that nobody decided yet.")
    ] = False,
    limit: Limit = DEFAULT_LIMIT,
    offset: Offset = 0,
    at_block: AtBlock = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """The payments that were claimed, each with its newest claim."""
    command = context.invoked_subcommand
    if command is not None:
        must_stand_behind(context, command)
        return
    from api import reads
    from api.cli.tables import CLAIMS

    settings = settings_of(database, network, netuid)
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, at_block) as scope,
    ):
        found = reads.claims(scope, reads.Window(limit, offset), open_only=open_only)
    show(found, CLAIMS, output_format)


def import_claims(
    file: Annotated[Path, typer.Argument(help="One signed claim as JSON, or a list of them.")],
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Record claims that were handed in: each one's signature is checked first, of all of them."""
    from api.claim_files import read_claims
    from chain.claims import check_claim
    from ledger.commands.claims import record_claim

    handed_in = read_claims(file)
    settings = settings_of(database, network, netuid)
    with _ledger(settings) as (services, log):
        for signed in handed_in:
            check_claim(signed)
        said, identities = [], []
        for signed in handed_in:
            line = _line(services, settings, signed.payment)
            recorded = record_claim(log, UUID(line["payment_id"]), signed)
            identities.append(line["payment_id"])
            said.append(f"claim {recorded.number} of payment {signed.payment} is recorded")
        if not handed_in:  # as whoever collects them in a folder may find none
            said.append(f"the list in '{file}' is empty, so no claim is recorded")
        _answer(services, settings, said, identities, output_format)


def check_claims(
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Check the signature of every claim in the log again; a false one is a refusal."""
    from chain.claims import false_claims
    from ledger.decisions.base import DecisionRefusedError

    settings = settings_of(database, network, netuid)
    with _ledger(settings) as (services, log):
        false = false_claims(log)
        if false:
            named = ", ".join(f"{one.originator_id} ({one.number})" for one in false[:10])
            msg = (
                f"{len(false)} claims of the log were not signed by the coldkey that paid, the "
                f"newest of payments {named}; find out who wrote them"
            )
            raise DecisionRefusedError(msg)
        said = ["every claim of the log was signed by the coldkey that paid"]
        _answer(services, settings, said, [], output_format)


def grant(
    payment: PaymentName,
    reason: Reason,
    actor: Actor,
    number: Number = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Grant a payment's open claim: a refund is decided, or the credit is given."""
    from ledger.commands.claims import grant_claim
    from ledger.decisions.unclaimed import RefundDecided

    settings = settings_of(database, network, netuid)
    with _ledger(settings) as (services, log):
        line = _line(services, settings, payment)
        decided = grant_claim(log, UUID(line["payment_id"]), actor, reason, number=number)
        if isinstance(decided, RefundDecided):
            said = _to_send(decided.amount_rao, decided.destination)
        else:
            said = [_credited(line, decided.hotkey)]
        _answer(services, settings, said, [line["payment_id"]], output_format)


def refuse(
    payment: PaymentName,
    reason: Reason,
    actor: Actor,
    number: Number = None,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Refuse a payment's open claim; the money stays unclaimed."""
    from ledger.commands.claims import refuse_claim

    settings = settings_of(database, network, netuid)
    with _ledger(settings) as (services, log):
        line = _line(services, settings, payment)
        refused = refuse_claim(log, UUID(line["payment_id"]), actor, reason, number=number)
        said = [f"claim {refused.number} of payment {_name(line)} is refused: {reason}"]
        _answer(services, settings, said, [line["payment_id"]], output_format)


def refund(
    actor: Actor,
    payment: Annotated[
        str | None,
        typer.Argument(help="The payment: its extrinsic's hash, or block and index as 123-4."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why; it is recorded with the decision.")
    ] = None,
    match: Annotated[
        bool,
        typer.Option("--match", help="Match open refunds with the transfers the log saw."),
    ] = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Decide that a payment goes back to its sender, or match what was sent (--match).

    The treasury's wallet sends it; ingest matches the transfer by itself when it is final.
    """
    from ledger.commands.claims import decide_refund
    from ledger.commands.refunds import match_refunds

    if match == (payment is not None) or (payment is None) == (reason is not None):
        msg = "give a payment and --reason, or --match alone"
        raise typer.BadParameter(msg)
    settings = settings_of(database, network, netuid)
    with _ledger(settings) as (services, log):
        if payment is None or reason is None:
            found = match_refunds(log)
            said = [f"{len(found)} refunds are matched with their transfers"]
            identities = [str(one.originator_id) for one in found]
        else:
            line = _line(services, settings, payment)
            decided = decide_refund(log, UUID(line["payment_id"]), actor, reason)
            said = _to_send(decided.amount_rao, decided.destination)
            identities = [line["payment_id"]]
        _answer(services, settings, said, identities, output_format)


def credit(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PAYMENT|SUBMISSION",
            help="An unclaimed payment (extrinsic hash, or 123-4), or the id of a submission that "
            "the infrastructure failed.",
        ),
    ],
    hotkey: Annotated[str, typer.Option(help="The hotkey (SS58) that gets the credit.")],
    reason: Reason,
    actor: Actor,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Give a credit by hand: the hotkey's next commit may name that payment once more."""
    from ledger.commands.claims import credit_payment, credit_submission

    settings = settings_of(database, network, netuid)
    with _ledger(settings) as (services, log):
        submission = _submission(log, name)
        if submission is not None:
            given = credit_submission(log, submission, hotkey, actor, reason)
            identity = str(given.originator_id)
        else:
            line = _line(services, settings, name)
            identity = line["payment_id"]
            credit_payment(log, UUID(identity), hotkey, actor, reason)
        said = [_credited(_line(services, settings, identity), hotkey)]
        _answer(services, settings, said, [identity], output_format)


# -- inside ---------------------------------------------------------------------------------------


@contextmanager
def _ledger(settings: Settings) -> Iterator[tuple[Services, Ledger]]:
    with opened(settings) as services:
        yield services, services.ledger(settings.network, settings.netuid)


def _line(services: Services, settings: Settings, name: str) -> dict[str, Any]:
    from ledger.queries.payments import payment_named

    with services.at(settings.network, settings.netuid) as scope:
        return payment_named(scope, name)


def _name(line: dict[str, Any]) -> str:
    from ledger.rules.claims import payment_name

    return payment_name(line["extrinsic_hash"], line["block"], line["extrinsic_index"])


def _submission(ledger: Ledger, name: str) -> UUID | None:
    """The submission of that id; None where the name is no id of one."""
    from ledger.decisions.submission import Submission

    try:
        identity = UUID(name)
    except ValueError:
        return None
    return identity if ledger.load(Submission, identity).commit is not None else None


def _to_send(amount_rao: int, destination: str) -> list[str]:
    from ledger.units import Rao

    return [
        f"a refund of {Rao(amount_rao)} to {destination} is decided: send exactly that from the "
        "treasury's wallet, once; it is matched when its transfer is final"
    ]


def _credited(line: dict[str, Any], hotkey: str) -> str:
    return (
        f"{hotkey} has a credit: its next commit names payment_tx {line['extrinsic_hash']} and "
        f"payment_block {line['block_hash']}"
    )


def _answer(
    services: Services,
    settings: Settings,
    said: list[str],
    identities: list[str],
    output_format: OutputFormat,
) -> None:
    """The sentences, or one JSON object with them and the payments as they are now."""
    if output_format is OutputFormat.TABLE:
        sys.stdout.write("".join(f"{sentence}\n" for sentence in said))
        return
    from api.answers import PaymentLine, shaped

    lines = [_line(services, settings, identity) for identity in identities]
    show({"said": said, "payments": shaped(PaymentLine, lines)}, (), output_format)


def _arena_of(url: str, settings: Settings) -> ArenaKey:
    from api.cli.policies import policy_from_api
    from ledger.decisions.base import DecisionRefusedError
    from ledger.keys import ArenaKey

    _, genesis = policy_from_api(url, settings.network, settings.netuid, timeout_s=LEDGER_TIMEOUT_S)
    if genesis is None:
        msg = f"the ledger at {url} does not name its chain, so no claim can be signed for it"
        raise DecisionRefusedError(msg)
    return ArenaKey(genesis, settings.netuid)


def _extrinsic_hash(name: str) -> str:
    import re

    found = name.strip().lower()
    if re.fullmatch(r"0x[0-9a-f]{64}", found) is None:
        msg = "without a database a payment is named by its extrinsic's hash, 0x and 64 hex digits"
        raise typer.BadParameter(msg)
    return found
