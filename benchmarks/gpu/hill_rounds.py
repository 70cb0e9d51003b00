"""The rounds of the king of the hill over one ledger, with contests run now or kept from before.

The same code plays a hill on the GPU host and plays it again offline from its bundles; the only
difference is where a round's bundle comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from api import reads
from benchmarks.gpu.hill_ledger import FIRST_BLOCK, MINERS, NAME_OF, NETUID, NETWORK, HillLedger
from benchmarks.gpu.policies import TRACK, arena_policy
from evaluation.bundle import read_bundle
from evaluation.plan import ContestPlan
from ledger.queries.weights import registry, thrones, vector_in_force

_ONE: Final = reads.Window(1, 0)
BURN: Final = "burn"
STANDINGS: Final = "hill.standings.json"
"""Beside the bundles: the standing after each round that is over."""
BundleOf = Callable[[int, Path], Path]
"""The bundle of a round, counted from 1, by its plan."""


class Commands(Protocol):
    """What runs the program's commands: :class:`~benchmarks.gpu.program.Program`, or a test."""

    def needed(self, name: str, words: Sequence[str]) -> Any:
        """Run ``cacheon-ledger WORDS`` and give the JSON that it printed."""
        ...


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What holds after a round, at the end of an epoch: who sits where, and what that is worth.

    ``shares_ppm`` are the vector's by miner, the owner's UID as ``burn``; ``earned_alpha`` what
    epochs paid each so far, in 10^-9.
    """

    round: int
    block: int
    king: str | None
    runner_up: str | None
    weights_digest: str
    shares_ppm: dict[str, int]
    earned_alpha: dict[str, int]


class HillError(Exception):
    """A hill that cannot be taken up where it stands; one sentence."""


def play(
    hill: HillLedger,
    commands: Commands,
    digests: Sequence[str],
    bundle_of: BundleOf,
    folder: Path,
    *,
    on_round: Callable[[int], None] = lambda _: None,
) -> list[Standing]:
    """A round for each of the climbers' images, and where things stand after each.

    In every round the next miner pays and commits; the contest is planned on a block after it,
    its bundle is imported, and blocks follow up to the end of the second epoch. ``folder`` keeps
    plans and standings, so that a hill that was interrupted goes on with the round it was in.
    ``on_round`` is told of a round before anything of it is done. Raises :class:`HillError` where
    the ledger stands elsewhere than the folder says.
    """
    found = standings_in(folder)
    for number, (miner, digest) in enumerate(zip(MINERS, digests, strict=True), start=1):
        if number <= len(found):
            continue
        on_round(number)
        plan = _planned(hill, commands, (number, miner, digest), found, folder)
        bundle = bundle_of(number, plan)
        taking = ["contest", "import", str(bundle), "--evidence", str(folder / "evidence")]
        commands.needed(f"hill-{number}-import", [*taking, "--format", "json", *hill.words()])
        hill.to_next_epoch()
        hill.to_next_epoch()
        found.append(_standing(hill, number))
        kept = msgspec.json.format(msgspec.json.encode(found), indent=2)
        (folder / STANDINGS).write_bytes(kept)
    return found


def standings_in(folder: Path) -> list[Standing]:
    """The standings that a folder keeps, of the rounds that are over."""
    file = folder / STANDINGS
    return msgspec.json.decode(file.read_bytes(), type=list[Standing]) if file.exists() else []


def _planned(
    hill: HillLedger,
    commands: Commands,
    climber: tuple[int, str, str],
    before: Sequence[Standing],
    folder: Path,
) -> Path:
    """The plan of a round, made now or by an earlier run that went no further."""
    number, miner, digest = climber
    plan = folder / f"hill-{number}.plan.json"
    at = before[-1].block if before else FIRST_BLOCK
    if plan.exists():
        at = msgspec.json.decode(plan.read_bytes(), type=ContestPlan).seed_block
    if hill.head != at:
        msg = (
            f"the ledger of the hill is at block {hill.head} and its folder at block {at}, so "
            f"round {number} cannot be taken up; play it anew in another folder"
        )
        raise HillError(msg)
    if not plan.exists():
        hill.submit(miner, digest)
        hill.block()
        planning = ["contest", "plan", "--track", TRACK, "--out", str(plan), "--format", "json"]
        commands.needed(f"hill-{number}-plan", [*planning, *hill.words()])
    return plan


def replay(
    database: Path, bundles: Sequence[Path], commands: Commands, folder: Path
) -> list[Standing]:
    """The same hill in a fresh database, from its bundles alone, in the order of its rounds.

    Policy and images are those of the bundles; no server runs.
    """
    plans = [read_bundle(path).manifest.plan for path in bundles]
    hill = HillLedger(database, arena_policy(plans[0].policy))
    digests = [
        next(one.image.digest for one in plan.entrants if one.role == "challenger")
        for plan in plans
    ]
    try:
        return play(hill, commands, digests, lambda number, _: bundles[number - 1], folder)
    finally:
        hill.close()


def keep_answers(hill: HillLedger, commands: Commands) -> None:
    """What the program's reading commands say at the end, each in a file of its own."""
    words = ["--format", "json", *hill.words()]
    for name in ("weights", "contests", "reigns", "submissions", "emissions"):
        commands.needed(f"hill-{name}", [name, *words])
    for miner, (hotkey, _) in MINERS.items():
        commands.needed(f"hill-payouts-{miner}", ["payouts", hotkey, *words])


def _standing(hill: HillLedger, number: int) -> Standing:
    with hill.services.at(NETWORK, NETUID) as scope:
        throne, vector = thrones(scope).get(TRACK), vector_in_force(scope)
        held = registry(scope)
        earned = {
            name: reads.payouts(scope, _ONE, hotkey).paid_alpha
            for name, (hotkey, _) in MINERS.items()
        }
    return Standing(
        round=number,
        block=hill.head,
        king=None if throne is None else NAME_OF.get(throne.king_hotkey or ""),
        runner_up=None if throne is None else NAME_OF.get(throne.runner_up_hotkey or ""),
        weights_digest=vector.digest,
        shares_ppm={NAME_OF.get(held[uid][0], BURN): ppm for uid, ppm in vector.shares},
        earned_alpha=earned,
    )
