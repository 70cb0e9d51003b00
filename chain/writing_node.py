"""Both halves of the port over some nodes: read by :mod:`chain.nodes`, sent to the first one by
:mod:`chain.node_writer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chain.node_writer import NodeWriter
from chain.nodes import Nodes
from chain.orders import Order
from chain.port import Chain, Prepared, Receipt, Sending, WeightsTerms
from chain.wallets import Signer


class WritingNode(Nodes):
    """Nodes that are read as :class:`~chain.nodes.Nodes`; the first one sends with the keys of
    ``signers``.

    What was sent is looked for in the finalized blocks of whichever node answers, or of the
    ``archive``. With ``genesis`` no node of another chain is read from or sent to.
    """

    def __init__(
        self,
        urls: Sequence[str],
        signers: Sequence[Signer],
        *,
        archive: str | None = None,
        genesis: str | None = None,
        timeout_s: float = 30.0,
        final_s: float = 120.0,
        poll_s: float = 3.0,
    ) -> None:
        super().__init__(urls, archive=archive, genesis=genesis, timeout_s=timeout_s)
        self._writer = NodeWriter(
            urls[0],
            self,
            signers,
            genesis=genesis,
            timeout_s=timeout_s,
            final_s=final_s,
            poll_s=poll_s,
        )

    def close(self) -> None:
        """Close all connections."""
        self._writer.close()
        super().close()

    def offers(self, order: type[Order]) -> bool:
        """As :meth:`NodeWriter.offers`."""
        return self._writer.offers(order)

    def weights_terms(self, netuid: int, hotkey: str) -> WeightsTerms:
        """As :meth:`NodeWriter.weights_terms`."""
        return self._writer.weights_terms(netuid, hotkey)

    def prepare(self, order: Order, sending: Sending) -> Prepared:
        """As :meth:`NodeWriter.prepare`."""
        return self._writer.prepare(order, sending)

    def send(self, prepared: Prepared) -> Receipt:
        """As :meth:`NodeWriter.send`."""
        return self._writer.send(prepared)


if TYPE_CHECKING:
    _satisfies_the_port: type[Chain] = WritingNode
