"""A contest's report and a contract's report as tables, over the keys of their JSON."""

from __future__ import annotations

from typing import Any, Final

from api.cli.cells import Kind
from api.cli.output import Column, Layout, Rows, Section


def _facts(data: Any) -> Rows:
    rows = [
        ("policy", f"{data['policy']}, track {data['track']}"),
        ("model", data["model_name"]),
        ("seed block's hash", data["seed_block_hash"]),
        ("seed", data["seed_note"]),
        ("prompts", f"{data['prompts']}, {data['prompts_digest']}"),
        ("runner", ", ".join(f"{key} {value}" for key, value in data["runner"].items())),
        ("baseline", data["baseline_image"]),
        ("its engine's version", data["engine_version"] or "unknown"),
        ("its own drift", _against(data["drift_ppm"], data["max_drift_ppm"], "ppm")),
        (
            "its GPUs' clock drift",
            _against(data["clock_drift_ppm"], data["max_drift_ppm"], "ppm"),
        ),
        (
            "the client was late by",
            _against(data["client_lag_p99_us"], data["max_client_lag_us"], "µs (p99)"),
        ),
        ("all evidence", data["manifest_digest"] or "not stored"),
    ]
    if not data["gpus"]:
        rows.append(("GPUs", f"unknown: {data['gpus_unknown']}"))
    elif data["gpu_strangers"] is None:
        rows.append(("processes of others on the GPUs", "unknown"))
    if data["bundle"]:
        rows.append(("bundle", data["bundle"]))
    return [{"what": what, "value": value} for what, value in rows]


def _against(figure: int | None, limit: int, unit: str) -> str:
    known = "unknown" if figure is None else f"{figure} {unit}"
    return f"{known}; at most {limit} is allowed"


def _gpus(data: Any) -> Rows:
    def range_of(least: int | None, greatest: int | None) -> str | None:
        return None if least is None else f"{least}..{greatest}"

    return [
        {
            **gpu,
            "mhz": range_of(gpu["least_mhz"], gpu["greatest_mhz"]),
            "reasons": ", ".join(gpu["held_back"]) or "nothing",
        }
        for gpu in data["gpus"]
    ]


def _warnings(data: Any) -> Rows:
    return [{"warning": warning} for warning in data["warnings"]]


def _outcome(data: Any) -> Rows:
    why = data["detail"] or "every arm was measured"
    return [{**data, "why": f"{data['void_cause']}: {why}" if data["void_cause"] else why}]


def _figures(data: Any) -> Rows:
    return [
        {
            **line,
            "value": None if line["figure"] is None else f"{line['figure']} {line['unit']}",
            "kept": "not measured" if line["open"] is None else "yes" if line["open"] else "NO",
        }
        for line in data["gates"]
    ]


def _failed(data: Any) -> Rows:
    return [line for line in data["entrants"] if line["log_tail"]]


def _voids(data: Any) -> Rows:
    return [data] if data["log_tail"] else []


CONTEST: Final[Layout] = (
    Section("The contest", (Column("what", "what"), Column("value", "value", Kind.PROSE)), _facts),
    Section("Outcome", (Column("status", "status"), Column("why", "why", Kind.PROSE)), _outcome),
    Section(
        "GPUs under the baseline",
        (
            Column("gpu", "index", Kind.NUMBER),
            Column("name", "name"),
            Column("driver", "driver"),
            Column("clock (MHz)", "mhz"),
            Column("held back by", "reasons"),
            Column("before (°C)", "celsius_before", Kind.NUMBER),
            Column("after (°C)", "celsius_after", Kind.NUMBER),
            Column("hottest (°C)", "greatest_celsius", Kind.NUMBER),
            Column("used (MiB)", "used_mib", Kind.NUMBER),
            Column("of (MiB)", "memory_mib", Kind.NUMBER),
        ),
        _gpus,
        only_if_any=True,
    ),
    Section("Warnings", (Column("warning", "warning", Kind.PROSE),), _warnings, only_if_any=True),
    Section(
        "Its log",
        (Column("the last lines", "log_tail", Kind.PROSE),),
        _voids,
        only_if_any=True,
    ),
    Section(
        "Entrants",
        (
            Column("entrant", "entrant"),
            Column("role", "role"),
            Column("verdict", "status"),
            Column("code", "code"),
            Column("score", "score_ppm", Kind.PPM),
            Column("from", "lower_ppm", Kind.PPM),
            Column("to", "upper_ppm", Kind.PPM),
            Column("ttft (µs)", "median_ttft_us", Kind.NUMBER),
            Column("e2e (µs)", "median_e2e_us", Kind.NUMBER),
            Column("tokens", "median_tokens", Kind.NUMBER),
            Column("GPU minutes", "gpu_minutes", Kind.NUMBER),
            Column("image", "image"),
        ),
        lambda data: data["entrants"],
        only_if_any=True,
    ),
    Section(
        "Why",
        (
            Column("entrant", "entrant"),
            Column("verdict", "detail", Kind.PROSE),
            Column("what to do", "remedy", Kind.PROSE),
        ),
        lambda data: data["entrants"],
        only_if_any=True,
    ),
    Section(
        "What the judge measured",
        (
            Column("entrant", "entrant"),
            Column("gate", "gate"),
            Column("figure", "value"),
            Column("limit", "limit"),
            Column("kept", "kept"),
        ),
        _figures,
        only_if_any=True,
    ),
    Section(
        "The throne, if this were a round",
        (
            Column("entrant", "entrant"),
            Column("what", "what"),
            Column("why", "why", Kind.PROSE),
        ),
        lambda data: data["throne"],
        only_if_any=True,
    ),
    Section(
        "Afterwards",
        (Column("king", "crowned"), Column("runner-up", "runner_up")),
        lambda data: [data] if data["status"] == "completed" else [],
        only_if_any=True,
    ),
    Section(
        "The last words of those that failed",
        (Column("entrant", "entrant"), Column("log", "log_tail", Kind.PROSE)),
        _failed,
        only_if_any=True,
    ),
)

_OUTCOMES: Final = {
    "passed": "ok",
    "failed": "FAILED",
    "hint": "hint",
    "not_tried": "not tried",
    "machine_failed": "MACHINE FAILED",
}


def _checks(data: Any) -> Rows:
    return [{**check, "how": _OUTCOMES[check["outcome"]]} for check in data["checks"]]


def _verdict(data: Any) -> Rows:
    said = "it could not be tried: this machine failed, and that says nothing of the image"
    if data["machine_failed"]:
        return [{**data, "said": said}]
    said = (
        "it keeps the contract: a contest would take it, and judge its output and speed"
        if data["passed"]
        else "a contest would not take it: see what failed and what to do"
    )
    return [{**data, "said": said}]


CONTRACT: Final[Layout] = (
    Section(
        "The container contract",
        (
            Column("check", "name"),
            Column("result", "how"),
            Column("code", "code"),
            Column("what was seen", "seen", Kind.PROSE),
            Column("what to do", "remedy", Kind.PROSE),
        ),
        _checks,
    ),
    Section(
        "The server's own log", (Column("the last lines", "log_tail", Kind.PROSE),), _voids, True
    ),
    Section("Verdict", (Column("image", "image"), Column("verdict", "said", Kind.PROSE)), _verdict),
)
