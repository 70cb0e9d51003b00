"""A machine whose program is a script of the test's: it lies, hangs or floods as it is told."""

from __future__ import annotations

import sys
from pathlib import Path

from evaluation.images import ImageRef
from evaluation.plan import ContestPlan, PlannedEntrant
from evaluation.pods.host import PodHost
from evaluation.pods.installing import Installed
from evaluation.pods.remote import Order, RemoteContest
from ledger.contest_policy import ContestPolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy

PLAN = ContestPlan(
    contest_id="7d1c6a8e-0000-4000-8000-000000000001",
    track="reference",
    attempt=1,
    seed_block=8,
    seed_block_hash="0x" + "5a" * 32,
    policy=TrackPolicy(
        model="reference", emission=KingTakesAll(), scoring=ScoreV2(), contest=ContestPolicy()
    ),
    model_dir="",
    model_name="reference",
    baseline=ImageRef("", "sha256:" + "1" * 64),
    entrants=(
        PlannedEntrant(
            entrant_id="one",
            hotkey="one",
            role="challenger",
            image=ImageRef("", "sha256:" + "2" * 64),
        ),
    ),
)


def program(home: Path, script: str) -> Installed:
    """An environment whose interpreter is this one and whose program is ``script``."""
    folder = home / "venv/bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("python", f'exec {sys.executable} "$@"'),
        ("cacheon-ledger", script),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{content}\n")
        (folder / name).chmod(0o755)
    return Installed(str(folder.parent))


def contest_of(
    host: PodHost, script: str, *, limit_s: int = 300, unasked_s: int = 300, grace_s: float = 5.0
) -> RemoteContest:
    """The contest of :data:`PLAN` there, run by ``script``."""
    home = Path(host.home)
    (home / "model").mkdir(exist_ok=True)
    order = Order(
        plan=PLAN,
        model=f"{home}/model",
        limit_s=limit_s,
        unasked_s=unasked_s,
        grace_s=grace_s,
        confined=False,
    )
    return RemoteContest(host, program(home, script), order)
