"""A model directory, what servers find at ``/models``: ``model.npz`` and ``config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from evaluation.reference.model import Layer, ModelConfig, ModelError, Weights
from evaluation.reference.numerics import Floats

MODEL_FILE: Final = "model.npz"
CONFIG_FILE: Final = "config.json"


def save_model(weights: Weights, directory: Path) -> None:
    """Write ``model.npz`` and ``config.json`` into ``directory``, which is made if missing."""
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(directory / MODEL_FILE, **_named(weights))  # type: ignore[arg-type]
    text = msgspec.json.format(msgspec.json.encode(weights.config), indent=2)
    (directory / CONFIG_FILE).write_bytes(text + b"\n")


def load_config(directory: Path) -> ModelConfig:
    """Read ``config.json`` alone; :class:`ModelError` if it is missing or does not fit."""
    path = directory / CONFIG_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelConfig)
    except (OSError, msgspec.DecodeError) as error:
        msg = f"{path} is no model configuration: {error}"
        raise ModelError(msg) from error


def load_model(directory: Path) -> Weights:
    """Read a model directory; :class:`ModelError` if a file or an array is missing or misshapen."""
    config = load_config(directory)
    path = directory / MODEL_FILE
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        msg = f"{path} is no model archive: {error}"
        raise ModelError(msg) from error
    wrong = [
        name
        for name, shape in _shapes(config).items()
        if name not in arrays or arrays[name].shape != shape or arrays[name].dtype != np.float32
    ]
    if wrong:
        msg = f"{path} does not fit {CONFIG_FILE}; missing or misshapen: {', '.join(wrong)}"
        raise ModelError(msg)
    layers = tuple(
        Layer(
            arrays[f"layers.{index}.query_key_value"],
            arrays[f"layers.{index}.project"],
            arrays[f"layers.{index}.up"],
            arrays[f"layers.{index}.down"],
        )
        for index in range(config.layers)
    )
    return Weights(
        config, arrays["tokens"], arrays["positions"], layers, arrays["head"], arrays["bias"]
    )


def _named(weights: Weights) -> dict[str, Floats]:
    named = {
        "tokens": weights.tokens,
        "positions": weights.positions,
        "head": weights.head,
        "bias": weights.bias,
    }
    for index, layer in enumerate(weights.layers):
        named[f"layers.{index}.query_key_value"] = layer.query_key_value
        named[f"layers.{index}.project"] = layer.project
        named[f"layers.{index}.up"] = layer.up
        named[f"layers.{index}.down"] = layer.down
    return named


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    width, ffn = config.width, config.ffn
    shapes: dict[str, tuple[int, ...]] = {
        "tokens": (config.vocabulary, width),
        "positions": (config.positions, width),
        "head": (width, config.vocabulary),
        "bias": (config.vocabulary,),
    }
    for index in range(config.layers):
        shapes[f"layers.{index}.query_key_value"] = (width, 3 * width)
        shapes[f"layers.{index}.project"] = (width, width)
        shapes[f"layers.{index}.up"] = (width, ffn)
        shapes[f"layers.{index}.down"] = (ffn, width)
    return shapes
