"""A growing node with a validator of the test's own, and a writer that holds its keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bittensor.sp_core import Keypair

from chain.node import NodeChain
from chain.node_writer import NodeWriter
from tests.growing_node import GrowingNode, serving

VALIDATOR_UID = 1
TAO = 10**9


def keypair(name: str) -> Any:
    """A development key: its secret is no secret."""
    return Keypair.create_from_uri(f"//{name}")


VALIDATOR, COLDKEY, TREASURY = keypair("Validator"), keypair("Coldkey"), keypair("Treasury")


@dataclass
class Place:
    """A node, and both halves of the port over it."""

    node: GrowingNode
    url: str
    reader: NodeChain
    writer: NodeWriter


@contextmanager
def growing(*, final_s: float = 10.0) -> Iterator[Place]:
    """The recording with the test's validator at a recorded UID; closed at the end."""
    node = GrowingNode()
    node.give_uid(VALIDATOR_UID, VALIDATOR.ss58_address, COLDKEY.ss58_address)
    for key in (VALIDATOR, COLDKEY, TREASURY):
        node.give_account(key.ss58_address, free_rao=10 * TAO)
    with serving(node) as url:
        reader = NodeChain(url, timeout_s=10)
        writer = NodeWriter(
            url, reader, [VALIDATOR, COLDKEY], timeout_s=10, final_s=final_s, poll_s=0.01
        )
        try:
            yield Place(node, url, reader, writer)
        finally:
            writer.close()
            reader.close()
