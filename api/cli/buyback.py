"""`treasury buyback`: plan, approve, send, settle, list.

A plan is recorded with its limits, approved by a second person (and key, where the policy names
treasurers), sent by the treasury's wallet, and matched to its events on chain.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from api.cli.buyback_answers import answer, end, line, told
from api.cli.options import (
    Actor,
    ArchiveNode,
    Database,
    DryRun,
    Format,
    Netuid,
    Network,
    NodeUrls,
    OutputFormat,
    TimeoutS,
    must_stand_behind,
)
from api.cli.output import show
from api.cli.session import opened, settings_of

if TYPE_CHECKING:
    from api.app import Services
    from chain.wallets import Signer
    from chain.writing_node import WritingNode
    from ledger.application import Ledger
    from ledger.observations import PriceObserved
    from ledger.rules.buybacks import ObservedPrice, Signed

DEFAULT_TIMEOUT_S: Final = 30.0

Number = Annotated[int, typer.Argument(min=1, help="The buyback's number; see 'list'.")]
WalletPath = Annotated[
    Path | None, typer.Option(help="The folder of the wallets (the SDK's own by default).")
]
KeyRole = Annotated[
    Literal["coldkey", "hotkey"],
    typer.Option("--sign-with", help="Which key of the wallet is the treasurer's."),
]
WalletHotkey = Annotated[
    str, typer.Option(help="The name of the wallet's hotkey, for --sign-with hotkey.")
]
SigningWallet = Annotated[
    str | None,
    typer.Option("--wallet", help="The wallet that signs, where the policy names treasurers."),
]


def commands() -> typer.Typer:
    """The `buyback` commands; without a further word they plan one."""
    group = typer.Typer(
        help="Buying alpha and burning it: planned, approved by a second key, sent once."
    )
    group.callback(invoke_without_command=True)(plan)
    group.command("approve")(approve)
    group.command("send")(send)
    group.command("settle")(settle)
    group.command("list")(list_all)
    return group


def plan(
    context: typer.Context,
    max_tao: Annotated[
        str | None, typer.Option(help="Spend at most this much TAO, e.g. 12.5.")
    ] = None,
    max_slippage: Annotated[
        str | None,
        typer.Option(help="How many percent above the observed price at most, e.g. 2.5."),
    ] = None,
    actor: Annotated[
        str,
        typer.Option(
            envvar=["LEDGER_ACTOR", "USER"], help="Who plans it; it is recorded with the plan."
        ),
    ] = "",
    request: Annotated[
        str | None,
        typer.Option(
            help="A name for this intention: planning it again is the same plan. One is made up, "
            "and shown before anything is recorded."
        ),
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(
            help="The node whose finalized price counts (several in order of preference); without, "
            "the newest price in the log."
        ),
    ] = None,
    wallet: SigningWallet = None,
    sign_with: KeyRole = "coldkey",
    wallet_hotkey: WalletHotkey = "default",
    wallet_path: WalletPath = None,
    dry_run: DryRun = False,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Plan a buyback: at most so much TAO, at most so far above the price observed now."""
    command = context.invoked_subcommand
    if command is not None:
        must_stand_behind(context, command)
        return
    if max_tao is None or max_slippage is None:
        msg = "give --max-tao and --max-slippage, or one of: approve, send, settle, list"
        raise typer.BadParameter(msg)
    from chain.buyback_outcomes import buyback_of
    from chain.treasurers import check
    from ledger.commands.buybacks import plan_buyback, rehearse_plan, treasurers_of
    from ledger.rules.buybacks import BuybackTerms, max_price_rao, plan_text
    from ledger.units import ppm_of_percent, rao_of

    spend, slippage_ppm = rao_of(max_tao), ppm_of_percent(max_slippage)
    with _ledger(database, network, netuid) as (_, ledger):
        price = _price(ledger, node, timeout_s)
        limit = max_price_rao(price.rao, slippage_ppm)
        name = request or f"r-{uuid.uuid4().hex[:12]}"
        terms = BuybackTerms(name, spend.value, limit, price, slippage_ppm)
        text, signed = plan_text(ledger.arena, terms, actor), None
        if dry_run:
            known = rehearse_plan(ledger, terms, actor)
            if known is not None:
                said = [f"this is buyback {known.number} already: {told(known.terms)}"]
                answer(output_format, said, terms=known.terms, dry_run=True)
                return
            said = [f"this would be planned: {told(terms)}; nothing was recorded"]
            to_sign = text if treasurers_of(ledger) else None
            if to_sign:
                said.append("a treasurer of the policy signs this text:")
            answer(output_format, said, terms=terms, to_sign=to_sign, dry_run=True)
            return
        if treasurers_of(ledger) or wallet is not None:
            signed = _signature(text, wallet, wallet_hotkey, wallet_path, sign_with)
            check(text, signed, "the plan")
        if request is None:
            sys.stderr.write(
                f"planning under request {terms.request}; should the outcome be unknown, plan "
                f"again with --request {terms.request}\n"
            )
        planned = plan_buyback(ledger, terms, actor, signed)
        said = [
            f"buyback {planned.number} is planned by {planned.actor}: {told(planned.terms)}",
            f"a second person approves it: {_approve_line(planned.number, signed)}",
        ]
        answer(output_format, said, buyback=buyback_of(ledger, planned.number))


