"""A calibration that nobody measured, for what reads one."""

from __future__ import annotations

from evaluation.calibration import Calibration, CalibrationFacts, Distribution
from ledger.gate_policy import GatePolicy

SEEN = Distribution(samples=2, least=1, median=1, greatest=1)


def calibration(
    gpu: str = "H100", model: str = "m", engine: str = "e", **gates: int
) -> Calibration:
    """Of these facts, proposing the default gates but for ``gates``."""
    return Calibration(
        facts=CalibrationFacts(model=model, gpu=gpu, engine=engine),
        track="t",
        runs=("sha256:" + "1" * 64,),
        prompts=2,
        tokens=2,
        wall_within_ppm=SEEN,
        wall_between_ppm=SEEN,
        figures={},
        resampled={},
        slack_ppm=0,
        gates=GatePolicy(**gates),
    )
