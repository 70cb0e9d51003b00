"""The reference server as a container image: this interpreter, numpy, msgspec and our own code.

reference_image(engine, "kv_cache")                    # an ImageRef, pushed and not here
reference_image(engine, "flush", wait_ms=5)
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import msgspec
import numpy

import evaluation
from evaluation.images import ImageRef
from evaluation.reference.image import reference_image_kinds
from tests.engine.engine import Engine
from tests.engine.images import Rootfs, build_image, import_image, push_image

PACKAGES = "/usr/lib/server"
CONFIG = "/server.json"
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
# Of the standard library and numpy, what no server needs and only makes the image larger.
_LEFT_OUT = re.compile(
    r"__pycache__|tests?|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data|distutils"
    r"|site-packages|dist-packages|config-.*|_pyinstaller|.*\.(pyi|pyx|pxd|a|h)"
    r"|(_tkinter|_sqlite3|_curses.*|readline|nis|_gdbm|_dbm|_test.*|_ctypes_test|xx.*"
    r"|_multiarray_tests|_umath_tests|_rational_tests|_struct_ufunc_tests|_operand_flag_tests)\..*"
)


def reference_image(engine: Engine, kind: str, **parameters: object) -> ImageRef:
    """An image of a kind of :mod:`evaluation.reference.config`, pulled from the local registry."""
    config = msgspec.json.encode(reference_image_kinds()[kind].config(**parameters))
    entrypoint = [
        *(_interpreter(), "-B", "-m", "evaluation.reference.server"),
        *("--config", CONFIG, "--host", "0.0.0.0", "--port", "8000"),  # noqa: S104
    ]
    name = f"reference/{kind}"
    build_image(
        engine,
        name,
        {"server.json": config},
        f"""
        FROM {_base(engine)}
        ENV PYTHONPATH={PACKAGES} PYTHONUNBUFFERED=1
        COPY server.json {CONFIG}
        ENTRYPOINT {json.dumps(entrypoint)}
        """,
    )
    return push_image(engine, name)


@functools.cache
def _base(engine: Engine) -> str:
    """What all kinds share, imported once."""
    return import_image(engine, "reference/base", rootfs(), entrypoint=["/none"])


def _interpreter() -> str:
    return str(Path(sys.executable).resolve())


def rootfs() -> bytes:
    """All that the server needs but its configuration, as a tar file."""
    root = Rootfs()
    interpreter = Path(_interpreter())
    stdlib = Path(sysconfig.get_path("stdlib"))
    programs = [interpreter]
    root.copy(interpreter, str(interpreter))
    for path in _files(stdlib):
        root.copy(path, str(path))
        programs += [path] if ".so" in path.suffixes else []
    for package in (Path(numpy.__file__).parent, Path(msgspec.__file__).parent):
        for folder in (package, package.parent / f"{package.name}.libs"):
            for path in _files(folder):
                root.copy(path, f"{PACKAGES}/{path.relative_to(package.parent)}")
                programs += [path] if ".so" in path.suffixes else []
    ours = Path(evaluation.__file__).parents[1]
    for path in (ours / "evaluation/__init__.py", *_files(ours / "evaluation/reference")):
        root.copy(path, f"{PACKAGES}/{path.relative_to(ours)}")
    for path in sorted((ours / "ledger").glob("*.py")):
        root.copy(path, f"{PACKAGES}/{path.relative_to(ours)}")
    for library in sorted(_libraries(programs)):
        root.copy(Path(library), library)
    root.folder("/tmp", mode=0o1777)  # noqa: S108
    return root.tar()


def _files(folder: Path) -> list[Path]:
    """All files below, in order, but for what is left out; folders left out are not entered."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _LEFT_OUT.fullmatch(entry.name):
            found += _files(entry) if entry.is_dir() else [entry]
    return found


def _libraries(programs: list[Path]) -> set[str]:
    """What the loader would load for them, except what comes along with a package."""
    said = subprocess.run(  # noqa: S603
        ["ldd", *map(str, programs)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,  # of a file that is not dynamic it says so and fails
    )
    found = set(_LIBRARY.findall(said.stdout))
    return {path for path in found if "site-packages" not in path and "/.venv/" not in path}
