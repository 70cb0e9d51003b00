"""Evidence under its own digest: what is read back is what was written, or it is refused."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final, Protocol

import msgspec

from evaluation.answers import tokens_kept
from evaluation.judge import READABLE_FORMS, EntrantEvidence, EntrantVerdict, judge
from evaluation.plan import PlanError
from evaluation.prompts import MAX_REPEAT_ROUNDS
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy

MAX_EVIDENCE_BYTES: Final = 256 * 1024 * 1024
_ANSWER_BYTES_A_TOKEN: Final = len("1048575,") + len("3600000000,") + len("-1000000000,")
"""An id, an arrival and a claim at their largest."""
_FORCED_BYTES_A_TOKEN: Final = len("[9999999,1048575,-9999999],")
_BYTES_A_BLOCK: Final = 16_384
"""The record of a block with eight GPUs and all strangers on them; there are no more blocks than
prompts."""
_BYTES_BESIDE: Final = 4 * 2**20
"""The log's tail, the starts and all else."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class EvidenceError(Exception):
    """Evidence that is missing, changed or unreadable; the message names its digest."""


def most_evidence_bytes(contest: ContestPolicy) -> int:
    """How large the evidence on one entrant can be, which may answer beyond every limit it has."""
    baseline = contest.prompts * contest.output_tokens
    own = contest.prompts * tokens_kept(contest.output_tokens)
    again = 2 * MAX_REPEAT_ROUNDS * min(contest.repeated_prompts, contest.prompts)
    return (
        (baseline + own) * _ANSWER_BYTES_A_TOKEN
        + own * _FORCED_BYTES_A_TOKEN
        + again * tokens_kept(contest.output_tokens) * _ANSWER_BYTES_A_TOKEN
        + contest.prompts * _BYTES_A_BLOCK
        + _BYTES_BESIDE
    )


def must_be_kept(contest: ContestPolicy) -> None:
    """Raise :class:`PlanError` where an entrant could answer so much that it cannot be stored."""
    most = most_evidence_bytes(contest)
    if most > MAX_EVIDENCE_BYTES:
        msg = (
            f"{contest.prompts} prompts of {contest.output_tokens} tokens can give {most} bytes of "
            f"evidence on an entrant, and at most {MAX_EVIDENCE_BYTES} can be stored; ask fewer "
            "prompts or shorter answers in the track's policy"
        )
        raise PlanError(msg)


def canonical(evidence: EntrantEvidence) -> bytes:
    """The evidence's one spelling: JSON with sorted keys, every field written out."""
    return msgspec.json.encode(evidence, order="deterministic")


def read_evidence(data: bytes) -> EntrantEvidence:
    """Undo :func:`canonical`; raises :class:`EvidenceError` for anything else."""
    try:
        evidence = msgspec.json.decode(data, type=EntrantEvidence)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"these bytes are no entrant's evidence: {error}"
        raise EvidenceError(msg) from error
    if evidence.form not in READABLE_FORMS:
        known = " and ".join(READABLE_FORMS)
        msg = f"evidence of the form {evidence.form[:64]!r} cannot be read; known are {known}"
        raise EvidenceError(msg)
    return evidence


class Evidence(Protocol):
    """Bytes under their own digest, wherever they lie. Both calls may block."""

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its ``sha256:<hex>``; raises :class:`EvidenceError`."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, verified; raises :class:`EvidenceError`."""
        ...


class EvidenceStore:
    """A directory of evidence, one file per digest: ``<root>/<2 hex>/<62 hex>``.

    Safe for several processes: a file appears whole and durable under its name, or not at all.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its ``sha256:<hex>``; storing it again changes nothing.

        A file that is already there is checked, not trusted, and replaced if it was changed.
        """
        if len(data) > MAX_EVIDENCE_BYTES:
            msg = f"evidence of {len(data)} bytes is larger than {MAX_EVIDENCE_BYTES}"
            raise EvidenceError(msg)
        digest = digest_of(data)
        path = self._path(digest)
        if path.exists() and path.read_bytes() == data:
            return digest
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        # Without this the name itself may be gone after a power cut, though the bytes are safe.
        for folder in (path.parent, self._root):
            _sync_folder(folder)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``; raises :class:`EvidenceError` if they are missing or changed."""
        path = self._path(digest)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_EVIDENCE_BYTES + 1)
        except FileNotFoundError as error:
            msg = f"there is no evidence {digest} here; fetch it from where the contest ran"
            raise EvidenceError(msg) from error
        if digest_of(data) != digest:
            msg = f"the evidence stored as {digest} has been changed; restore it from a copy"
            raise EvidenceError(msg)
        return data

    def _path(self, digest: str) -> Path:
        name = hex_of(digest)
        return self._root / name[:2] / name[2:]


def digest_of(data: bytes) -> str:
    """``sha256:<hex>`` over ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The 64 hex digits of an evidence digest; raises :class:`EvidenceError` for anything else."""
    if not _DIGEST.fullmatch(digest):
        msg = f"{digest[:80]!r} is no evidence digest; it must be sha256: and 64 hex digits"
        raise EvidenceError(msg)
    return digest[7:]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rejudge(store: Evidence, digest: str, gates: GatePolicy) -> EntrantVerdict:
    """The verdict recomputed from stored evidence alone, under these gates.

    Raises :class:`EvidenceError` when the evidence is missing, changed or not an entrant's.
    """
    return judge(read_evidence(store.get(digest)), gates, evidence_digest=digest)
