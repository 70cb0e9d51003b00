"""`miner`: what a submission costs and whether it would pass; paying and committing."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli import claims
from api.cli.options import (
    ArchiveNode,
    Database,
    DryRun,
    Format,
    Netuid,
    Network,
    NodeUrls,
    OutputFormat,
    TimeoutS,
)
from api.cli.output import show
from api.cli.session import opened, settings_of

if TYPE_CHECKING:
    from chain.commit import Progress
    from chain.commit_checks import Terms
    from chain.wallets import Signer
    from chain.writing_node import WritingNode
    from ledger.policy import FeePolicy

DEFAULT_TIMEOUT_S: Final = 30.0
LOOK_BACK_BLOCKS: Final = 240
"""How far a payment made before is looked for without a state file: what a node keeps of state."""
MAX_LOOK_BACK_BLOCKS: Final = 7_200
REVEAL_IN_BLOCKS: Final = 360
MAX_REVEAL_BLOCKS: Final = 7_200
LEDGER_TIMEOUT_S: Final = 30.0

Image = Annotated[str, typer.Option(help="The image's name, e.g. ghcr.io/you/engine:v1.")]
Digest = Annotated[str, typer.Option(help="Its digest, sha256: and 64 hex digits.")]
PolicyFile = Annotated[
    Path | None, typer.Option(help="Take the fee from this policy file, without a database.")
]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", help="Take the fee from a ledger's HTTP API, without a database."),
]


def register(app: typer.Typer) -> None:
    """Add the `miner` commands to ``app``."""
    commands = typer.Typer(
        no_args_is_help=True, help="For miners: the fee, and paying and committing in one flow."
    )
    commands.command("quote")(quote)
    commands.command("commit")(commit)
    claims.register_with_miner(commands)
    app.add_typer(commands, name="miner")


def quote(
    image: Image,
    digest: Digest,
    hotkey: Annotated[str | None, typer.Option(help="The hotkey (SS58) that will commit.")] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(
            help="Ask this node, too (the first of several that answers): is the hotkey "
            "registered, can its owner pay?"
        ),
    ] = None,
    policy: PolicyFile = None,
    ledger: LedgerUrl = None,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """What a submission costs, to whom it is paid, and whether it would pass. Sends nothing.

    The fee is that of the policy in force: in the ledger's database, in a policy file, or in a
    ledger's HTTP API.
    """
    from api.cli.tables import QUOTE
    from ledger.addresses import require_ss58

    if hotkey is not None:
        require_ss58(hotkey)
    if node and hotkey is None:
        msg = "--node asks about a hotkey: give --hotkey, too"
        raise typer.BadParameter(msg)
    settings = settings_of(database, network, netuid)
    terms, genesis = _terms(settings, policy, ledger)
    fee = terms.fee
    answer = _quoted(fee, image, digest, hotkey)
    if node and hotkey is not None:
        answer["hotkey"] = _standing(node, timeout_s, settings.netuid, hotkey, genesis, fee.fee_rao)
    answer["credits"] = []
    if hotkey is not None and policy is None and ledger is None:
        answer["credits"] = _credits(settings, hotkey)
    show(answer, QUOTE, output_format)


def commit(
    image: Image,
    digest: Digest,
    node: NodeUrls,
    wallet: Annotated[str, typer.Option(help="The wallet: its coldkey owns the hotkey and pays.")],
    hotkey: Annotated[str, typer.Option(help="The name of the wallet's hotkey, which commits.")],
    wallet_path: Annotated[
        Path | None, typer.Option(help="The folder of the wallets (the SDK's own by default).")
    ] = None,
    timelocked: Annotated[
        bool, typer.Option("--timelocked", help="Hide the commit until its reveal.")
    ] = False,
    reveal_in_blocks: Annotated[
        int,
        typer.Option(min=1, max=MAX_REVEAL_BLOCKS, help="When a timelocked commit is revealed."),
    ] = REVEAL_IN_BLOCKS,
    state: Annotated[
        Path | None,
        typer.Option(
            help="The file that remembers how far it came (by default one for each commit, under "
            "the XDG state directory)."
        ),
    ] = None,
    look_back: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_LOOK_BACK_BLOCKS,
            help="How many blocks back an unused payment is looked for where none is remembered.",
        ),
    ] = LOOK_BACK_BLOCKS,
    archive_node: ArchiveNode = None,
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    ledger: LedgerUrl = None,
    timeout_s: TimeoutS = DEFAULT_TIMEOUT_S,
    output_format: Format = OutputFormat.TABLE,
    network: Network = None,
    netuid: Netuid = None,
    database: Database = None,
) -> None:
    """Pay the fee and commit, once: whatever is interrupted is gone on with by running it again.

    What would be refused is refused before anything is paid. All is sent through the first node.
    """
    from api import chains
    from chain.commit_checks import Commitment
    from chain.commit_flow import Flow
    from chain.commit_state import StateFile, default_path

    settings = settings_of(database, network, netuid)
    terms, genesis = _terms(settings, policy, ledger)
    keys = chains.wallet(wallet, hotkey, wallet_path)
    coldkey, address = keys.address("coldkey"), keys.address("hotkey")
    with chains.reading(node, timeout_s, genesis=genesis) as chain:
        found = chain.genesis_hash()
    wanted = Commitment(
        genesis=genesis or found,
        netuid=settings.netuid,
        hotkey=address,
        image=image,
        digest=digest,
        reveal_in_blocks=reveal_in_blocks if timelocked else None,
    )
    memory = StateFile(state or default_path(wanted.genesis, wanted.netuid, address, digest))

    def flow(chain: Any) -> Flow:
        return Flow(chain, memory, wanted, terms, coldkey, look_back, _tell)

    def writing(*signers: Signer) -> AbstractContextManager[WritingNode]:
        where = wanted.genesis
        return chains.writing(node, signers, timeout_s, archive=archive_node, genesis=where)

    if dry_run:
        with writing() as chain:
            rehearsed = _rehearsed(flow(chain), terms.fee)
        _answer(output_format, [rehearsed], None)
        return
    with memory.held():
        with writing() as chain:
            flow(chain).rehearse()  # refused before a password is asked for
        _tell(f"remembering in {memory.path}; should this be interrupted, run it again")
        signers = [keys.signer("coldkey"), keys.signer("hotkey")]
        with writing(*signers) as chain:
            done = flow(chain).run()
    said = []
    if done.paid is not None:
        said.append(f"paid in block {done.paid.block}, extrinsic {done.paid.extrinsic_hash}")
    if done.committed is not None:
        known = "it is revealed later" if timelocked else "it is known at once"
        said.append(
            f"committed in block {done.committed.block}, extrinsic "
            f"{done.committed.extrinsic_hash}; {known}"
        )
    _answer(output_format, said, done)


# -- inside ---------------------------------------------------------------------------------------


def _terms(settings: Any, policy: Path | None, ledger: str | None) -> tuple[Terms, str | None]:
    """The fee policy in force, and the genesis of the arena it is of; None where nobody says.

    Of a change that is due only a database tells.
    """
    from api.cli.policies import policy_from_api, policy_from_file
    from chain.commit_checks import Terms

    if policy is not None and ledger is not None:
        msg = "--policy and --ledger are one question each: give one"
        raise typer.BadParameter(msg)
    if policy is not None:
        return Terms(policy_from_file(policy).fee), None
    if ledger is not None:
        found, genesis = policy_from_api(
            ledger, settings.network, settings.netuid, timeout_s=LEDGER_TIMEOUT_S
        )
        return Terms(found.fee), genesis
    with opened(settings) as services:
        arena = services.ledger(settings.network, settings.netuid)
        rules, block = arena.arena_state(), arena.head().effective_block
        fee = rules.policy_at(block).fee
        starts = sorted(entry.from_block for entry in rules.policies if entry.from_block > block)
        changes = (start for start in starts if rules.policy_at(start).fee != fee)
        return Terms(fee, next(changes, None)), arena.arena.genesis


def _quoted(fee: FeePolicy, image: str, digest: str, hotkey: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    from ledger.rules.quote import quote as quoted

    found = quoted(fee, image=image, digest=digest, hotkey=hotkey)
    return {**asdict(found), "passes": found.passes, "hotkey": None}


def _credits(settings: Any, hotkey: str) -> list[dict[str, Any]]:
    """The payments that the hotkey's next commit may name instead of paying."""
    from ledger.queries.payments import unused_credits

    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid) as scope,
    ):
        return [
            {"payment_tx": line["extrinsic_hash"], "payment_block": line["block_hash"]}
            for line in unused_credits(scope, hotkey)
        ]


