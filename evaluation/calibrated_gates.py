"""The gates of a track from the calibrations made for its model and GPU, and whether the one that
a track names holds for a contest; pure.

Miners choose their engine, so a track's gates must let every engine through that was found honest:
of each limit the widest that any of the calibrations proposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from evaluation.calibration import Calibration, CalibrationError
from ledger.gate_policy import GatePolicy
from ledger.policy import TrackPolicy

_WIDER_BELOW: Final = ("min_top1_ppm", "min_model_top1_ppm", "min_stream_spread_ppm")
_WIDER_ABOVE: Final = (
    "max_mean_margin_milli",
    "max_p99_margin_milli",
    "max_logprob_delta_milli",
    "max_burst_ppm",
    "max_burst_tokens_milli",
)
CALIBRATED: Final = (*_WIDER_BELOW, *_WIDER_ABOVE)
"""The limits that honest runs set; all else of the gates is a rule."""


def gates_of(calibrations: Sequence[Calibration]) -> GatePolicy:
    """The gates that all of these calibrations agree to; of a single one those it proposes.

    Raises :class:`CalibrationError` for none, for calibrations of several models or GPUs, and where
    they started from different rules.
    """
    if not calibrations:
        msg = "no calibration, no gates; make one with 'contest calibrate'"
        raise CalibrationError(msg)
    for what in ("model", "gpu"):
        named = sorted({str(getattr(one.facts, what)) for one in calibrations})
        if len(named) > 1:
            msg = f"the calibrations are of the {what}s {', '.join(named)}; gates hold for one"
            raise CalibrationError(msg)
    rules = {_rules(one.gates) for one in calibrations}
    if len(rules) > 1:
        msg = "the calibrations started from gates of different rules; make them from one policy"
        raise CalibrationError(msg)
    found = [one.gates for one in calibrations]
    limits = {name: min(getattr(one, name) for one in found) for name in _WIDER_BELOW}
    limits |= {name: max(getattr(one, name) for one in found) for name in _WIDER_ABOVE}
    return msgspec.structs.replace(found[0], **limits)


def must_be_named(
    digest: str, calibration: Calibration, track: TrackPolicy, model_name: str
) -> None:
    """Raise :class:`CalibrationError` unless the track names the document of this digest, judges
    by the limits that it proposes, and asks for the model that it was made with. A track whose
    gates are the widest of several calibrations (:func:`gates_of`) names none of them."""
    if track.calibration != digest:
        named = f"names {track.calibration}" if track.calibration else "names none"
        msg = f"the calibration is {digest} and the track {named}; give the document that it names"
        raise CalibrationError(msg)
    for name in CALIBRATED:
        limit, proposed = getattr(track.gates, name), getattr(calibration.gates, name)
        if limit != proposed:
            msg = (
                f"the track's {name} is {limit} and its calibration proposes {proposed}; take the "
                "calibration's limits, or name none"
            )
            raise CalibrationError(msg)
    if calibration.facts.model != model_name:
        msg = (
            f"the calibration was made with the model '{calibration.facts.model}' and the contest "
            f"asks for '{model_name}'; calibrate this model"
        )
        raise CalibrationError(msg)


def unlike(calibration: Calibration, *, gpu: str, version: str | None) -> tuple[str, ...]:
    """Sentences on what differs, or cannot be told, between what a calibration was measured on and
    the GPUs of a server (:func:`~evaluation.gpu_lines.named_gpus`) and the engine's version that a
    contest saw; empty and None where that is unknown."""
    held = calibration.facts
    found = []
    if not (held.gpu and gpu):
        found.append(
            f"the track's calibration was measured on {held.gpu or 'unknown GPUs'} and this "
            f"contest ran on {gpu or 'unknown ones'}, so whether its limits hold cannot be told"
        )
    elif held.gpu != gpu:
        found.append(
            f"the track's calibration was measured on {held.gpu} and this contest ran on {gpu}; "
            "its limits may refuse honest servers or pass others, so calibrate these GPUs"
        )
    before = calibration.engine_version
    if not (before and version):
        found.append(
            f"the track's calibration is of the engine '{held.engine}' in version "
            f"{before or 'unknown'} and the baseline's here is {version or 'unknown'}, so whether "
            "its limits hold cannot be told"
        )
    elif before != version:
        found.append(
            f"the track's calibration is of the engine's version {before} and the baseline says "
            f"that it is {version}; its limits may refuse honest servers, so calibrate this version"
        )
    return tuple(found)


def _rules(gates: GatePolicy) -> bytes:
    """What is no limit of noise, in one spelling."""
    plain = msgspec.structs.asdict(gates)
    return msgspec.json.encode(
        {name: value for name, value in plain.items() if name not in CALIBRATED}
    )
