"""A simulated chain in the place of the node and the wallet that commands open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bittensor.keyfiles import Keypair

from api import chains
from tests.unit.following.support import Following


class OneKey:
    """A wallet of which both keys are one address, or a real key that signs."""

    def __init__(self, addresses: dict[str, str], key: Any = None) -> None:
        self._addresses, self._key = addresses, key

    def address(self, role: str) -> str:
        return self._addresses[role]

    def signer(self, role: str) -> Any:
        return self._key or self._addresses[role]


def keys(name: str) -> Any:
    return Keypair.create_from_uri(f"//{name}")


def put_in_place(
    patch: pytest.MonkeyPatch, place: Following, wallets: dict[str, OneKey]
) -> list[str]:
    """Let commands open this chain and these wallets; gives the wallets' names as opened."""
    opened: list[str] = []

    def must_be_named(nodes: Sequence[str], timeout_s: float) -> None:
        assert nodes
        assert all(url.startswith("ws://") for url in nodes)
        assert timeout_s > 0

    @contextmanager
    def reading(nodes: Sequence[str], timeout_s: float, **which: str | None) -> Iterator[Any]:
        must_be_named(nodes, timeout_s)
        assert which.get("genesis") in {None, place.chain.genesis_hash()}
        yield place.chain

    @contextmanager
    def writing(
        nodes: Sequence[str], signers: Sequence[Any], timeout_s: float, **which: str | None
    ) -> Iterator[Any]:
        must_be_named(nodes, timeout_s)
        assert which["genesis"] == place.chain.genesis_hash()
        opened.extend("signer" for _ in signers)
        yield place.chain

    def wallet(name: str, hotkey: str, path: Path | None) -> OneKey:
        assert hotkey
        assert path is None
        opened.append(name)
        return wallets[name]

    patch.setattr(chains, "reading", reading)
    patch.setattr(chains, "writing", writing)
    patch.setattr(chains, "wallet", wallet)
    return opened
