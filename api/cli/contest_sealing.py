"""The file that `contest run` seals a contest into: tried before the contest, written after it."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from api.errors import InputFileError

if TYPE_CHECKING:
    from evaluation.bundle import Signer
    from evaluation.evidence import Evidence


def check_writable(out: Path) -> None:
    """Raise :class:`InputFileError` where nothing can be written beside ``out``.

    Hours of a machine may come between this and :func:`seal`.
    """
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        msg = f"'{out}' cannot be written: {error.strerror}; name a file in a folder you may write"
        raise InputFileError(msg) from error


def kept_until(stack: ExitStack) -> str:
    """A new folder for evidence, which is gone when ``stack`` is closed."""
    folder = tempfile.mkdtemp(prefix="contest-")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def seal(out: Path, store: Evidence, manifest_digest: str, sign: Signer | None) -> str | None:
    """Write the bundle; gives why it could not be written, None where it was.

    The contest is over by then, so that its report must not be lost with the file.
    """
    from evaluation.bundle import BundleError, write_bundle
    from evaluation.evidence import EvidenceError

    try:
        write_bundle(out, store, manifest_digest, sign=sign)
    except OSError as error:
        return f"the contest could not be sealed into '{out}': {error.strerror or error}"
    except (BundleError, EvidenceError) as error:
        return f"the contest could not be sealed into '{out}': {error}"
    return None
