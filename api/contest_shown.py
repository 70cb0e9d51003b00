"""One contest as the ledger has it: verdicts in words, figures against the policy's limits."""

from __future__ import annotations

from typing import Any, Final, Literal
from uuid import UUID

from api.app import Services
from api.words import GPU_STRANGERS_REMEDY, in_words
from evaluation.recording import GPU_STRANGERS
from ledger.commands.contests import planned_track
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest
from ledger.gate_policy import GatePolicy
from ledger.queries.contests import contest_of

_GATED: Final[tuple[tuple[str, str, Literal["at least", "at most"]], ...]] = (
    ("top1_ppm", "min_top1_ppm", "at least"),
    ("mean_margin_milli", "max_mean_margin_milli", "at most"),
    ("p99_margin_milli", "max_p99_margin_milli", "at most"),
    ("spread_ppm", "min_stream_spread_ppm", "at least"),
    ("repeat_gain_ppm", "max_repeat_gain_ppm", "at most"),
)
"""A measured figure, the gate's limit on it, and on which side of it is well."""


def contest_shown(services: Services, network: str, netuid: int, contest: UUID) -> dict[str, Any]:
    """Everything a miner needs of one contest; :class:`DecisionRefusedError` for an unknown one."""
    ledger = services.ledger(network, netuid)
    plan = ledger.load(Contest, contest).plan
    with services.at(network, netuid) as scope:
        shown = contest_of(scope, contest)
    if plan is None or shown is None:
        msg = f"contest {contest} is unknown in {network}/{netuid}; see 'cacheon-ledger contests'"
        raise DecisionRefusedError(msg)
    gates = planned_track(ledger.arena_state(), plan).gates
    shown["void_in_words"] = in_words(shown["void_cause"]) or None
    shown["warnings"] = _warnings(shown["host_facts"])
    for entrant in shown["entrants"]:
        entrant["in_words"] = in_words(entrant["code"]) or None
        entrant["figures"] = _figures(entrant, gates)
    return shown


def _warnings(host_facts: dict[str, str]) -> list[str]:
    """Sentences on what should not have been, each with what to do."""
    strangers = host_facts.get(GPU_STRANGERS, "unknown")
    if strangers in ("unknown", "none"):
        return []
    return [f"others used the GPUs of this contest: {strangers}; {GPU_STRANGERS_REMEDY}"]


def _figures(entrant: dict[str, Any], gates: GatePolicy) -> list[dict[str, Any]]:
    """Those that were measured, each beside its limit."""
    figures = []
    for name, gate, side in _GATED:
        value, limit = entrant[name], getattr(gates, gate)
        if value is None:
            continue
        within = value >= limit if side == "at least" else value <= limit
        figures.append(
            {"figure": name, "value": value, "limit": f"{side} {limit}", "within": within}
        )
    return figures
