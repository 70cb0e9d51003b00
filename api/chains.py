"""Opening a chain for one command: the one place where the faces get a node.

Commands call :func:`reading` or :func:`writing`; tests put a simulated chain in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chain.node import NodeChain
    from chain.wallets import OpenedWallet, Signer
    from chain.writing_node import WritingNode


@contextmanager
def reading(url: str, timeout_s: float) -> Iterator[NodeChain]:
    """A node to read from; closed again at the end."""
    from chain.node import NodeChain

    chain = NodeChain(url, timeout_s=timeout_s)
    try:
        yield chain
    finally:
        chain.close()


@contextmanager
def writing(url: str, signers: Sequence[Signer], timeout_s: float) -> Iterator[WritingNode]:
    """A node to read from and to send to, with the keys of ``signers``."""
    from chain.writing_node import WritingNode

    chain = WritingNode(url, signers, timeout_s=timeout_s)
    try:
        yield chain
    finally:
        chain.close()


def wallet(name: str, hotkey: str, path: Path | None) -> OpenedWallet:
    """A wallet by name; the SDK reads its files, and asks for its password when it must."""
    from chain.wallets import open_wallet

    return open_wallet(name, hotkey, path)
