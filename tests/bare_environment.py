"""An environment with what ``make wheels`` would install, and nothing else: no network needed.

The libraries are this environment's own, linked one by one by the list that the wheels are brought
by; the program is the wheel itself, unpacked.
"""

from __future__ import annotations

import io
import os
import subprocess
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from evaluation.pods.program import this_program
from wheels.pins import contest_pins
from wheels.target import Target, this_python

_COMMAND = "from api.cli.main import main; main()"
_SCRIPT = """\
#!{python}
import sys
from api.cli.main import main
sys.exit(main())
"""


class BareEnvironment(NamedTuple):
    """The folder it lies in."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(self, code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Python code there, with nothing of our environment's."""
        return subprocess.run(  # noqa: S603
            [str(self.python), "-P", "-c", code, *words],
            cwd=cwd,
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )

    def command(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """``cacheon-ledger`` there."""
        return self.run(_COMMAND, *words, cwd=cwd)


def bare_environment(folder: Path) -> BareEnvironment:
    """Make it in ``folder``."""
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for pin in contest_pins(Target(this_python()).environment()):
        library = metadata.distribution(pin.name)
        assert library.version == pin.version, f"{pin.name} is not the lock's: run 'make setup'"
        for name in {file.parts[0] for file in library.files or ()} - {"..", "__pycache__"}:
            (site / name).symlink_to(str(library.locate_file(name)))
    with zipfile.ZipFile(io.BytesIO(this_program().wheel)) as wheel:
        wheel.extractall(site)
    bare = BareEnvironment(folder)
    script = folder / "bin" / "cacheon-ledger"
    script.write_text(_SCRIPT.format(python=bare.python), encoding="utf-8")
    script.chmod(0o755)
    return bare
