"""Which wheels a contest needs elsewhere: by the project's dependencies, at the lock's versions."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from wheels import folder as folder_module
from wheels import pins as pins_module
from wheels.folder import INSTALL, LIST, WheelsError, fill
from wheels.pins import LEFT_OUT, ROOT, Pin, PinsError, contest_pins
from wheels.target import Target, TargetError, this_python

HERE = Target(this_python())
OTHER = Target("3.12", "manylinux_2_28_x86_64")
NEVER = {"sqlalchemy", "eventsourcing", "alembic", "bittensor", "substrate-interface", "docker"}


def test_every_library_has_the_version_and_the_digests_of_the_lock() -> None:
    locked = {
        (package["name"], package["version"]): {
            file["hash"] for file in (*package.get("wheels", ()), package.get("sdist", {})) if file
        }
        for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
        if "registry" in package["source"]
    }
    pins = contest_pins(HERE.environment())
    for pin in pins:
        assert set(pin.hashes) == locked[pin.name, pin.version], pin.name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [pin.name for pin in pins]
    assert len(set(names)) == len(names)
    assert {Requirement(one).name for one in project["dependencies"]} <= set(names)
    assert not (NEVER | set(LEFT_OUT) | {"psycopg", "fastapi", "uvicorn"}).intersection(names)


def test_another_machine_has_the_libraries_that_are_meant_for_it() -> None:
    pins = {pin.name: pin.version for pin in contest_pins(OTHER.environment())}
    eleven = Target("3.11", "manylinux_2_28_x86_64")
    older = {pin.name: pin.version for pin in contest_pins(eleven.environment())}
    assert "colorama" not in pins  # of Windows
    # The newest numpy left Python 3.11 behind, so the lock has two of them.
    assert pins["numpy"] != older["numpy"]


def test_pip_is_told_every_platform_whose_wheels_fit() -> None:
    words = list(Target("3.12", "manylinux_2_18_aarch64").choosing())
    assert words == [
        *("--python-version", "3.12", "--implementation", "cp"),
        *("--platform", "manylinux_2_18_aarch64", "--platform", "manylinux_2_17_aarch64"),
        *("--platform", "manylinux2014_aarch64"),
    ]
    assert list(HERE.choosing()) == []


@pytest.mark.parametrize(
    ("python", "platform", "told"),
    [
        ("3.10", None, "no version of Python from 3.11 on"),
        ("3", None, "no version of Python"),
        ("3.12.1", "manylinux_2_28_x86_64", "no version of Python"),
        ("3.99", None, "name one, as manylinux_2_28_x86_64"),
        ("3.12", "win_amd64", "no platform"),
        ("3.12", "manylinux_2_16_x86_64", "from manylinux_2_17 on"),
    ],
)
def test_words_that_name_no_machine_are_refused(
    python: str, platform: str | None, told: str
) -> None:
    with pytest.raises(TargetError, match=told):
        Target(python, platform)


def test_the_command_says_what_is_wrong_with_its_words(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "wheels", "--out", str(tmp_path / "w"), "--python", "2.7"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert "'2.7' is no version of Python" in done.stderr
    assert not (tmp_path / "w").exists()


def test_a_lock_file_of_another_project_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\nversion = "1"\n')
    monkeypatch.setattr(pins_module, "ROOT", tmp_path)
    with pytest.raises(PinsError, match="could not read the lock file"):
        contest_pins(HERE.environment())


def test_a_wheel_that_is_not_the_locks_is_refused_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip itself, with a folder of wheels in place of an index."""
    index, made = tmp_path / "index", tmp_path / "made"
    index.mkdir()
    made.mkdir()
    for kept in ("kept.whl", LIST):
        (made / kept).touch()
    name = _wheel_of(index)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def pinned(digest: str) -> None:
        def pins(environment: Mapping[str, str]) -> list[Pin]:
            return [Pin("small", "1.0", (f"sha256:{digest}",))]

        monkeypatch.setattr(folder_module, "contest_pins", pins)

    pinned("0" * 64)
    with pytest.raises(WheelsError, match="could not bring the wheels"):
        fill(made, HERE)
    assert {path.name for path in made.iterdir()} == {"kept.whl", LIST}
    assert [path.name for path in tmp_path.glob(".wheels-*")] == []

    pinned(folder_module.digest_of(index / name))
    wheels = fill(made, HERE)
    assert sorted(path.name for path in made.iterdir()) == sorted(
        [INSTALL, LIST, *(path.name for path in wheels)]
    )
    listed = (made / LIST).read_text(encoding="utf-8")
    assert f"small==1.0 --hash=sha256:{folder_module.digest_of(index / name)}\n" in listed
    assert "cacheon-ledger==" in listed
    assert f"-r {LIST}" in (made / INSTALL).read_text(encoding="utf-8")

    monkeypatch.delenv("PIP_FIND_LINKS")
    # The list alone installs all of it, with no index; and a changed wheel is refused.
    assert _installed(made, tmp_path / "there") == (0, "")
    assert (tmp_path / "there" / "small.py").is_file()
    assert (tmp_path / "there" / "bin" / "cacheon-ledger").is_file()
    with (made / name).open("ab") as wheel:
        wheel.write(b"more")
    code, said = _installed(made, tmp_path / "nowhere")
    assert code != 0
    assert "DO NOT MATCH THE HASHES" in said


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "contest.txt").touch()
    (tmp_path / "letters").mkdir()
    for folder in (tmp_path, tmp_path / "contest.txt"):
        with pytest.raises(WheelsError, match="holds something else"):
            fill(folder, HERE)
    assert {path.name for path in tmp_path.iterdir()} == {"contest.txt", "letters"}


def test_a_folder_of_other_wheels_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "vllm-0.25.1-py3-none-any.whl").touch()
    with pytest.raises(WheelsError, match="holds something else"):
        fill(tmp_path, HERE)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WheelsError, match=r"/file' cannot be used: .*; name another --out"):
        fill(tmp_path / "file" / "wheels", HERE)


def _installed(made: Path, there: Path) -> tuple[int, str]:
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    words += ["--no-index", "--no-deps", "--find-links", str(made), "-r", str(made / LIST)]
    words += ["--target", str(there), "--root-user-action", "ignore"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode, done.stderr


def _wheel_of(folder: Path) -> str:
    name, info = "small-1.0-py3-none-any.whl", "small-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("small.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", kind)
        wheel.writestr(f"{info}/RECORD", "")
    return name
