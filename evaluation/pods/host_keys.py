"""The key by which a machine is known again: trusted when it is first seen, pinned from then on.

A rented machine's key is made when it boots and nobody tells us which it is. So the first answer is
believed, and every later one must be the same machine's for as long as the rental lives.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from evaluation.pods.faults import HostError, HostKeyChangedError

ALIAS: Final = "rented-machine"
"""The name under which the key stands in its file: addresses may change, a machine may not."""
MAX_PIN_BYTES: Final = 16_384


class Pin:
    """One machine's key, in a file of its own in the form of ssh's ``known_hosts``."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def is_set(self) -> bool:
        """Whether a machine was seen already."""
        return self.file.exists()

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` as ``ssh-keygen -l`` shows it; raises :class:`HostError` where none is."""
        return _fingerprint(self.file)

    def forget(self) -> None:
        """The rental is over."""
        self.file.unlink(missing_ok=True)

    @contextmanager
    def first(self, expected: str | None = None) -> Iterator[Path]:
        """A file for ssh to write the key into that it meets; it is pinned when nothing is raised.

        Raises :class:`HostKeyChangedError` where it is not the ``expected`` fingerprint, or where
        another call has pinned another key meanwhile.
        """
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".first-", dir=self.file.parent) as folder:
            seen = Path(folder) / "known_hosts"
            yield seen
            fingerprint = _fingerprint(seen)
            if expected is not None and fingerprint != expected:
                msg = (
                    f"the machine has the key {fingerprint}, not {expected}; it is not the one you "
                    "mean, or its provider's page shows another key"
                )
                raise HostKeyChangedError(msg)
            try:
                os.link(seen, self.file)
            except FileExistsError:
                if fingerprint != self.fingerprint:
                    msg = f"two machines answered at once: {fingerprint} and {self.fingerprint}"
                    raise HostKeyChangedError(msg) from None


def _fingerprint(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            words = opened.read(MAX_PIN_BYTES).split()
        blob = base64.b64decode(words[2], validate=True)
    except OSError as error:
        msg = f"the pinned host key '{file}' cannot be read: {error.strerror}"
        raise HostError(msg) from error
    except (IndexError, binascii.Error) as error:
        msg = f"'{file}' holds no host key; delete it to trust the machine anew"
        raise HostError(msg) from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
