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
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from benchmarks.gpu.summary import What
from ledger.codes import DisqualificationCode

CATALOGUE: Final = "bundles.toml"


class CatalogueError(ValueError):
    """A catalogue that does not fit its folder; the message says what to write into it."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bundle; see the module."""

    what: What
    about: str
    engine: str
    names: dict[str, str] = {}
    codes: dict[str, DisqualificationCode] = {}


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
