"""What the campaign leaves beside its bundles: ``price.json`` and ``references.json``.

Both are figures of servers that no contest was between, so no bundle holds them and nothing judges
them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean, stdev
from typing import Final

import msgspec

from benchmarks.gpu.summary import DATA
from evaluation.entrant import ForcedAnswer
from evaluation.forcing import ForcedToken
from ledger.units import PPM

PRICE, REFERENCES = "price.json", "references.json"
_MILLI: Final = 1_000
_US: Final = 1_000_000


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One block of the price: whether it asked for logprobs, its time, tokens and bytes."""

    ask_logprobs: bool
    wall_us: int
    tokens: int
    payload_bytes: int


class Forced(msgspec.Struct, frozen=True, kw_only=True):
    """One arm's answers under one reference, twice, as the campaign writes them."""

    reference: str
    arm: str
    once: tuple[ForcedAnswer, ...]
    twice: tuple[ForcedAnswer, ...]


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """The blocks of one run. The ratio is time a token with logprobs over without."""

    name: str
    blocks: tuple[Asked, ...]

    def rate(self, *, ask_logprobs: bool) -> float | None:
        """Tokens a second over all blocks of the one kind; None without any."""
        own = [one for one in self.blocks if one.ask_logprobs is ask_logprobs]
        wall_us = sum(one.wall_us for one in own)
        return sum(one.tokens for one in own) * _US / wall_us if wall_us else None

    def ratio(self) -> tuple[float, float | None] | None:
        """The ratio of the geometric means, and its standard error; None where a side lacks."""
        sides = [
            [
                log(one.wall_us / one.tokens)
                for one in self.blocks
                if one.ask_logprobs is asked and one.tokens
            ]
            for asked in (True, False)
        ]
        if not all(sides):
            return None
        ratio = exp(fmean(sides[0]) - fmean(sides[1]))
        if min(map(len, sides)) < 2:
            return ratio, None
        error = sum(stdev(side) ** 2 / len(side) for side in sides) ** 0.5
        return ratio, ratio * error


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """One arm's answers under one reference, in sums.

    ``apart_micro`` is the mean distance of its tokens' logprobs from those of the first reference,
    in millionths of a nat; ``unlike_twice`` how many tokens it scored otherwise the second time.
    """

    reference: str
    arm: str
    tokens: int
    top1_ppm: int
    mean_margin_micro: int
    p99_margin_milli: int
    apart_micro: int | None
    unlike_twice: int


class References(msgspec.Struct, frozen=True, kw_only=True):
    """The references of one run."""

    name: str
    rows: tuple[Reference, ...]


def keep_beside(name: str, found: Path, folder: Path = DATA) -> list[Path]:
    """Keep what lies beside the bundles of the folder ``found``; the files that were written."""
    written = []
    if (found / PRICE).exists():
        blocks = msgspec.json.decode((found / PRICE).read_bytes(), type=tuple[Asked, ...])
        written.append(_keep(folder / f"price-{name}.json", Price(name=name, blocks=blocks)))
    if (found / REFERENCES).exists():
        forced = msgspec.json.decode((found / REFERENCES).read_bytes(), type=list[Forced])
        rows = references_of(forced)
        path = folder / f"references-{name}.json"
        written.append(_keep(path, References(name=name, rows=rows)))
    return written


def _keep(path: Path, found: Price | References) -> Path:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    return path


def read_prices(folder: Path = DATA) -> list[Price]:
    """Every price that was measured, by name."""
    return [
        msgspec.json.decode(path.read_bytes(), type=Price)
        for path in sorted(folder.glob("price-*.json"))
    ]


def read_references(folder: Path = DATA) -> list[References]:
    """Every run of references, by name."""
    return [
        msgspec.json.decode(path.read_bytes(), type=References)
        for path in sorted(folder.glob("references-*.json"))
    ]


def references_of(forced: Sequence[Forced]) -> tuple[Reference, ...]:
    """The figures of each; the first reference of an arm is what its others are held against."""
    first: dict[str, list[ForcedToken | None]] = {}
    rows = []
    for one in forced:
        once, twice = _tokens(one.once), _tokens(one.twice)
        held = first.setdefault(one.arm, once)
        known = sorted(token.margin_milli for token in once if token is not None)
        if not known:
            continue
        apart = [
            abs(own.logprob_milli - other.logprob_milli)
            for own, other in zip(once, held, strict=True)
            if own is not None
            and other is not None
            and own.logprob_milli is not None
            and other.logprob_milli is not None
        ]
        rows.append(
            Reference(
                reference=one.reference,
                arm=one.arm,
                tokens=len(known),
                top1_ppm=sum(token.is_first_choice for token in once if token is not None)
                * PPM
                // len(known),
                mean_margin_micro=sum(known) * _MILLI // len(known),
                p99_margin_milli=known[-(-99 * len(known) // 100) - 1],
                apart_micro=sum(apart) * _MILLI // len(apart) if apart else None,
                unlike_twice=sum(a != b for a, b in zip(once, twice, strict=True)),
            )
        )
    return tuple(rows)


def _tokens(forced: Sequence[ForcedAnswer]) -> list[ForcedToken | None]:
    return [token for answer in forced for token in answer.tokens]
