"""Logs of the command line: structlog and the libraries' own, both to stderr."""

from __future__ import annotations

import logging
import sys
from typing import Final

WIRES: Final = ("asyncio", "httpcore", "httpx", "urllib3", "websocket", "websockets")
"""Libraries that log the addresses they call at `debug`: a node's address may hold its key."""


def configure(*, debug: bool) -> None:
    """Send every log line to stderr: ours from `info` on, the libraries' from `warning` on.

    ``debug`` shows everything of both but of :data:`WIRES`. No colours unless stderr is a terminal.
    """
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if debug else logging.INFO
        ),
        # What is stderr when a line is written: whoever runs a command within a program of its own
        # may have put another in its place, and closed it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        force=True,
    )
    for name in WIRES:
        logging.getLogger(name).setLevel(logging.WARNING)
