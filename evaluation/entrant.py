"""What is kept of one entrant's run: everything its verdict rests on, and nothing else."""

from __future__ import annotations

from typing import Final

import msgspec

from evaluation.client import Answer
from evaluation.forcing import ForcedToken
from evaluation.plan import EntrantRole
from evaluation.records import ArmRecord
from ledger.codes import DisqualificationCode, InfrastructureCause

MIN_TOKENS: Final = 2
"""An answer needs a first and a later token to have a decode time (DOMAIN 4, v2)."""
CLAIMED_END: Final = "stop"
"""The finish_reason by which a server says that the model ended the sequence itself."""
REACHED_LIMIT: Final = "length"
"""The finish_reason by which a server says that ``max_tokens`` ended the answer."""
FIRST_EVIDENCE_FORM: Final = "cacheon-entrant-evidence/1"
"""Evidence from before claims and bursts were measured: it is judged without them, as then."""
EVIDENCE_FORM: Final = "cacheon-entrant-evidence/2"
READABLE_FORMS: Final = (FIRST_EVIDENCE_FORM, EVIDENCE_FORM)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What ended an entrant's run early. Exactly one of the two codes is set: whose fault it was.

    ``detail`` is one sentence.
    """

    disqualified: DisqualificationCode | None = None
    infrastructure: InfrastructureCause | None = None
    detail: str


class ForcedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer under the reference, token by token; ``end`` is the claimed end of sequence.

    ``end`` is None where the answer claimed none, or where the reference said nothing about it.
    """

    tokens: tuple[ForcedToken | None, ...]
    end: ForcedToken | None = None


class EntrantEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that one entrant's verdict rests on. Every tuple of answers is in the prompts' order.

    ``repeats`` answers the prompts at ``repeated`` again, in one round or several, each right after
    a control prompt that was never asked before. ``forced`` has one entry per
    answer; it is empty when a fault ended the run, and so may ``answers`` be, or incomplete.
    ``baseline`` has the floor of the mean of both runs' times where the baseline ran before and
    after. ``record`` tells of starts, blocks, machine time and the image; None before form 2.
    ``streams`` is how many prompts a server was asked at once.
    """

    form: str = EVIDENCE_FORM
    contest_id: str
    track: str
    attempt: int
    seed_block: int
    seed_block_hash: str
    prompts_digest: str
    model_name: str
    baseline_image: str
    entrant_id: str
    hotkey: str
    role: EntrantRole
    image_digest: str
    baseline: tuple[Answer, ...]
    answers: tuple[Answer, ...]
    repeated: tuple[int, ...]
    repeats: tuple[Answer, ...]
    controls: tuple[Answer, ...]
    forced: tuple[ForcedAnswer, ...]
    fault: Fault | None
    exit_code: int | None
    log_tail: str
    record: ArmRecord | None = None
    streams: int = 1
