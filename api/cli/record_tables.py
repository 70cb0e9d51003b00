"""How the ledger's contests are shown in tables: what was evaluated, one contest, differences."""

from __future__ import annotations

from typing import Final

from api.cli.cells import Kind
from api.cli.output import Column, Layout, Section

EVALUATION: Final[Layout] = (
    Section(
        "Attempts",
        (
            Column("track", "track"),
            Column("attempt", "attempt", Kind.NUMBER),
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("entrants", "entrants", Kind.NUMBER),
            Column("status", "status"),
            Column("void because", "void_cause"),
            Column("king after", "king_hotkey", Kind.ID),
            Column("detail", "detail", Kind.PROSE),
            Column("contest", "contest_id", Kind.ID),
        ),
        lambda data: data["attempts"],
    ),
)

SHOWN: Final[Layout] = (
    Section(
        "Contest",
        (
            Column("track", "track"),
            Column("attempt", "attempt", Kind.NUMBER),
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("status", "status"),
            Column("void because", "void_in_words", Kind.PROSE),
            Column("detail", "detail", Kind.PROSE),
            Column("king after", "king_hotkey", Kind.ID),
            Column("worker", "worker"),
            Column("evidence", "manifest_digest", Kind.ID),
        ),
        lambda data: [data],
    ),
    Section(
        "Entrants",
        (
            Column("place", "place", Kind.NUMBER),
            Column("role", "role"),
            Column("hotkey", "hotkey", Kind.ID),
            Column("status", "status"),
            Column("code", "code"),
            Column("in words", "in_words", Kind.PROSE),
            Column("detail", "detail", Kind.PROSE),
            Column("score", "score_ppm", Kind.PPM),
            Column("lower", "lower_ppm", Kind.PPM),
            Column("upper", "upper_ppm", Kind.PPM),
        ),
        lambda data: data["entrants"],
    ),
    Section(
        "Figures against the policy's limits",
        (
            Column("hotkey", "hotkey", Kind.ID),
            Column("figure", "figure"),
            Column("measured", "value", Kind.NUMBER),
            Column("limit", "limit"),
            Column("within", "within"),
        ),
        lambda data: [
            {"hotkey": entrant["hotkey"], **figure}
            for entrant in data["entrants"]
            for figure in entrant["figures"]
        ],
        only_if_any=True,
    ),
    Section(
        "Last lines of their own logs",
        (Column("hotkey", "hotkey", Kind.ID), Column("log", "line", Kind.PROSE)),
        lambda data: [
            {"hotkey": entrant["hotkey"], "line": line}
            for entrant in data["entrants"]
            for line in (entrant["log_tail"] or "").splitlines()
        ],
        only_if_any=True,
    ),
    Section(
        "Warnings",
        (Column("warning", "warning", Kind.PROSE),),
        lambda data: [{"warning": warning} for warning in data["warnings"]],
        only_if_any=True,
    ),
    Section(
        "The machine, its GPUs and what ran there",
        (Column("what", "what"), Column("value", "value", Kind.PROSE)),
        lambda data: [
            {"what": what, "value": value} for what, value in sorted(data["host_facts"].items())
        ],
        only_if_any=True,
    ),
    Section(
        "Why",
        (Column("reason", "reason", Kind.PROSE),),
        lambda data: [{"reason": reason} for reason in data["reasons"]],
        only_if_any=True,
    ),
)

REJUDGED: Final[Layout] = (
    Section(
        "Judged again",
        (
            Column("contest", "contest_id", Kind.ID),
            Column("track", "track"),
            Column("entrants", "entrants", Kind.NUMBER),
            Column("agrees", "agrees"),
        ),
        lambda data: [data],
    ),
    Section(
        "Differences",
        (
            Column("hotkey", "hotkey", Kind.ID),
            Column("what", "what"),
            Column("recorded", "recorded", Kind.PROSE),
            Column("from the evidence", "recomputed", Kind.PROSE),
        ),
        lambda data: data["differences"],
        only_if_any=True,
    ),
)

PLANNED: Final[Layout] = (
    Section(
        "Planned",
        (
            Column("track", "track"),
            Column("attempt", "attempt", Kind.NUMBER),
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("contest", "contest_id", Kind.ID),
        ),
        lambda data: [data],
    ),
    Section(
        "Entrants",
        (Column("role", "role"), Column("hotkey", "hotkey", Kind.ID)),
        lambda data: data["entrants"],
    ),
)

IMPORTED: Final[Layout] = (
    Section(
        "Imported",
        (
            Column("track", "track"),
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("outcome", "outcome"),
            Column("detail", "detail", Kind.PROSE),
            Column("king after", "king_hotkey", Kind.ID),
            Column("contest", "contest_id", Kind.ID),
            Column("evidence", "manifest_digest", Kind.ID),
        ),
        lambda data: [data],
    ),
)
