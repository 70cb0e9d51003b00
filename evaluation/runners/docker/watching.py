"""What happened to a container from outside: the engine under it went, or somebody had it killed.

An engine that comes back kills what ran under the earlier one, and shows it as ended by a signal,
as if it had ended by itself. So a stream of the engine's events on the container is held open from
before its start: it breaks with the engine, and tells every kill that the engine was asked for. A
signal that somebody sends past the engine is not seen: a server can send itself the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from typing import Any, Final

from evaluation.runners.docker.connection import (
    CONNECT_TIMEOUT_S,
    ENGINE_ERRORS,
    Connection,
    reason_of,
)

TOLD_S: Final = 10.0
"""How long after its end is seen the engine may take to tell of it on the stream."""
_EARLIER_S: Final = 5
"""Events since then are asked for: the stream is opened before the engine listens for us."""


class Watch:
    """The open stream of one container's events, read by a thread of its own until closed."""

    def __init__(self, connection: Connection, container_id: str) -> None:
        """Raises what the SDK raises where the engine does not answer."""
        self._container = container_id
        self._said: str | None = None
        self._told = threading.Condition()
        self._died = False
        self._closing = False
        api = connection.client.api
        self._response = api.request(
            "GET",
            f"{api.base_url}/v{api.api_version}/events",
            params={
                "since": int(time.time()) - _EARLIER_S,
                "filters": json.dumps({"container": [container_id], "type": ["container"]}),
            },
            stream=True,
            timeout=(CONNECT_TIMEOUT_S, None),
        )
        try:
            self._response.raise_for_status()
            self._socket = socket.socket(fileno=os.dup(self._response.raw.fileno()))
        except BaseException:
            self._response.close()
            raise
        self._thread = threading.Thread(
            target=self._read, name=f"events-{container_id[:12]}", daemon=True
        )
        self._thread.start()

    def disturbance(self) -> str | None:
        """What was done to the container by anybody but itself, in half a sentence; None so far."""
        with self._told:
            return self._said

    def disturbance_at_end(self) -> str | None:
        """The same of a container that ended, once the engine has told of its end here."""
        with self._told:
            if not self._told.wait_for(lambda: self._died or self._said is not None, TOLD_S):
                return f"the Docker Engine did not tell of its end within {TOLD_S:g} s"
            return self._said

    def close(self) -> None:
        """Stop watching; again it does nothing."""
        with self._told:
            if self._closing:
                return
            self._closing = True
        with contextlib.suppress(OSError):  # the engine was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._response.close()

    def _read(self) -> None:
        try:
            for line in self._response.iter_lines():
                if line.strip() and self._noted(json.loads(line)) == "destroy":
                    return  # nothing more will come
            self._disturbed("the Docker Engine went away under it")
        except (*ENGINE_ERRORS, ValueError, AttributeError) as error:
            # urllib3 loses its file (AttributeError) where a stream is closed while it is read.
            self._disturbed(f"the Docker Engine went away under it ({reason_of(error)})")

    def _noted(self, event: dict[str, Any]) -> str:
        if event.get("id") != self._container:
            return ""
        if event.get("Action") == "kill":
            number = ((event.get("Actor") or {}).get("Attributes") or {}).get("signal", "unknown")
            self._disturbed(f"somebody had the Docker Engine send it signal {number}")
        elif event.get("Action") == "die":
            with self._told:
                self._died = True
                self._told.notify_all()
        return str(event.get("Action"))

    def _disturbed(self, said: str) -> None:
        with self._told:
            if not self._closing and self._said is None:
                self._said = said
            self._told.notify_all()
