"""The sockets of a reference server: HTTP/1.1 with a chunked event stream, a thread a connection.

A token leaves in the thread that computed it, in one write, before the next one is computed.
"""

from __future__ import annotations

import socketserver
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from evaluation.reference import wire
from evaluation.reference.service import Service, StreamBrokenOffError

MAX_BODY_BYTES: Final = 1_048_576
_JSON: Final = "application/json"


def _not_ready() -> wire.WireError:
    return wire.WireError(503, "ServiceUnavailableError", "The model is still loading.")


class ReferenceServer(ThreadingHTTPServer):
    """Listens once constructed; ``serve_forever`` answers."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without looking the host's name up, which may take seconds off-line."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ReferenceServer

    def do_GET(self) -> None:
        service = self.server.service
        if not service.ready:
            self._refuse(_not_ready())
        elif self.path == "/health":
            self._send(200, b'{"status":"ok"}')
        elif self.path == "/v1/models":
            self._send(200, wire.models(service.model_name))
        else:
            self._refuse(self._no_route())

    def do_POST(self) -> None:
        service = self.server.service
        try:
            body = self._body()
            if not service.ready:
                raise _not_ready()
            if self.path == "/v1/chat/completions":
                self._chat(service, body)
            elif self.path == "/v1/completions":
                self._send(200, service.completion(body))
            else:
                raise self._no_route()
        except wire.WireError as error:
            self._refuse(error)
        except ConnectionError as error:
            # The client hung up; there is nobody to tell but whoever reads this server's log.
            self.close_connection = True
            self.log_error("the client closed the connection: %s", error)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep answered requests out of the log: a log nobody reads would fill its pipe."""

    def _chat(self, service: Service, body: bytes) -> None:
        request, prompt = service.chat_request(body)
        if service.hangs:
            threading.Event().wait()
        relayed = service.relayed(body)
        if not request.stream:
            whole = service.answer(request, prompt) if relayed is None else b"".join(relayed)
            self._send(200, whole)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            # Closed here whatever happens: an abandoned answer must not keep the engine's turn.
            with closing(service.stream(request, prompt)) as own:
                for piece in own if relayed is None else relayed:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        except StreamBrokenOffError:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            self.close_connection = True
            raise wire.WireError(411, "BadRequestError", "The request needs a Content-Length.")
        if int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            message = f"The request body is larger than {MAX_BODY_BYTES} bytes."
            raise wire.WireError(413, "BadRequestError", message)
        return self.rfile.read(int(length))

    def _no_route(self) -> wire.WireError:
        return wire.WireError(404, "NotFoundError", f"There is nothing at {self.path}.")

    def _refuse(self, error: wire.WireError) -> None:
        sys.stderr.write(f"{self.command} {self.path}: {error.status} {error}\n")
        self._send(error.status, error.body())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", _JSON)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            # A client that is not told would send its next request where nobody reads any more.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
