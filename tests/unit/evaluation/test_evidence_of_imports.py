"""What an import leaves of its evidence: all where it is recorded, nothing where it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from imagined_contest import changed
from test_contest_import import ad_hoc, bundle_of

from evaluation.bundle import Bundle
from evaluation.evidence import EvidenceStore, digest_of
from evaluation.importing import Imported, import_bundle
from evaluation.manifest import rejudge_contest
from ledger.commands.contests import plan_contest
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Holder
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import TRACK, Scene

BLOBS = 4
"""The prompts, what the baseline and the entrant answered, and the manifest."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = quick_engine(tmp_path)
    yield Scene(engine)
    engine.dispose()


class Watched(EvidenceStore):
    """A folder of evidence that does something before the n-th blob is stored."""

    def __init__(self, root: Path, before: int, act: Callable[[], Any]) -> None:
        super().__init__(root)
        self._left, self._act = before, act

    def put(self, data: bytes) -> str:
        self._left -= 1
        if self._left == 0:
            self._act()
        return super().put(data)


class Elsewhere:
    """Evidence that is no folder, as behind a URL."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        self.kept[digest_of(data)] = data
        return digest_of(data)

    def get(self, digest: str) -> bytes:
        return self.kept[digest]


def held(root: Path) -> set[str]:
    """The digests of a folder, and whatever else lies there."""
    files = {path for path in root.rglob("*") if path.is_file()}
    return {"sha256:" + "".join(path.relative_to(root).parts) for path in files}


def whole(bundle: Bundle) -> set[str]:
    return {*bundle.blobs, bundle.manifest_digest}


def place(scene: Scene, folder: Path) -> tuple[UUID, Bundle, Bundle]:
    """A submission that waits, and two runs of its contest."""
    submission = scene.submit("A")
    plan = ad_hoc(scene, scene.block(), submission)
    first = bundle_of(plan, folder / "first")
    other = bundle_of(changed(plan, contest_id="run once more"), folder / "other")
    assert len(whole(first)) == len(whole(other)) == BLOBS
    assert len(whole(first) & whole(other)) == 1  # the prompts, which follow from the seed
    return submission, first, other


def bring(scene: Scene, bundle: Bundle, store: Any, submission: UUID) -> Imported:
    return import_bundle(scene.ledger, bundle, store, waiting=[submission])


def taken_by_another(scene: Scene, submission: UUID) -> None:
    holder = Holder("host/0", "living")
    plan_contest(
        scene.ledger,
        track=TRACK,
        challengers=[submission],
        seed_block=scene.head,
        holder=holder,
    )


def test_a_recorded_bundle_is_stored_whole_and_nothing_beside_it(
    scene: Scene, tmp_path: Path
) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    assert bring(scene, bundle, EvidenceStore(tmp_path / "here"), submission).outcome == "recorded"
    assert held(tmp_path / "here") == whole(bundle)


def test_a_refused_bundle_leaves_nothing_and_what_was_there_stays(
    scene: Scene, tmp_path: Path
) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    taken_by_another(scene, submission)
    with pytest.raises(DecisionRefusedError, match="is claimed by host/0"):
        bring(scene, bundle, EvidenceStore(tmp_path / "here"), submission)
    assert not (tmp_path / "here").exists()
    store = EvidenceStore(tmp_path / "here")
    there = {store.put(next(iter(bundle.blobs.values()))), store.put(b"of another contest")}
    with pytest.raises(DecisionRefusedError):
        bring(scene, bundle, store, submission)
    assert held(tmp_path / "here") == there


def test_nothing_of_a_refused_bundle_is_uploaded(scene: Scene, tmp_path: Path) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    far = Elsewhere()
    assert bring(scene, bundle, far, submission).outcome == "recorded"
    assert set(far.kept) == whole(bundle)
    refused = Elsewhere()
    with pytest.raises(DecisionRefusedError):
        bring(scene, place(scene, tmp_path / "next")[1], refused, UUID(int=1))
    assert refused.kept == {}


@pytest.mark.parametrize("before", range(1, BLOBS + 1))
def test_who_is_refused_in_the_last_moment_takes_nothing_from_who_was_faster(
    scene: Scene, tmp_path: Path, before: int
) -> None:
    submission, bundle, other = place(scene, tmp_path)
    store = EvidenceStore(tmp_path / "here")

    def faster() -> None:
        assert bring(scene, other, store, submission).outcome == "recorded"

    late = Watched(tmp_path / "here", before, faster)
    with pytest.raises(DecisionRefusedError, match="by another run than the bundle's"):
        bring(scene, bundle, late, submission)
    assert held(tmp_path / "here") >= whole(other)
    assert rejudge_contest(store, other.manifest_digest).differences == ()


def test_an_import_that_was_killed_while_it_stored_is_done_again(
    scene: Scene, tmp_path: Path
) -> None:
    submission, bundle, _ = place(scene, tmp_path)

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(scene, bundle, Watched(tmp_path / "here", 3, die), submission)
    assert len(held(tmp_path / "here")) == 2
    again = bring(scene, bundle, EvidenceStore(tmp_path / "here"), submission)
    assert again.outcome == "recorded"
    assert held(tmp_path / "here") == whole(bundle)
