"""What an import leaves of its evidence: all where it is recorded, nothing where it is refused."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from imagined_contest import changed
from test_contest_import import ad_hoc, bundle_of

from evaluation.bundle import Bundle
from evaluation.evidence import EvidenceError, EvidenceStore, digest_of
from evaluation.importing import Imported, import_bundle
from evaluation.incoming import Incoming
from evaluation.rejudging import rejudge_contest
from ledger.application import Ledger
from ledger.commands.arena import adopt_policy
from ledger.commands.contests import plan_contest
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Holder
from ledger.store.database import open_engine
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import TRACK, Scene, policy

KILLED = 9
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
    """The digests of a folder, and whatever else lies there but its lock."""
    files = {path for path in root.rglob("*") if path.is_file() and path.name != ".importing"}
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


@pytest.mark.parametrize("before", [1, 2, BLOBS])
def test_a_bundle_that_is_refused_after_it_was_stored_is_taken_back(
    scene: Scene, tmp_path: Path, before: int
) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    store = EvidenceStore(tmp_path / "here")
    there = {store.put(next(iter(bundle.blobs.values())))}
    late = Watched(tmp_path / "here", before, lambda: taken_by_another(scene, submission))
    with pytest.raises(DecisionRefusedError, match="is claimed by host/0"):
        bring(scene, bundle, late, submission)
    assert held(tmp_path / "here") == there


def test_what_an_evaluator_recorded_meanwhile_keeps_what_both_name(
    scene: Scene, tmp_path: Path
) -> None:
    submission, first, other = place(scene, tmp_path)

    class Evaluator:
        """Puts its own evidence into the same folder, and takes no lock."""

        put = staticmethod(EvidenceStore(tmp_path / "here").put)
        get = staticmethod(EvidenceStore(tmp_path / "here").get)

    late = Watched(tmp_path / "here", BLOBS, lambda: bring(scene, first, Evaluator(), submission))
    with pytest.raises(DecisionRefusedError, match="by another run than the bundle's"):
        bring(scene, other, late, submission)
    assert held(tmp_path / "here") == whole(first)


def test_of_two_imports_at_once_one_is_recorded_and_the_other_leaves_nothing(
    scene: Scene, tmp_path: Path
) -> None:
    submission, first, other = place(scene, tmp_path)
    said: list[object] = []

    def beside() -> None:
        ledger = Ledger(scene.engine, scene.ledger.arena)
        try:
            store = EvidenceStore(tmp_path / "here")
            said.append(import_bundle(ledger, other, store, waiting=[submission]))
        except DecisionRefusedError as error:
            said.append(error)

    at_once = threading.Thread(target=beside)
    done = bring(scene, first, Watched(tmp_path / "here", 2, at_once.start), submission)
    at_once.join()
    assert done.outcome == "recorded"
    assert "by another run than the bundle's" in str(said[0])
    assert held(tmp_path / "here") == whole(first)
    store = EvidenceStore(tmp_path / "here")
    assert rejudge_contest(scene.ledger, UUID(done.contest_id), store).differences == ()


def test_the_same_bundle_twice_at_once_is_recorded_once(scene: Scene, tmp_path: Path) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    said: list[Imported] = []

    def beside() -> None:
        ledger = Ledger(scene.engine, scene.ledger.arena)
        store = EvidenceStore(tmp_path / "here")
        said.append(import_bundle(ledger, bundle, store, waiting=[submission]))

    at_once = threading.Thread(target=beside)
    done = bring(scene, bundle, Watched(tmp_path / "here", 2, at_once.start), submission)
    at_once.join()
    assert (done.outcome, said) == ("recorded", [changed(done, outcome="known")])
    assert held(tmp_path / "here") == whole(bundle)


# -- an import that is killed -------------------------------------------------------------------


def killed_at(scene: Scene, bundle: Bundle, root: Path, submission: UUID, before: int) -> None:
    """Import in a process that the system ends before the n-th blob; after all where that is 0."""

    def child() -> None:
        engine = open_engine(scene.engine.url.render_as_string(hide_password=False))
        store = Watched(root, before, lambda: os._exit(KILLED))
        if before == 0:
            # Killed when all is recorded, and the note still lies there.
            Path.unlink = lambda *_, **__: os._exit(KILLED)  # type: ignore[method-assign]
        import_bundle(Ledger(engine, scene.ledger.arena), bundle, store, waiting=[submission])
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == KILLED


@pytest.mark.parametrize("before", [1, 3, BLOBS, 0])
def test_a_killed_import_is_brought_to_its_end_by_the_same_one(
    scene: Scene, tmp_path: Path, before: int
) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    killed_at(scene, bundle, tmp_path / "here", submission, before)
    assert any(name.startswith("sha256:.importing-") for name in held(tmp_path / "here"))
    again = bring(scene, bundle, EvidenceStore(tmp_path / "here"), submission)
    assert again.outcome == ("recorded" if before else "known")
    assert held(tmp_path / "here") == whole(bundle)


@pytest.mark.parametrize("before", [1, 2, BLOBS])
def test_what_a_killed_import_left_is_taken_back_when_it_is_refused_the_next_time(
    scene: Scene, tmp_path: Path, before: int
) -> None:
    submission, bundle, _ = place(scene, tmp_path)
    there = {EvidenceStore(tmp_path / "here").put(b"of another contest")}
    killed_at(scene, bundle, tmp_path / "here", submission, before)
    adopt_policy(scene.ledger, policy(max_attempts=9), from_block=scene.head, actor="op")
    with pytest.raises(DecisionRefusedError, match="by the policy in force"):
        bring(scene, bundle, EvidenceStore(tmp_path / "here"), submission)
    assert held(tmp_path / "here") == there


def test_a_killed_import_of_another_ledger_is_left_to_that_one(
    scene: Scene, tmp_path: Path
) -> None:
    submission, bundle, other = place(scene, tmp_path)
    foreign = Incoming(EvidenceStore(tmp_path / "here"), "f" * 64, lambda _: ())
    with pytest.raises(RuntimeError, match="gone"), foreign.bring(UUID(int=3), bundle.blobs):
        msg = "the database is gone"
        raise RuntimeError(msg)
    assert bring(scene, other, EvidenceStore(tmp_path / "here"), submission).outcome == "recorded"
    assert held(tmp_path / "here") > {*bundle.blobs, *whole(other)}
    foreign.settle()
    assert held(tmp_path / "here") == whole(other)  # the prompts, too, which both have


# -- what is told -------------------------------------------------------------------------------


def test_an_import_waits_for_another_only_so_long(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    first = Incoming(store, "a" * 64, lambda _: ())
    second = Incoming(store, "b" * 64, lambda _: (), wait_s=0)
    with (
        first.bring(UUID(int=1), {}),
        pytest.raises(EvidenceError, match="has not ended after 0 s"),
        second.bring(UUID(int=2), {}),
    ):
        pass
    with second.bring(UUID(int=2), {}):
        pass


def test_a_note_that_nobody_can_read_takes_nothing_back(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    note = tmp_path / f".importing-{'a' * 64}"
    note.write_bytes(b"{")
    digest = store.put(b"evidence")
    with pytest.raises(EvidenceError, match="is no note of an import"):
        Incoming(store, "a" * 64, lambda _: ()).settle()
    assert store.has(digest)
    assert note.exists()
