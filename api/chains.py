"""Opening a chain for one command: the one place where the faces get a node.

Commands call :func:`reading` or :func:`writing`; tests put a simulated chain in their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chain.nodes import Nodes
    from chain.wallets import OpenedWallet, Signer
    from chain.writing_node import WritingNode


@contextmanager
def reading(
    nodes: Sequence[str],
    timeout_s: float,
    *,
    archive: str | None = None,
    genesis: str | None = None,
) -> Iterator[Nodes]:
    """The first of these nodes that answers, to read from; closed again at the end.

    ``archive`` is asked for what the others have thrown away. With ``genesis`` a node of another
    chain is refused.
    """
    from chain.nodes import Nodes

    chain = Nodes(nodes, archive=archive, genesis=genesis, timeout_s=timeout_s)
    try:
        yield chain
    finally:
        chain.close()


@contextmanager
def writing(
    nodes: Sequence[str],
    signers: Sequence[Signer],
    timeout_s: float,
    *,
    archive: str | None = None,
    genesis: str | None = None,
) -> Iterator[WritingNode]:
    """Nodes to read from as :func:`reading`; what is sent goes to the first one of them, with the
    keys of ``signers``."""
    from chain.writing_node import WritingNode

    chain = WritingNode(nodes, signers, archive=archive, genesis=genesis, timeout_s=timeout_s)
    try:
        yield chain
    finally:
        chain.close()


def wallet(name: str, hotkey: str, path: Path | None) -> OpenedWallet:
    """A wallet by name; the SDK reads its files, and asks for its password when it must."""
    from chain.wallets import open_wallet

    return open_wallet(name, hotkey, path)
