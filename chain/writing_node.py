"""Both halves of the port over one node: read by :mod:`chain.node`, sent by
:mod:`chain.node_writer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chain.node import NodeChain
from chain.node_writer import NodeWriter
from chain.orders import Order
from chain.port import Chain, Prepared, Receipt, Sending, WeightsTerms
from chain.wallets import Signer


class WritingNode(NodeChain):
    """A node that reads as :class:`NodeChain` and sends with the keys of ``signers``.

    What was sent is looked for in this node's own finalized blocks.
    """

    def __init__(
        self,
        url: str,
        signers: Sequence[Signer],
        *,
        timeout_s: float = 30.0,
        final_s: float = 120.0,
        poll_s: float = 3.0,
    ) -> None:
        super().__init__(url, timeout_s=timeout_s)
        self._writer = NodeWriter(
            url, self, signers, timeout_s=timeout_s, final_s=final_s, poll_s=poll_s
        )

    def close(self) -> None:
        """Close both connections."""
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