def _standing(
    node: list[str], timeout_s: float, netuid: int, hotkey: str, genesis: str | None, fee_rao: int
) -> dict[str, Any]:
    from api import chains
    from chain.commit_checks import FEE_ALLOWANCE_RAO, must_be_of, standing_of

    with chains.reading(node, timeout_s, genesis=genesis) as chain:
        must_be_of(chain, genesis)
        found = standing_of(chain, netuid, hotkey, chain.finalized_head())
    return {
        "hotkey": hotkey,
        "block": found.head.number,
        "registered": found.registered,
        "owner": found.owner,
        "owner_balance_rao": found.owner_balance_rao,
        "needed_rao": fee_rao + FEE_ALLOWANCE_RAO,
        "balance_suffices": found.covers(fee_rao),
    }


def _rehearsed(flow: Any, fee: FeePolicy) -> str:
    from chain.commit import Done, Pay, PutCommit
    from ledger.units import Rao

    step = flow.rehearse()
    if isinstance(step, Done):
        return f"it is committed already, in block {step.committed.block}; nothing would be sent"
    if isinstance(step, Pay):
        what = "sent again" if step.again else "paid"
        return (
            f"the fee of {Rao(fee.fee_rao)} would be {what} now, then committed; nothing was sent"
        )
    if isinstance(step, PutCommit):
        return f"it is paid in block {step.paid.block} and would be committed now; nothing was sent"
    paid = step.progress.paid
    if step.progress.committed is not None:
        return f"it is committed already, in block {step.progress.committed.block}"
    where = f" in block {paid.block}" if paid else ""
    return f"an unused payment was found{where}; it would be committed with; nothing was sent"


def _answer(output_format: OutputFormat, said: list[str], done: Progress | None) -> None:
    """The sentences, or one JSON object with them and how far it came; a rehearsal came nowhere."""
    if output_format is OutputFormat.TABLE:
        sys.stdout.write("".join(f"{sentence}\n" for sentence in said))
        return
    show({"dry_run": done is None, "said": said, "progress": done}, (), output_format)


def _tell(line: str) -> None:
    """Progress goes to stderr, at once: waiting for a block takes a while."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