def approve(
    number: Number,
    actor: Actor,
    wallet: SigningWallet = None,
    sign_with: KeyRole = "coldkey",
    wallet_hotkey: WalletHotkey = "default",
    wallet_path: WalletPath = None,
    dry_run: DryRun = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Approve a plan, as another person and with another key than planned it."""
    from chain.buyback_outcomes import buyback_of
    from chain.treasurers import check
    from ledger.commands.buybacks import approve_buyback, rehearse_approval, treasurers_of
    from ledger.rules.buybacks import approval_text

    with _ledger(database, network, netuid) as (_, ledger):
        planned = buyback_of(ledger, number).planned
        text, signed = approval_text(ledger.arena, number, planned.terms, actor), None
        if dry_run:
            if rehearse_approval(ledger, number, actor).approved is not None:
                said = [f"buyback {number} is approved already"]
                answer(output_format, said, terms=planned.terms, dry_run=True)
                return
            said = [f"this would be approved: {told(planned.terms)}; nothing was recorded"]
            to_sign = text if treasurers_of(ledger) else None
            if to_sign:
                said.append("another treasurer of the policy signs this text:")
            answer(output_format, said, terms=planned.terms, to_sign=to_sign, dry_run=True)
            return
        if treasurers_of(ledger) or wallet is not None:
            signed = _signature(text, wallet, wallet_hotkey, wallet_path, sign_with)
            check(text, signed, "the approval")
        buyback = approve_buyback(ledger, number, actor, signed)
        by = buyback.approved.actor if buyback.approved else actor
        said = [
            f"buyback {number} is approved by {by}: {told(planned.terms)}",
            "it is sent by the treasury's wallet: cacheon-ledger treasury buyback send "
            f"{number} --node URL --wallet NAME",
        ]
        answer(output_format, said, buyback=buyback)


def send(
    number: Number,
    node: NodeUrls,
    wallet: Annotated[str, typer.Option(help="The wallet whose coldkey is the treasury.")],
    hotkey: Annotated[
        str | None,
        typer.Option(help="The hotkey (SS58) to buy on: the subnet owner's by default."),
    ] = None,
    wallet_path: WalletPath = None,
    archive_node: ArchiveNode = None,
    dry_run: DryRun = False,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Send an approved buyback, once; or finish one that was interrupted.

    What was sent is looked up on chain before anything is sent again. Where the runtime buys and
    burns in two extrinsics, the burn follows by itself. It is sent through the first node.
    """
    from api import chains
    from chain.buyback import Desk
    from ledger.addresses import require_ss58

    if hotkey is not None:
        require_ss58(hotkey)
    with _ledger(database, network, netuid) as (services, ledger):
        keys = chains.wallet(wallet, "default", wallet_path)
        address, missing = keys.address("coldkey"), _missing(services, ledger)

        def writing(*signers: Signer) -> AbstractContextManager[WritingNode]:
            where = ledger.arena.genesis
            return chains.writing(node, signers, timeout_s, archive=archive_node, genesis=where)

        # Refused before the key is opened: a password typed for nothing is one too many.
        with writing() as chain:
            rehearsed = Desk(chain, ledger, address, hotkey, missing).rehearse(number)
        if dry_run:
            answer(output_format, [rehearsed], dry_run=True)
            return
        with writing(keys.signer("coldkey")) as chain:
            sys.stderr.write("sending; it is waited for until it is in a finalized block\n")
            done = Desk(chain, ledger, address, hotkey, missing).execute(number)
        end(ledger, done, output_format)


def settle(
    number: Number,
    node: NodeUrls,
    archive_node: ArchiveNode = None,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    dry_run: DryRun = False,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Look on chain for what became of a buyback that was sent, and record it. Sends nothing."""
    from api import chains
    from chain.buyback_outcomes import (
        buyback_of,
        must_be_the_arenas_chain,
        rehearse_settling,
        settle_buyback,
    )

    with _ledger(database, network, netuid) as (_, ledger):
        genesis = ledger.arena.genesis
        with chains.reading(node, timeout_s, archive=archive_node, genesis=genesis) as chain:
            must_be_the_arenas_chain(chain, ledger)
            if dry_run:
                said = [rehearse_settling(chain, ledger, number)]
                answer(output_format, said, dry_run=True)
                return
            settle_buyback(chain, ledger, number)
        end(ledger, buyback_of(ledger, number), output_format)


def list_all(
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Every buyback with its limits, who signed for it, and how far it came."""
    from api.cli.tables import BUYBACK_PLANS
    from ledger.decisions.treasury import Treasury
    from ledger.keys import treasury_id
    from ledger.queries.treasury import buybacks

    settings = settings_of(database, network, netuid)
    with _ledger(database, network, netuid) as (services, ledger):
        plans = ledger.load(Treasury, treasury_id(ledger.arena)).buybacks
        with services.at(settings.network, settings.netuid) as scope:
            lines = [line(row, plans.get(row["number"])) for row in buybacks(scope)]
    show({"items": lines}, BUYBACK_PLANS, output_format)


# -- inside ---------------------------------------------------------------------------------------


@contextmanager
def _ledger(
    database: str | None, network: str | None, netuid: int | None
) -> Iterator[tuple[Services, Ledger]]:
    settings = settings_of(database, network, netuid)
    with opened(settings) as services:
        yield services, services.ledger(settings.network, settings.netuid)


def _price(ledger: Ledger, node: list[str] | None, timeout_s: float) -> ObservedPrice:
    """The price at the node's finalized head, else the newest one that the log holds, of a block
    no further back than ingest may lag."""
    from api import chains
    from chain.buyback_outcomes import must_be_the_arenas_chain
    from chain.prices import observed_price
    from ledger.decisions.base import DecisionRefusedError
    from ledger.keys import block_key
    from ledger.observations import BlockObserved, PriceObserved
    from ledger.rules.buybacks import ObservedPrice

    if node:
        with chains.reading(node, timeout_s, genesis=ledger.arena.genesis) as chain:
            must_be_the_arenas_chain(chain, ledger)
            return observed_price(chain, ledger.arena.netuid)
    head = ledger.head().effective_block
    rules = ledger.arena_state().policy_at(head).weights
    oldest = head - rules.max_ingest_lag_blocks
    fresh: list[PriceObserved] = []

    def is_past(fact: PriceObserved) -> bool:
        """Collects by the way; what was recorded before ``oldest`` is about no later block."""
        if fact.pair == "ALPHA/TAO" and fact.about_block >= oldest:
            fresh.append(fact)
        return fact.effective_block < oldest

    ledger.newest(PriceObserved, where=is_past)
    seen = max(fresh, key=lambda fact: fact.about_block, default=None)
    block = None if seen is None else ledger.known(block_key(ledger.arena, seen.about_block))
    if seen is None or not isinstance(block, BlockObserved):
        msg = f"the log holds no price of alpha of block {oldest} or later; name a node by --node"
        raise DecisionRefusedError(msg)
    return ObservedPrice(seen.price, seen.about_block, block.hash)


def _missing(services: Services, ledger: Ledger) -> Sequence[tuple[int, int]]:
    """The runs of blocks that the log lacks."""
    from ledger.queries.standing import gaps, missing_blocks

    network = ledger.head().network
    with services.at(network, ledger.arena.netuid) as scope:
        return missing_blocks(gaps(scope))


def _signature(
    text: str,
    wallet: str | None,
    wallet_hotkey: str,
    wallet_path: Path | None,
    role: Literal["coldkey", "hotkey"],
) -> Signed:
    from api import chains
    from chain.treasurers import sign
    from ledger.decisions.base import DecisionRefusedError

    if wallet is None:
        msg = "the policy names treasurers, so one of them must sign this: give --wallet NAME"
        raise DecisionRefusedError(msg)
    return sign(chains.wallet(wallet, wallet_hotkey, wallet_path).signer(role), text)


def _approve_line(number: int, signed: Signed | None) -> str:
    wallet = "" if signed is None else " --wallet NAME"
    return f"cacheon-ledger treasury buyback approve {number} --actor NAME{wallet}"
