"""The demo's world on disk: the miners' images, the model, the simulated chain, the policies."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from api.demo import season
from api.demo.accounts import MINERS, NEW, TREASURY, VALIDATOR_HOTKEY, Miner
from chain.simulated import SimulatedChain
from evaluation.evidence import EvidenceStore
from evaluation.reference import tokenizer
from evaluation.reference.image import reference_image_kinds, write_image
from evaluation.reference.model import init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.process import ProcessRunner
from evaluation.runners.reference import ReferenceImages
from ledger.policy import Policy, parse_policy_toml

BASELINE: Final = "recompute"
MODEL_SEED: Final = 14
TOKENIZER: Final = tokenizer


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the ledger, made anew or found as an earlier run left it."""

    folder: Path
    chain: SimulatedChain
    runner: ProcessRunner
    evidence: EvidenceStore
    model_dir: Path
    policies: tuple[Policy, ...]

    def close(self) -> None:
        """Let go of the chain's file."""
        self.chain.close()


def open_world(folder: Path) -> World:
    """Make or find the world in ``folder``; the same files come of it every time."""
    images, model_dir = folder / "images", folder / "model"
    images.mkdir(parents=True, exist_ok=True)
    if not model_dir.exists():
        _save_model_whole(model_dir)
    kinds = reference_image_kinds()
    baseline = write_image(images, "pinned baseline", kinds[BASELINE].config())
    digests = {miner.name: _image(images, miner) for miner in (*MINERS, NEW)}
    chain = SimulatedChain(
        folder / "chain.db",
        season.genesis(),
        season.script(digests),
        validator_hotkey=VALIDATOR_HOTKEY,
        treasury_coldkey=TREASURY,
    )
    return World(
        folder=folder,
        chain=chain,
        runner=ProcessRunner(ReferenceImages(images, model_dir)),
        evidence=EvidenceStore(folder / "evidence"),
        model_dir=model_dir,
        policies=tuple(_policy(number, baseline) for number in (1, 2, 3)),
    )


def _image(images: Path, miner: Miner) -> str:
    """A miner's image. Ida's is Bea's under another label: a copy, though its digest differs."""
    config = reference_image_kinds()[miner.kind].config()
    notes = {"kernel.txt": b"written from scratch\n"} if miner.name == "kim" else None
    return write_image(images, f"{miner.name} v1", config, notes)


def _policy(number: int, baseline: str) -> Policy:
    template = files("api.demo.policies").joinpath(f"phase{number}.toml").read_text("utf-8")
    return parse_policy_toml(
        template.replace("@TREASURY@", TREASURY).replace("@BASELINE@", baseline)
    )


def _save_model_whole(model_dir: Path) -> None:
    """Write beside the target and rename, so that a killed demo leaves no half model."""
    staging = model_dir.with_name("model.part")
    staging.mkdir(parents=True, exist_ok=True)
    save_model(init_weights(MODEL_SEED), staging)
    staging.rename(model_dir)
