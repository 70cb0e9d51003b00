"""What a contest from the command line is run under: its policy, its seed, its plan."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import typer

from api.errors import read_text_file

if TYPE_CHECKING:
    from api.cli.machines import Machine
    from evaluation.images import ImageRef
    from evaluation.plan import PlannedEntrant
    from ledger.policy import TrackPolicy

RANDOM: Final = "random"
SMALL_TRACK: Final = "small"
_BLOCK_HASH: Final = re.compile(r"0x[0-9a-f]{64}")


class Rules(NamedTuple):
    """A track's rules and what they are called."""

    name: str
    track: str
    policy: TrackPolicy


def rules_of(
    file: Path | None,
    track: str | None,
    model_dir: Path | None,
    model_name: str | None,
    gpus: int | None,
) -> Rules:
    """The rules of a policy's track, or the small built-in ones for this model.

    Raises :class:`~ledger.policy.PolicyError`; a usage error for a track that must be named.
    """
    from evaluation.small_tracks import small_track
    from ledger.policy import MAX_POLICY_BYTES, parse_policy_toml

    if file is None:
        if track is not None:
            msg = "a track is one of a policy's; give the policy's file with --policy"
            raise typer.BadParameter(msg, param_hint="'--track'")
        name, policy = small_track(model_dir, model_name)
        return Rules(name, SMALL_TRACK, _changed(policy, model_name, gpus))
    document = parse_policy_toml(read_text_file(file, max_bytes=MAX_POLICY_BYTES))
    if track is None and len(document.tracks) > 1:
        msg = f"the policy has several; name one of {', '.join(sorted(document.tracks))}"
        raise typer.BadParameter(msg, param_hint="'--track'")
    chosen = track or next(iter(document.tracks))
    return Rules(document.name, chosen, _changed(document.track(chosen), model_name, gpus))


def _changed(policy: TrackPolicy, model_name: str | None, gpus: int | None) -> TrackPolicy:
    """The same rules on this machine: under this name, with so many GPUs a server."""
    if model_name is not None:
        policy = msgspec.structs.replace(policy, model=model_name)
    if gpus is not None:
        limits = msgspec.structs.replace(policy.contest.limits, gpus=gpus)
        contest = msgspec.structs.replace(policy.contest, limits=limits)
        policy = msgspec.structs.replace(policy, contest=contest)
    return policy


def seed_of(text: str) -> tuple[str, str]:
    """The block hash that ``text`` asks for, and one sentence about where it comes from."""
    if text == RANDOM:
        drawn = "0x" + secrets.token_hex(32)
        return drawn, "the seed was drawn at random: the result is not for the ledger"
    if not _BLOCK_HASH.fullmatch(text):
        msg = f"{text[:80]!r} is no block hash: 0x and 64 lower-case hex digits, or {RANDOM}"
        raise typer.BadParameter(msg, param_hint="'--seed-hash'")
    return text, "the seed is the given block's hash"


def entrants_of(
    machine: Machine,
    king: str | None,
    runner_up: str | None,
    challengers: list[str],
    images: dict[str, str],
) -> tuple[PlannedEntrant, ...]:
    """The entrants in the order they run; ``images`` learns how each one's image was named."""
    from evaluation.plan import EntrantRole, PlannedEntrant

    named: list[tuple[str, EntrantRole, str, str]] = []
    if king is not None:
        named.append(("king", "king", king, "'--king'"))
    if runner_up is not None:
        named.append(("runner-up", "runner_up", runner_up, "'--runup'"))
    for number, text in enumerate(challengers, start=1):
        named.append((f"entrant-{number}", "challenger", text, "'--entrant'"))
    entrants = []
    for entrant_id, role, text, param in named:
        images[entrant_id] = text
        entrants.append(
            PlannedEntrant(
                entrant_id=entrant_id,
                hotkey=entrant_id,
                role=role,
                image=machine.image(text, param),
            )
        )
    return tuple(entrants)


def check_reference(machine: Machine, image: ImageRef) -> None:
    """Refuse a launch profile as the baseline that cannot score given token ids."""
    launch = machine.launch_of(image)
    if launch is not None and not launch.profile.teacher_forcing:
        msg = (
            f"{launch} cannot be the baseline: it is the reference too, and this engine scores no "
            "given token ids; name one that does, e.g. profile:vllm"
        )
        raise typer.BadParameter(msg, param_hint="'--baseline'")
