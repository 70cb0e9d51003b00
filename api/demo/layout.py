"""The demo's report as tables: the same document that ``--format json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.cli.cells import Kind, percent
from api.cli.output import Column, Layout, Rows, Section
from api.demo.report import names

Data = Mapping[str, Any]


def _named(rows: Rows, key: str = "hotkey") -> Rows:
    known = names()
    return [{**row, "miner": known.get(row[key] or "", row[key])} for row in rows]


def _totals(data: Data) -> Rows:
    commits = data["commits"]
    return [{key: commits[key] for key in ("seen", "accepted", "refused")}]


def _entrants(data: Data) -> Rows:
    rows = [
        {**entrant, "seed_block": contest["seed_block"], "contest": contest["status"]}
        for contest in data["contests"]
        for entrant in contest["entrants"]
    ]
    return _named(rows)


def _logs(data: Data) -> Rows:
    return [row for row in _entrants(data) if row["code"] == "exited_at_start"]


def _vectors(data: Data) -> Rows:
    return [
        {
            **vector,
            "vector": ", ".join(
                f"{uid}: {value}"
                for uid, value in zip(vector["uids"], vector["values"], strict=True)
            ),
        }
        for vector in data["weights"]
    ]


def _late(data: Data) -> Rows:
    return [
        {**line, "breaks": ", ".join(line["breaks_at_close"])}
        for line in data["treasury"]
        if line["residual_at_close"] != line["residual"]
    ]


def _statement(data: Data) -> Rows:
    statement = data["statement"]
    total = {**statement, "epoch_block": None, "share": "total", "uid": None}
    lines = [{**line, "share": percent(line["share_ppm"])} for line in statement["lines"]]
    return [*lines, total]


REPORT: Final[Layout] = (
    Section(
        "Commits",
        (
            Column("seen", "seen", Kind.NUMBER),
            Column("accepted", "accepted", Kind.NUMBER),
            Column("refused", "refused", Kind.NUMBER),
        ),
        _totals,
    ),
    Section(
        "Refused commits",
        (
            Column("block", "block", Kind.NUMBER),
            Column("miner", "miner"),
            Column("codes", "codes"),
            Column("rules", "rules"),
        ),
        lambda data: [
            line for line in _named(data["commits"]["lines"]) if line["accepted"] is False
        ],
    ),
    Section(
        "Contests",
        (
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("attempt", "attempt", Kind.NUMBER),
            Column("status", "status"),
            Column("void because", "void_cause"),
            Column("reasons", "reasons", Kind.PROSE),
        ),
        lambda data: data["contests"],
    ),
    Section(
        "Entrants",
        (
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("role", "role"),
            Column("miner", "miner"),
            Column("verdict", "status"),
            Column("score", "score_ppm", Kind.PPM),
            Column("median e2e (µs)", "median_e2e_us", Kind.NUMBER),
            Column("top-1", "top1_ppm", Kind.PPM),
            Column("code", "code"),
        ),
        _entrants,
    ),
    Section(
        "The last words of a server that died at its start",
        (Column("miner", "miner"), Column("log", "log_tail", Kind.PROSE)),
        _logs,
        only_if_any=True,
    ),
    Section(
        "The throne",
        (
            Column("reign", "number", Kind.NUMBER),
            Column("king", "miner"),
            Column("how", "how"),
            Column("won at", "won_at_block", Kind.NUMBER),
            Column("ended at", "ended_at_block", Kind.NUMBER),
            Column("ended by", "ended_by"),
            Column("defended", "defended", Kind.NUMBER),
            Column("note", "annotation", Kind.PROSE),
        ),
        lambda data: _named(data["reigns"]),
    ),
    Section(
        "Weight vectors sent (UID: u16) and the pool they divide: the ramp",
        (
            Column("for block", "block", Kind.NUMBER),
            Column("pool", "pool_ppm", Kind.PPM),
            Column("vector", "vector"),
            Column("digest", "digest", Kind.ID),
        ),
        _vectors,
    ),
    Section(
        "The treasury: observed opening + inflows - outflows + residual = observed closing",
        (
            Column("period", "period", Kind.NUMBER),
            Column("up to", "to_block", Kind.NUMBER),
            Column("asset", "asset"),
            Column("opening", "opening", Kind.AMOUNT),
            Column("inflows", "inflows", Kind.AMOUNT),
            Column("outflows", "outflows", Kind.AMOUNT),
            Column("residual", "residual", Kind.AMOUNT),
            Column("closing", "closing", Kind.AMOUNT),
            Column("status", "status"),
        ),
        lambda data: data["treasury"],
    ),
    Section(
        "Residuals when the period was closed, explained by a fact that came late",
        (
            Column("period", "period", Kind.NUMBER),
            Column("asset", "asset"),
            Column("residual then", "residual_at_close", Kind.AMOUNT),
            Column("breaks then", "breaks"),
            Column("residual now", "residual", Kind.AMOUNT),
        ),
        _late,
        only_if_any=True,
    ),
    Section(
        "Ada's statement (alpha)",
        (
            Column("epoch", "epoch_block", Kind.NUMBER),
            Column("share", "share"),
            Column("entitled", "entitled_alpha", Kind.ALPHA),
            Column("paid", "paid_alpha", Kind.ALPHA),
            Column("withheld", "withheld_alpha", Kind.ALPHA),
        ),
        _statement,
    ),
    Section(
        "The log",
        (Column("facts", "events", Kind.NUMBER),),
        lambda data: [data],
    ),
)
