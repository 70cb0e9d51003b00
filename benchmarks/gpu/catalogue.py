"""What each bundle of a folder is: ``bundles.toml`` beside them, written by whoever made them.

A table for every bundle, by the name of its file without ``.zip``; plain words, no dots in names::

    [aa-restarts]
    what = "aa"                      # or honest, cheats, evidence, reference, parallel, rounds
    about = "the default launch against itself, a start for every block"
    engine = "vLLM 0.25.1"

    [cheats-weights]
    what = "cheats"
    about = "weights of lower precision, and another seed's"
    engine = "vLLM 0.25.1"
    names = { entrant-1 = "fp8 weights", entrant-2 = "another seed's weights" }
    codes = { entrant-1 = "quantised", entrant-2 = "other_weights" }

``names`` says what each arm is, ``codes`` what an entrant must be refused with; an entrant without
one has to be scored. The model, the plan, the GPUs and everything measured come from the bundle.
``image`` digests of launches name nothing to a reader, which is why names are asked for.
An A/A bundle calibrates gates by all of its entrants; ``calibrates`` names those of another bundle
that ran the same launch, or with ``[]`` none of an A/A whose figures are not to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

import msgspec

from benchmarks.gpu.settings import Arm, Engines, Kind
from benchmarks.gpu.summary import What
from evaluation.bundle import read_bundle
from evaluation.plan import PlannedEntrant
from ledger.codes import DisqualificationCode

CATALOGUE: Final = "bundles.toml"
_STARTS: Final[dict[str, What]] = {
    "aa": "aa",
    "cheats": "cheats",
    "proxies": "cheats",
    "hill": "rounds",
    "tp": "parallel",
}
"""What the names of the campaign's bundles begin with; all others are honest settings."""
_ANY_PORT: Final = 1
_GIVEN: Final = ("entrant-", "king", "runner-up")
"""What the ids of entrants begin with in contests by hand; a ledger gives UUIDs."""


class CatalogueError(ValueError):
    """A catalogue that does not fit its folder; the message says what to write into it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bundle; see the module."""

    what: What
    about: str
    engine: str
    names: dict[str, str] = {}
    codes: dict[str, DisqualificationCode] = {}
    calibrates: tuple[str, ...] | None = None

    @property
    def may_calibrate(self) -> bool:
        """Whether a calibration follows from any entrant of the bundle."""
        return self.what == "aa" if self.calibrates is None else bool(self.calibrates)

    def calibrating(self, entrants: Sequence[str]) -> tuple[str, ...]:
        """Those of the bundle's entrants from which a calibration follows; raises
        :class:`CatalogueError` for one that the bundle does not have."""
        if self.calibrates is None:
            return tuple(entrants) if self.may_calibrate else ()
        missing = sorted(set(self.calibrates) - set(entrants))
        if missing:
            msg = (
                f"{CATALOGUE} lets {missing[0]} calibrate, which the bundle does not have; it has "
                f"{', '.join(entrants)}"
            )
            raise CatalogueError(msg)
        return tuple(one for one in entrants if one in self.calibrates)


def read_catalogue(folder: Path) -> dict[str, Entry]:
    """The bundles of a folder by name, in the order of their names.

    Raises :class:`CatalogueError` where a bundle has no entry or an entry no bundle.
    """
    path = folder / CATALOGUE
    try:
        entries = msgspec.toml.decode(path.read_bytes(), type=dict[str, Entry])
    except FileNotFoundError as error:
        msg = f"{folder.name} has no {CATALOGUE}; write one that says what each bundle is"
        raise CatalogueError(msg) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"{CATALOGUE} cannot be read: {error}"
        raise CatalogueError(msg) from error
    held = {one.stem for one in folder.glob("*.zip")}
    for name in sorted(held - set(entries)):
        msg = f"{CATALOGUE} does not say what {name}.zip is; add a table [{name}]"
        raise CatalogueError(msg)
    for name in sorted(set(entries) - held):
        msg = f"{CATALOGUE} names {name}, and there is no {name}.zip beside it"
        raise CatalogueError(msg)
    return dict(sorted(entries.items()))


def write_catalogue(folder: Path) -> Path:
    """Write a catalogue that knows the bundles' entrants, to be mended and filled in.

    What a bundle is for is guessed from its name, as the campaign gives it, and so are the names
    and codes of arms where all of a step's arms took part. Of other bundles the codes that entrants
    got are written as those they must get, for whoever reads it to take out where one was honest.
    Raises :class:`CatalogueError` where there is one already, and
    :class:`~evaluation.bundle.BundleError` for a bundle that is not true.
    """
    path = folder / CATALOGUE
    if path.exists():
        msg = f"{folder.name} has a {CATALOGUE} already; it is not written over"
        raise CatalogueError(msg)
    entries = {}
    for one in sorted(folder.glob("*.zip")):
        bundle = read_bundle(one)
        planned = bundle.manifest.plan.entrants
        ids = [entrant.entrant_id for entrant in planned]
        codes = {
            verdict.entrant_id: verdict.code
            for verdict in bundle.rejudged.verdicts
            if verdict.status == "disqualified"
        }
        names = {one.entrant_id: _called(one) for one in planned}
        arms = _arms_of(one.stem, len(ids))
        if arms is not None:
            named = list(zip(ids, arms, strict=True))
            names = {entrant: arm.name for entrant, arm in named}
            codes = {entrant: arm.expected for entrant, arm in named if arm.expected}
        entries[one.stem] = {
            "what": _guessed(one.stem),
            "about": "",
            "engine": "",
            "names": names,
            "codes": codes,
        }
    path.write_text("".join(_table(name, entry) for name, entry in entries.items()), "utf-8")
    return path


def _arms_of(step: str, entrants: int) -> Sequence[Arm] | None:
    """The arms of a step of the campaign, if it has as many under one kind of engine."""
    for kind in get_args(Kind):
        engines = Engines(kind, {})
        arms = {
            "honest": engines.honest(),
            "transformers": engines.without_logprobs(),
            "cheats": engines.coarse(),
            "proxies": engines.proxied(_ANY_PORT),
        }.get(step)
        if arms is not None and len(arms) == entrants:
            return arms
    return None


def _called(entrant: PlannedEntrant) -> str:
    """Its own id where a person gave it one, else its role and the start of its image's digest."""
    if entrant.entrant_id.startswith(_GIVEN):
        return entrant.entrant_id
    return f"{entrant.role.replace('_', '-')} {entrant.image.digest[7:15]}"


def _guessed(name: str) -> What:
    for start, what in _STARTS.items():
        if name.startswith(start):
            return what
    return "honest"


def _table(name: str, entry: Mapping[str, object]) -> str:
    """TOML by hand: strings and flat tables of strings, none of which needs an escape."""
    lines = [f"[{name}]"]
    for key, value in entry.items():
        if isinstance(value, Mapping):
            inner = ", ".join(f'{one} = "{text}"' for one, text in value.items())
            lines.append(f"{key} = {{ {inner} }}" if inner else f"{key} = {{}}")
        else:
            lines.append(f'{key} = "{value}"')
    return "\n".join(lines) + "\n\n"
