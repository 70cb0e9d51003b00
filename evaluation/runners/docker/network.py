"""A network for each server: internal, with a bridge name of our own, and nobody else on it."""

from __future__ import annotations

import itertools
import secrets
from typing import Any, Final

from evaluation.runners.docker.connection import Connection, engine_faults
from evaluation.runners.docker.ownership import Ownership

BRIDGE_PREFIX: Final = "cl"
# An interface's name has at most 15 characters: 2 + 8 for the stage, 5 for the network's number.
_STAGE_BYTES: Final = 4
_MAX_NETWORKS: Final = 16**5


def new_bridges() -> str:
    """The beginning of the names of one stage's bridges, which no other stage has."""
    return BRIDGE_PREFIX + secrets.token_hex(_STAGE_BYTES)


class Networks:
    """Makes the networks of one stage."""

    def __init__(self, connection: Connection, bridges: str, ownership: Ownership) -> None:
        self._connection = connection
        self._bridges = bridges
        self._ownership = ownership
        self._numbers = itertools.count()

    def new(self) -> Any:
        """An internal network (the SDK's ``Network``) without traffic between its containers."""
        number = next(self._numbers)
        if number >= _MAX_NETWORKS:
            msg = f"a stage has at most {_MAX_NETWORKS} servers"
            raise ValueError(msg)
        name = f"{self._bridges}{number:x}"
        with engine_faults("make a network"):
            return self._connection.client.networks.create(
                name,
                driver="bridge",
                internal=True,
                enable_ipv6=False,
                labels=self._ownership.labels(),
                options={
                    "com.docker.network.bridge.name": name,
                    "com.docker.network.bridge.enable_icc": "false",
                    "com.docker.network.bridge.enable_ip_masquerade": "false",
                },
            )
