"""Policy: every rule of the competition as data with a first block.

A policy document is TOML. An arena opens under one and adopts further ones, each from a block on;
:func:`policy_at` picks the one in force. The document's digest is SHA-256 over its canonical JSON,
so that two spellings of the same rules are the same policy.

Raises :class:`PolicyError` with one sentence for anything a document cannot mean.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger import contest_policy, gate_policy, rental_policy
from ledger.addresses import is_ss58
from ledger.contest_policy import (
    MIN_INTERLEAVED_BLOCKS,
    ContestPolicy,
    HuggingFaceDataset,
    JsonlFile,
)
from ledger.gate_policy import GatePolicy
from ledger.policy_numbers import Block, NonNegative, Ppm, SomeBlocks
from ledger.rental_policy import MAX_TIERS, RentalPolicy
from ledger.rules.interval import fewest_blocks
from ledger.spelling import spelled
from ledger.texts import is_one_line
from ledger.units import PPM

MAX_POLICY_BYTES: Final = 65_536
MAX_TRACKS: Final = 16
MAX_UID: Final = 255
"""UIDs are 0 to 255 (DOMAIN, Words)."""
MAX_OVERRIDE_PPM: Final = 10**9
"""Beyond one whole an override is clamped (DOMAIN 5); beyond this it is a slip of the hand."""
MAX_NAME_CHARS: Final = 64
MAX_IMAGE_CHARS: Final = 255
MAX_TREASURERS: Final = 16
MAX_COMPARISONS: Final = 256
"""A subnet's slots: a round never compares more challengers than that."""

_TRACK_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REVISION: Final = re.compile(r"[0-9a-f]{40}")


class PolicyError(ValueError):
    """A policy document that cannot be adopted; the message is one sentence for its author."""


class FeePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The submission fee (DOMAIN 2). Amounts in rao, ages in blocks."""

    treasury_ss58: str
    fee_rao: NonNegative = 100_000_000
    payment_max_age_blocks: SomeBlocks = 7_200


class TreasuryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may spend the treasury (DOMAIN 7), on what machines, and what it keeps.

    ``treasurers`` are SS58 addresses of the keys that sign plans and approvals of buybacks: two of
    them, each another. Empty: two names suffice. ``reserve_ppm`` of a period's closing balance of
    TAO is not proposed for a buyback (DOMAIN 3).
    """

    treasurers: tuple[str, ...] = ()
    reserve_ppm: Ppm = 0
    rental: RentalPolicy = RentalPolicy()


class WeightPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When validators set weights and which UID burns (DOMAIN 5)."""

    burn_uid: Annotated[int, Meta(ge=0, le=MAX_UID)] = 0
    stale_after_blocks: SomeBlocks = 360
    rate_limit_blocks: Block = 100
    max_ingest_lag_blocks: SomeBlocks = 50


class KingTakesAll(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="king_takes_all",
    tag_field="phase",
    forbid_unknown_fields=True,
):
    """Phase 1: the king earns the whole pool and the pool is everything."""


class ScorePool(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="score_pool",
    tag_field="phase",
    forbid_unknown_fields=True,
):
    """Phase 2: the pool is min(1, king's score / full_pool_score); king and runner-up split it."""

    king_share_ppm: Ppm = 800_000
    full_pool_score_ppm: Annotated[int, Meta(ge=1, le=PPM)] = 100_000


class BlockRamp(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="block_ramp",
    tag_field="phase",
    forbid_unknown_fields=True,
):
    """Phase 3: the pool follows the block number; an operator's override is clamped to 0..1.

    Before ``start_block`` the pool is ``before_ppm``; from there it grows from ``floor_ppm`` to
    1,000,000 over ``length_blocks``, floored to whole ppm, and stays there.
    """

    king_share_ppm: Ppm = 800_000
    before_ppm: Ppm = 20_000
    floor_ppm: Ppm = 100_000
    start_block: Block = 8_360_900
    length_blocks: SomeBlocks = 1_317_600
    override_ppm: Annotated[int, Meta(ge=-MAX_OVERRIDE_PPM, le=MAX_OVERRIDE_PPM)] | None = None


EmissionPolicy = KingTakesAll | ScorePool | BlockRamp


class ScoreV1(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="v1",
    tag_field="formula",
    forbid_unknown_fields=True,
):
    """May's formula: half the relative gain in time to first token, half that in tokens per second,
    on medians."""


class ScoreV2(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="v2",
    tag_field="formula",
    forbid_unknown_fields=True,
):
    """June's formula: the median over prompts of the relative gain in end-to-end time."""


class ScoreInterval(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="interval",
    tag_field="formula",
    forbid_unknown_fields=True,
):
    """Our own rule: mean paired log ratio with a bootstrap interval over blocks of prompts.

    The score it reports is 1 - exp(-mean): the part of the baseline's time saved, as in v2, so that
    every emission phase can read it.

    ``confidence_ppm`` is the two-sided level; ``resamples`` bounds the cost of the bootstrap.
    ``error_of`` says what the level is promised for. ``comparison``: each challenger by itself, by
    the percentiles as they are drawn, which are too narrow for few blocks. ``round``: all of a
    round's challengers together, the interval widened for their number and for few blocks.
    """

    confidence_ppm: Annotated[int, Meta(ge=500_000, le=999_000)] = 950_000
    resamples: Annotated[int, Meta(ge=100, le=10_000)] = 1_000
    error_of: Literal["comparison", "round"] = "comparison"


ScoringPolicy = ScoreV1 | ScoreV2 | ScoreInterval


class MarginPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a challenger must gain over the king (DOMAIN 4).

    ``start_ppm`` decays linearly to zero over ``decay_blocks`` of the reign; ``None`` keeps it
    fixed. The v1 and v2 formulas multiply the king's score by 1 + margin; the interval rule asks
    the lower bound of the gain over the king to clear log(1 + margin).
    """

    start_ppm: Ppm = 10_000
    decay_blocks: SomeBlocks | None = None


class TrackPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's competition inside an arena; the tracks' emission shares sum to 1,000,000 ppm."""

    model: str
    emission_share_ppm: Ppm = PPM
    emission: EmissionPolicy
    scoring: ScoringPolicy
    margin: MarginPolicy = MarginPolicy()
    gates: GatePolicy = GatePolicy()
    contest: ContestPolicy = ContestPolicy()
    baseline_image: str = ""
    """By digest, by reference, or empty where whoever runs the contest names it."""
    calibration: str = ""
    """``sha256:<hex>`` of the calibration (honest A/A runs by model, GPU and engine) that gates and
    margin were set from; empty where they were not."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rules of an arena from one block on."""

    name: str
    fee: FeePolicy
    weights: WeightPolicy = WeightPolicy()
    treasury: TreasuryPolicy = TreasuryPolicy()
    tracks: dict[str, TrackPolicy]

    def canonical_json(self) -> bytes:
        """The document's one spelling: JSON with fields in order and every default written out.

        A field of :data:`ADDED_LATER` is left out at its default, so that a policy that was
        recorded before the field existed keeps its digest.
        """
        return spelled(self, ADDED_LATER)

    def digest(self) -> str:
        """``sha256:<hex>`` over :meth:`canonical_json`."""
        return "sha256:" + hashlib.sha256(self.canonical_json()).hexdigest()

    def track(self, name: str) -> TrackPolicy:
        """The rules of one track; :class:`PolicyError` names the tracks there are."""
        try:
            return self.tracks[name]
        except KeyError:
            known = ", ".join(sorted(self.tracks))
            msg = f"policy '{self.name}' has no track '{name}'; it has: {known}"
            raise PolicyError(msg) from None


ADDED_LATER: Final[dict[type[msgspec.Struct], frozenset[str]]] = {
    Policy: frozenset({"treasury"}),
    TreasuryPolicy: frozenset({"reserve_ppm", "rental"}),
    TrackPolicy: frozenset({"calibration"}),
    ScoreInterval: frozenset({"error_of"}),
    **contest_policy.ADDED_LATER,
    **gate_policy.ADDED_LATER,
    **rental_policy.ADDED_LATER,
}
"""Fields that policies had not when the first ones were recorded."""


class PolicyFrom(msgspec.Struct, frozen=True):
    """A policy and the first block it is in force at."""

    from_block: int
    policy: Policy


def parse_policy_toml(text: str) -> Policy:
    """Read a policy document; raises :class:`PolicyError` with one sentence if it is impossible."""
    if len(text.encode()) > MAX_POLICY_BYTES:
        msg = f"the policy file is larger than {MAX_POLICY_BYTES} bytes"
        raise PolicyError(msg)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, a number or a nest without end
        msg = f"the policy file is not TOML: {error}"
        raise PolicyError(msg) from error
    try:
        policy = msgspec.convert(document, Policy)
    except msgspec.ValidationError as error:
        msg = f"the policy file does not fit: {error}"
        raise PolicyError(msg) from error
    return checked(policy)


def parse_policy_json(data: str | bytes) -> Policy:
    """Read the canonical JSON an event carries; the same checks as for TOML."""
    try:
        policy = msgspec.json.decode(data, type=Policy)
    except msgspec.DecodeError as error:
        msg = f"the recorded policy does not fit: {error}"
        raise PolicyError(msg) from error
    return checked(policy)


def checked(policy: Policy) -> Policy:
    """The same policy, or :class:`PolicyError` for rules that contradict each other."""
    _check_names(policy)
    if not 1 <= len(policy.tracks) <= MAX_TRACKS:
        count = len(policy.tracks)
        msg = f"policy '{policy.name}' must have 1 to {MAX_TRACKS} tracks, it has {count}"
        raise PolicyError(msg)
    total = sum(track.emission_share_ppm for track in policy.tracks.values())
    if total != PPM:
        msg = (
            f"the emission shares of policy '{policy.name}' sum to {total} ppm; "
            f"they must sum to {PPM}"
        )
        raise PolicyError(msg)
    for name, track in policy.tracks.items():
        _check_contest(name, track)
        _check_interval(name, track)
    treasury = policy.fee.treasury_ss58
    if not treasury:
        msg = f"policy '{policy.name}' names no treasury address"
        raise PolicyError(msg)
    if not is_ss58(treasury):
        msg = (
            f"the treasury of policy '{policy.name}' is no SS58 address of format 42: "
            f"{treasury[:MAX_NAME_CHARS]!r}; fees sent there would be lost"
        )
        raise PolicyError(msg)
    _check_treasurers(policy)
    _check_rental(policy)
    return policy


def _check_rental(policy: Policy) -> None:
    """A tier without a GPU could never be had, and two of one name could not be told apart."""
    tiers = policy.treasury.rental.tiers
    names = [tier.name for tier in tiers]
    if len(tiers) > MAX_TIERS or len(set(names)) != len(names):
        msg = (
            f"policy '{policy.name}' names {len(tiers)} tiers of machines; name up to {MAX_TIERS}, "
            "each once"
        )
        raise PolicyError(msg)
    for tier in tiers:
        if not tier.gpus:
            msg = f"the tier '{tier.name}' of policy '{policy.name}' names no GPU"
            raise PolicyError(msg)


def _check_treasurers(policy: Policy) -> None:
    """One treasurer alone could never get an approval, and a mistyped one never gives any."""
    treasurers = policy.treasury.treasurers
    for address in treasurers:
        if not is_ss58(address):
            msg = (
                f"a treasurer of policy '{policy.name}' is no SS58 address of format 42: "
                f"{address[:MAX_NAME_CHARS]!r}"
            )
            raise PolicyError(msg)
    if len(set(treasurers)) != len(treasurers):
        msg = f"policy '{policy.name}' names a treasurer twice; name each key once"
        raise PolicyError(msg)
    if len(treasurers) == 1 or len(treasurers) > MAX_TREASURERS:
        msg = (
            f"policy '{policy.name}' names {len(treasurers)} treasurers; name 2 to "
            f"{MAX_TREASURERS} keys, or none"
        )
        raise PolicyError(msg)


def _check_names(policy: Policy) -> None:
    """Names stand in logs, tables and addresses: one line, of a bounded length."""
    if not is_one_line(policy.name, MAX_NAME_CHARS):
        msg = f"a policy's name must be 1 to {MAX_NAME_CHARS} printable characters"
        raise PolicyError(msg)
    for name, track in policy.tracks.items():
        if not _TRACK_NAME.fullmatch(name):
            msg = (
                f"{name[:MAX_NAME_CHARS]!r} is no name of a track: 1 to 64 of a-z, 0-9, dot, "
                "underscore and dash, the first a letter or digit"
            )
            raise PolicyError(msg)
        if not is_one_line(track.model, MAX_NAME_CHARS):
            msg = f"the model of track '{name}' must be 1 to {MAX_NAME_CHARS} printable characters"
            raise PolicyError(msg)
        if not _is_image(track.baseline_image):
            msg = (
                f"the baseline_image of track '{name}' must be empty, sha256: and 64 hex digits, "
                f"or an image reference of at most {MAX_IMAGE_CHARS} characters"
            )
            raise PolicyError(msg)


def _is_image(text: str) -> bool:
    """Whether a baseline can be named so; a digest that is cut short is no reference."""
    if not text or _DIGEST.fullmatch(text):
        return True
    return is_one_line(text, MAX_IMAGE_CHARS) and " " not in text and not text.startswith("sha256:")


def _check_contest(name: str, track: TrackPolicy) -> None:
    contest = track.contest
    if contest.repeated_prompts > contest.prompts:
        msg = (
            f"track '{name}' repeats {contest.repeated_prompts} prompts and asks only "
            f"{contest.prompts}; repeat at most as many as are asked"
        )
        raise PolicyError(msg)
    if contest.streams > contest.prompts_per_block:
        msg = (
            f"track '{name}' asks {contest.streams} streams of blocks of "
            f"{contest.prompts_per_block} prompts; raise prompts_per_block to at least the streams"
        )
        raise PolicyError(msg)
    blocks = contest.prompts // contest.prompts_per_block
    if contest.order == "interleaved" and blocks < MIN_INTERLEAVED_BLOCKS:
        msg = (
            f"track '{name}' interleaves {blocks} blocks of prompts; at least "
            f"{MIN_INTERLEAVED_BLOCKS} are needed to see a drift"
        )
        raise PolicyError(msg)
    if contest.start_together and contest.order != "interleaved":
        msg = (
            f"track '{name}' starts servers together in the order {contest.order}, in which they "
            "run one after another; set start_together only with the order interleaved"
        )
        raise PolicyError(msg)
    if track.gates.require_logprobs and not contest.ask_logprobs:
        msg = (
            f"track '{name}' requires logprobs and does not ask for them; set require_logprobs of "
            "its gates to false, or ask_logprobs to true"
        )
        raise PolicyError(msg)
    _check_source(name, contest)
    if track.calibration and not _DIGEST.fullmatch(track.calibration):
        msg = f"the calibration of track '{name}' must be empty, or sha256: and 64 hex digits"
        raise PolicyError(msg)


def _check_source(name: str, contest: ContestPolicy) -> None:
    """A source that could be another text tomorrow would make the same seed other prompts."""
    match contest.source:
        case JsonlFile(digest=digest) if not _DIGEST.fullmatch(digest):
            msg = f"the prompts' file of track '{name}' must be named by sha256: and 64 hex digits"
        case HuggingFaceDataset(revision=revision) if not _REVISION.fullmatch(revision):
            msg = (
                f"the prompts' dataset of track '{name}' must be named at a revision of 40 hex "
                "digits; a branch can move"
            )
        case JsonlFile() | HuggingFaceDataset() if not is_one_line(
            contest.source.field, MAX_NAME_CHARS
        ):
            msg = f"the prompts' field of track '{name}' must be 1 to {MAX_NAME_CHARS} characters"
        case _:
            return
    raise PolicyError(msg)


def _check_interval(name: str, track: TrackPolicy) -> None:
    """An interval over too few blocks never clears anything: such a throne could not be won."""
    if not isinstance(track.scoring, ScoreInterval):
        return
    blocks = track.contest.prompts // track.contest.prompts_per_block
    shared = track.scoring.error_of == "round"
    needed = fewest_blocks(track.scoring.confidence_ppm, MAX_COMPARISONS if shared else 1)
    if blocks < needed:
        of_whom = f" for a round of up to {MAX_COMPARISONS} challengers" if shared else ""
        msg = (
            f"track '{name}' measures {blocks} blocks of prompts, and an interval at "
            f"{track.scoring.confidence_ppm} ppm{of_whom} needs at least {needed}; "
            "ask more prompts"
        )
        raise PolicyError(msg)


def policy_at(timeline: Sequence[PolicyFrom], block: int) -> Policy:
    """The policy in force at ``block``: the latest adopted one whose first block is not after it.

    ``timeline`` is in the order of adoption; of two that start at the same block the later
    adoption counts. Raises :class:`PolicyError` before the first one.
    """
    in_force = [entry for entry in timeline if entry.from_block <= block]
    if not in_force:
        msg = f"no policy was in force at block {block}"
        raise PolicyError(msg)
    start = max(entry.from_block for entry in in_force)
    return [entry for entry in in_force if entry.from_block == start][-1].policy
