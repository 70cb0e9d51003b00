"""Which differences between two images count: those that make another server."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from evaluation.runners.docker.fingerprint import ENGINES_PATH, fingerprint_of, what_matters
from evaluation.runners.port import ImageRefusedError
from ledger.codes import DisqualificationCode
from tests.engine.images import Rootfs

START: dict[str, Any] = {"Entrypoint": ["/server"], "Cmd": None, "Env": ["A=1"], "User": ""}


def root(**files: str) -> Rootfs:
    made = Rootfs()
    made.file("/server", "the program", mode=0o755)
    made.file("/lib/engine.py", "import fast")
    made.link("/bin/python", "/usr/bin/python3")
    for path, content in files.items():
        made.file("/" + path, content)
    return made


def of(made: Rootfs, start: Mapping[str, Any] = START) -> str:
    return fingerprint_of(io.BytesIO(made.tar()), dict(start))


ORIGINAL = of(root())


@pytest.mark.parametrize(
    "path",
    [
        ".dockerenv",
        "etc/hostname",
        "etc/resolv.conf",
        "dev/console",
        "proc/cpuinfo",
        "tmp/left-over",
        "models/own-weights",
        "var/log/dpkg.log",
        "var/cache/ldconfig/aux-cache",
        "var/lib/apt/lists/index",
        "lib/__pycache__/engine.cpython-311.pyc",
    ],
)
def test_what_no_server_is_made_of_does_not_count(path: str) -> None:
    assert of(root(**{path: "anything"})) == ORIGINAL


@pytest.mark.parametrize(
    "path", ["lib/engine2.py", "root/.cache/kernel.so", "lib/__pycache__/other.cpython-311.pyc"]
)
def test_what_a_server_may_be_made_of_counts(path: str) -> None:
    assert of(root(**{path: "anything"})) != ORIGINAL


def test_times_and_modes_do_not_count_but_content_and_place_do() -> None:
    touched = root()
    touched.file("/server", "the program", mode=0o700, mtime=1_700_000_000)
    touched.folder("/empty")
    assert of(touched) == ORIGINAL
    changed, moved, linked, copied = root(), root(), root(), root()
    changed.file("/server", "the program!")
    moved.file("/server2", "the program")
    linked.link("/bin/python", "/usr/bin/python4")
    copied.file("/bin/python", "/usr/bin/python3")
    found = [ORIGINAL, *map(of, (changed, moved, linked, copied))]
    assert len(set(found)) == len(found)


def test_how_it_is_started_counts() -> None:
    other = [
        {**START, "Entrypoint": ["/server", "--fast"]},
        {**START, "Cmd": ["--fast"]},
        {**START, "Env": ["A=2"]},
        {**START, "User": "nobody"},
        {**START, "WorkingDir": "/lib"},
    ]
    assert len({ORIGINAL, *(of(root(), start) for start in other)}) == 6
    same = [
        {**START, "Env": ["A=1", ENGINES_PATH]},
        {**START, "Cmd": [], "Labels": {"by": "a-thief"}, "ExposedPorts": {"1/tcp": {}}},
    ]
    assert {of(root(), start) for start in same} == {ORIGINAL}


def test_the_order_of_the_files_and_of_the_variables_does_not_count() -> None:
    assert list(what_matters(["b", "a"])) != []
    both = {**START, "Env": ["B=1", "A=1"]}
    assert of(root(), both) == of(root(), {**START, "Env": ["A=1", "B=1"]})


def test_an_image_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(fileobj=io.BytesIO(root().tar())) as archive:
        members = len(archive.getmembers())
    limit = "evaluation.runners.docker.fingerprint.MAX_MEMBERS"
    monkeypatch.setattr(limit, members)
    assert of(root()) == ORIGINAL
    monkeypatch.setattr(limit, members - 1)
    with pytest.raises(ImageRefusedError, match="more than") as raised:
        of(root())
    assert raised.value.code is DisqualificationCode.IMAGE_TOO_LARGE


def test_the_files_of_an_image_are_not_kept_beside_their_digests() -> None:
    many = Rootfs()
    for number in range(5_000):
        many.file(f"/{number}", "")
    made = io.BytesIO(many.tar())
    tracemalloc.start()
    try:
        fingerprint_of(made, dict(START))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most / 5_000 < 700, "a tar member alone is larger than this"
