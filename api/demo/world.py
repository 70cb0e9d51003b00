"""The demo's world on disk: the miners' images, the model, the simulated chain, the policies."""

from __future__ import annotations

import fcntl
import shutil
import socket
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

from api.demo import season
from api.demo.accounts import MINERS, NEW, TREASURY, Miner
from chain.simulated import SimulatedChain
from evaluation.evidence import EvidenceStore
from evaluation.reference import tokenizer
from evaluation.reference.image import reference_image_kinds, write_image
from evaluation.reference.model import init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.process import ProcessRunner
from evaluation.runners.reference import ReferenceImages
from evaluation.slots import Slot, take_slot
from ledger.policy import Policy, parse_policy_toml

BASELINE: Final = "recompute"
MODEL_SEED: Final = 14
TOKEN_US: Final = 5_000
"""How long those servers whose streaming is judged take for a token. The small model alone writes
an answer in a few milliseconds, no longer than a busy machine may keep the evaluator waiting."""
_PACED: Final = {"kv_cache", "prefix_cache", "replay"}
TOKENIZER: Final = tokenizer


class DemoError(Exception):
    """The demo cannot be played as it stands; the message says what to do."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the ledger, made anew or found as an earlier run left it."""

    folder: Path
    chain: SimulatedChain
    runner: ProcessRunner
    evidence: EvidenceStore
    model_dir: Path
    policies: tuple[Policy, ...]
    lock: IO[bytes]
    slot: Slot

    def close(self) -> None:
        """Let go of the chain's file and of the folder."""
        self.chain.close()
        self.slot.close()
        self.lock.close()


def open_world(folder: Path) -> World:
    """Make or find the world in ``folder``; the same files come of it every time.

    Raises :class:`DemoError` while another demo plays in the folder.
    """
    images, model_dir = folder / "images", folder / "model"
    images.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    _ensure_model(model_dir)
    kinds = reference_image_kinds()
    baseline = write_image(images, "pinned baseline", kinds[BASELINE].config())
    digests = {miner.name: _image(images, miner) for miner in (*MINERS, NEW)}
    chain = SimulatedChain(
        folder / "chain.db",
        season.genesis(),
        season.script(digests),
    )
    return World(
        folder=folder,
        chain=chain,
        runner=ProcessRunner(ReferenceImages(images, model_dir)),
        evidence=EvidenceStore(folder / "evidence"),
        model_dir=model_dir,
        policies=tuple(_policy(number, baseline) for number in (1, 2, 3)),
        lock=lock,
        slot=take_slot(folder, socket.gethostname(), "demo"),
    )


def _locked(folder: Path) -> IO[bytes]:
    """The folder for this process alone; the system lets go of it when the process ends."""
    lock = (folder / ".lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        msg = f"another demo is playing in {folder}; wait for it, or give another --folder"
        raise DemoError(msg) from None
    return lock


def _image(images: Path, miner: Miner) -> str:
    """A miner's image. Ida's is Bea's under another label: a copy, though its digest differs."""
    pace = {"token_us": TOKEN_US} if miner.kind in _PACED else {}
    config = reference_image_kinds()[miner.kind].config(**pace)
    notes = {"kernel.txt": b"written from scratch\n"} if miner.name == "kim" else None
    return write_image(images, f"{miner.name} v1", config, notes)


def _policy(number: int, baseline: str) -> Policy:
    template = files("api.demo.policies").joinpath(f"phase{number}.toml").read_text("utf-8")
    return parse_policy_toml(
        template.replace("@TREASURY@", TREASURY).replace("@BASELINE@", baseline)
    )


def _ensure_model(model_dir: Path) -> None:
    """The one model there must be: made where it is missing, made again where it is damaged.

    Written beside the target and renamed, so that a killed demo leaves no half model.
    """
    wanted = model_dir.with_name("model.part")
    shutil.rmtree(wanted, ignore_errors=True)
    wanted.mkdir(parents=True)
    save_model(init_weights(MODEL_SEED), wanted)
    if _contents(model_dir) != _contents(wanted):
        shutil.rmtree(model_dir, ignore_errors=True)
        wanted.rename(model_dir)
    else:
        shutil.rmtree(wanted)


def _contents(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
