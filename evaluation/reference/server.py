"""Start a reference server: ``python -m evaluation.reference.server --model DIR --config FILE``.

Prints ``listening on HOST:PORT`` once it accepts connections; ``--port 0`` picks a free port.
Exit code 2 with one sentence on stderr for a model or configuration that cannot be served.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from evaluation.reference.config import ConfigError, DiesAtStart, ServerConfig, load_config

USAGE_EXIT_CODE: Final = 2
_BLAS_THREAD_VARIABLES: Final = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def limit_blas_threads(environment: MutableMapping[str, str]) -> None:
    """One thread a server, so that arms are comparable; only before numpy's first import."""
    for name in _BLAS_THREAD_VARIABLES:
        environment[name] = "1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = _options(arguments)
    try:
        config = load_config(options.config)
    except ConfigError as error:
        return _fail(str(error), USAGE_EXIT_CODE)
    if isinstance(config, DiesAtStart):
        return _fail(config.message, config.exit_code)
    limit_blas_threads(os.environ)
    return _serve(config, options.model, options.host, options.port)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="evaluation.reference.server", allow_abbrev=False)
    parser.add_argument("--model", type=Path, default=Path("/models"), help="the model directory")
    parser.add_argument("--config", type=Path, required=True, help="the image's server.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    return parser.parse_args(arguments)


def _serve(config: ServerConfig, model: Path, host: str, port: int) -> int:
    # Imported here: numpy must not be loaded before its threads are limited.
    from evaluation.reference.http_server import ReferenceServer
    from evaluation.reference.model import ModelError
    from evaluation.reference.model_files import load_model
    from evaluation.reference.service import Service

    try:
        server = ReferenceServer((host, port), Service(config, load_model(model)))
    except ModelError as error:
        return _fail(str(error), USAGE_EXIT_CODE)
    except OSError as error:
        return _fail(f"cannot listen on {host}:{port}: {error.strerror}", 1)
    signal.signal(signal.SIGTERM, _leave)
    with server:
        sys.stdout.write(f"listening on {host}:{server.server_port}\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(0)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
