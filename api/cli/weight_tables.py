"""How the answers about weights are laid out as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.cli.cells import Kind
from api.cli.output import Column, Layout, Rows, Section


def _one(data: Mapping[str, Any]) -> Rows:
    return [data]


def _difference_rows(data: Mapping[str, Any]) -> Rows:
    return [
        {**difference, "validator": line["uid"], "validator_hotkey": line["validator_hotkey"]}
        for line in data["validators"]["items"]
        for difference in line["differences"]
    ]


def _vector_rows(data: Mapping[str, Any]) -> Rows:
    named = (("sent", data["sent"]), ("landed", data["landed"]))
    rows = [
        {**vector, "what": what, "last_update": None}
        for what, vector in named
        if vector is not None
    ]
    held = data["held"]
    if held is not None:
        rows.append({**held, "what": "held", "success": None, "landed_block": None})
    return rows


COMPARISON: Final[Layout] = (
    Section(
        "Computed",
        (
            Column("block", "block", Kind.NUMBER),
            Column("digest", "computed_digest", Kind.ID),
        ),
        _one,
    ),
    Section(
        "Validators",
        (
            Column("UID", "uid", Kind.NUMBER),
            Column("on chain", "holds"),
            Column("seen at", "seen_at_block", Kind.NUMBER),
            Column("last update", "last_update", Kind.NUMBER),
            Column("on chain digest", "on_chain_digest", Kind.ID),
            Column("submitted for", "submitted_for_block", Kind.NUMBER),
            Column("landed at", "landed_block", Kind.NUMBER),
            Column("submitted digest", "submitted_digest", Kind.ID),
            Column("validator", "validator_hotkey", Kind.ID),
        ),
        lambda data: data["validators"]["items"],
    ),
    Section(
        "Differences (u16)",
        (
            Column("validator", "validator", Kind.NUMBER),
            Column("UID", "uid", Kind.NUMBER),
            Column("computed", "computed", Kind.NUMBER),
            Column("submitted", "submitted", Kind.NUMBER),
            Column("on chain", "on_chain", Kind.NUMBER),
            Column("hotkey", "hotkey", Kind.ID),
        ),
        _difference_rows,
    ),
)

EXPLANATION: Final[Layout] = (
    Section(
        "Vector",
        (
            Column("block", "block", Kind.NUMBER),
            Column("policy", "policy"),
            Column("digest", "digest", Kind.ID),
        ),
        _one,
    ),
    Section(
        "Shares",
        (
            Column("UID", "uid", Kind.NUMBER),
            Column("share", "share_ppm", Kind.PPM),
            Column("ppm", "share_ppm", Kind.NUMBER),
            Column("u16", "u16", Kind.NUMBER),
            Column("why", "why", Kind.PROSE),
            Column("hotkey", "hotkey", Kind.ID),
        ),
        lambda data: [{**line, "why": "; ".join(line["why"])} for line in data["uids"]],
    ),
)

STATUS: Final[Layout] = (
    Section(
        "Weights",
        (
            Column("block", "block", Kind.NUMBER),
            Column("newest in the log", "head_block", Kind.NUMBER),
            Column("last safe block", "last_safe_block", Kind.NUMBER),
            Column("node's head", "node_head_block", Kind.NUMBER),
            Column("lag", "lag_blocks", Kind.NUMBER),
            Column("allowed lag", "max_lag_blocks", Kind.NUMBER),
            Column("burn UID", "burn_uid", Kind.NUMBER),
            Column("burn UID is the owner's", "burn_uid_eligible"),
            Column("deferred commits", "deferred", Kind.NUMBER),
            Column("computed digest", "computed_digest", Kind.ID),
        ),
        _one,
    ),
    Section(
        "Vectors",
        (
            Column("what", "what"),
            Column("block", "block", Kind.NUMBER),
            Column("landed at", "landed_block", Kind.NUMBER),
            Column("last update", "last_update", Kind.NUMBER),
            Column("success", "success"),
            Column("digest", "digest", Kind.ID),
            Column("validator", "validator_hotkey", Kind.ID),
        ),
        _vector_rows,
    ),
    Section(
        "Open gaps",
        (Column("from", "from", Kind.NUMBER), Column("to", "to", Kind.NUMBER)),
        lambda data: [{"from": first, "to": last} for first, last in data["open_gaps"]],
    ),
    Section(
        "Paused",
        (Column("switch", "switch"), Column("reason", "reason", Kind.PROSE)),
        lambda data: [
            {"switch": switch, "reason": reason} for switch, reason in data["paused"].items()
        ],
        only_if_any=True,
    ),
    Section(
        "Newest alerts",
        (
            Column("block", "block", Kind.NUMBER),
            Column("kind", "kind"),
            Column("detail", "detail", Kind.PROSE),
        ),
        lambda data: data["alerts"],
        only_if_any=True,
    ),
)
