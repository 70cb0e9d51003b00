"""What one contest consisted of, sealed under one digest: the root of all its evidence.

Who has the manifest's digest from the log can check every part: the plan with its policy, the
machine, the images, and by its digest the evidence on each entrant.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

import msgspec

from evaluation.contest import ContestOutcome
from evaluation.evidence import EvidenceError
from evaluation.plan import ContestPlan
from evaluation.runners.port import ImageFacts

MANIFEST_FORM = "cacheon-contest-manifest/1"


class ContestManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contest, whole. ``images`` are the facts of every image by its reference; ``evidence``
    has a digest for each entrant of the plan, in its order."""

    form: str = MANIFEST_FORM
    plan: ContestPlan
    seed: int
    prompts_digest: str
    host: dict[str, str]
    images: dict[str, ImageFacts]
    evidence: tuple[str, ...]


def manifest_of(
    plan: ContestPlan,
    outcome: ContestOutcome,
    images: Mapping[str, ImageFacts],
    host: Mapping[str, str],
) -> bytes:
    """The manifest of a completed contest, in its one spelling."""
    manifest = ContestManifest(
        plan=plan,
        seed=outcome.seed,
        prompts_digest=outcome.prompts_digest,
        host=dict(host),
        images=dict(images),
        evidence=tuple(verdict.evidence_digest for verdict in outcome.verdicts),
    )
    return msgspec.json.encode(manifest, order="deterministic")


def read_manifest(data: bytes) -> ContestManifest:
    """Undo :func:`manifest_of`; raises :class:`EvidenceError` for anything else."""
    try:
        manifest = msgspec.json.decode(data, type=ContestManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"these bytes are no contest's manifest: {error}"
        raise EvidenceError(msg) from error
    if manifest.form != MANIFEST_FORM:
        msg = f"a manifest of the form {manifest.form!r} cannot be read; known is {MANIFEST_FORM!r}"
        raise EvidenceError(msg)
    return manifest


def machine_facts(runner: Mapping[str, str]) -> dict[str, str]:
    """What is said of the machine: the runner's own facts, its system, its cores."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count() or "unknown"),
        "python": platform.python_version(),
        **runner,
    }
