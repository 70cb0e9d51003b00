"""This very program as a wheel, made of what is imported here, and the versions it runs with here.

A checkout and an installed package are both folders of packages with a list of what they need, so
both are packed in the same way, without a build tool. The same content gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import re
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

PROJECT: Final = "cacheon-ledger"
PACKAGES: Final = ("ledger", "evaluation", "chain", "api", "migrations")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT: Final = frozenset({"__pycache__"})
_WHEEL: Final = (
    "Wheel-Version: 1.0\nGenerator: cacheon-ledger\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)


class Program(NamedTuple):
    """``wheel`` under its ``name``; ``constraints`` pins every library that may be needed to the
    version that runs here, one ``name==version`` a line; ``digest`` is over both, in hex."""

    name: str
    wheel: bytes
    constraints: bytes
    digest: str


def this_program() -> Program:
    """Pack it. Raises ``PackageNotFoundError`` where it is not installed, not even as editable."""
    distribution = metadata.distribution(PROJECT)
    stem = f"{PROJECT.replace('-', '_')}-{distribution.version}"
    info = f"{stem}.dist-info"
    members = dict(_files())
    for name in ("METADATA", "entry_points.txt"):
        text = distribution.read_text(name)
        if text is None:
            msg = f"the installed {PROJECT} has no {name}; install it again"
            raise FileNotFoundError(msg)
        members[f"{info}/{name}"] = text.encode()
    members[f"{info}/WHEEL"] = _WHEEL.encode()
    record = "".join(
        f"{name},sha256={_hashed(content)},{len(content)}\n"
        for name, content in sorted(members.items())
    )
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel, constraints = _zipped(members), _constraints()
    digest = hashlib.sha256(hashlib.sha256(wheel).digest() + constraints).hexdigest()
    return Program(f"{stem}-py3-none-any.whl", wheel, constraints, digest)


def _files() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            msg = f"the package '{package}' of this program cannot be found; install it again"
            raise FileNotFoundError(msg)
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not _LEFT_OUT.intersection(inside.parts):
                yield f"{package}/{inside.as_posix()}", path.read_bytes()


def _constraints() -> bytes:
    """Of every library installed here but those whose version no index has."""
    pins = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and version and "+" not in version:
            pins[re.sub(r"[-_.]+", "-", name).lower()] = version
    pins.pop(PROJECT, None)
    return "".join(f"{name}=={version}\n" for name, version in sorted(pins.items())).encode()


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name, date_time=_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def _hashed(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
