"""The machine that wheels are for: its Python, and where it is not this one its platform."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from packaging.markers import default_environment

_PYTHON: Final = re.compile(r"3\.([0-9]{1,2})")
_MANYLINUX: Final = re.compile(r"manylinux_2_([0-9]{1,2})_([a-z0-9_]{1,32})")
OLDEST_GLIBC: Final = 17
"""Of the manylinux wheels that are made at all today (PEP 599); those fit every later one."""
OLDEST_PYTHON: Final = 11


class TargetError(ValueError):
    """Words that name no machine which wheels can be chosen for; one sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """``python`` is a version as '3.12'; ``platform`` a manylinux platform, None for this one."""

    python: str
    platform: str | None = None

    def __post_init__(self) -> None:
        """Raises :class:`TargetError`."""
        python = _PYTHON.fullmatch(self.python)
        if python is None or int(python[1]) < OLDEST_PYTHON:
            msg = f"{self.python[:32]!r} is no version of Python from 3.11 on; name one as 3.12"
            raise TargetError(msg)
        if self.platform is None:
            if self.python != this_python():
                msg = (
                    f"wheels for Python {self.python} are chosen by a platform too, for this "
                    f"Python is {this_python()}; name one, as manylinux_2_28_x86_64"
                )
                raise TargetError(msg)
            return
        found = _MANYLINUX.fullmatch(self.platform)
        if found is None or int(found[1]) < OLDEST_GLIBC:
            msg = (
                f"{self.platform[:64]!r} is no platform that wheels are chosen for; name one from "
                f"manylinux_2_{OLDEST_GLIBC} on, as manylinux_2_28_x86_64"
            )
            raise TargetError(msg)

    def environment(self) -> dict[str, str]:
        """What the markers of a requirement are asked against (PEP 508)."""
        here = {name: str(value) for name, value in default_environment().items()}
        if self.platform is None:
            return here
        return here | {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self._machine(),
        }

    def choosing(self) -> Sequence[str]:
        """The options by which pip chooses wheels for it; none for this Python on this machine."""
        if self.platform is None:
            return ()
        # pip takes a wheel of exactly the platforms named, so all that fit are.
        newest, machine = self.platform.split("_")[2], self._machine()
        platforms = [
            f"manylinux_2_{glibc}_{machine}" for glibc in range(int(newest), OLDEST_GLIBC - 1, -1)
        ]
        platforms.append(f"manylinux2014_{machine}")
        return (
            *("--python-version", self.python, "--implementation", "cp"),
            *(word for platform in platforms for word in ("--platform", platform)),
        )

    def __str__(self) -> str:
        """In words."""
        return f"CPython {self.python} on {self.platform or 'the platform that made them'}"

    def _machine(self) -> str:
        found = _MANYLINUX.fullmatch(self.platform or "")
        return found[2] if found else ""


def this_python() -> str:
    """The version that runs this, as '3.12'."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
