"""The gates of a track from the calibrations made for its model and GPU; pure.

Miners choose their engine, so a track's gates must let every engine through that was found honest:
of each limit the widest that any of the calibrations proposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from evaluation.calibration import Calibration, CalibrationError
from ledger.gate_policy import GatePolicy

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


def _rules(gates: GatePolicy) -> bytes:
    """What is no limit of noise, in one spelling."""
    plain = msgspec.structs.asdict(gates)
    return msgspec.json.encode(
        {name: value for name, value in plain.items() if name not in CALIBRATED}
    )
