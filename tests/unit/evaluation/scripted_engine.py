"""Run as a program: a server with an engine's interface and the faults that its arguments name."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

FAULTS = sys.argv[1:]
ASKED = count()


def piece(text: str) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    if "no-logprobs" not in FAULTS:
        top = [] if "no-top" in FAULTS else [{"token": text, "logprob": -0.1, "bytes": None}]
        choice["logprobs"] = {"content": [{"token": text, "logprob": -0.1, "top_logprobs": top}]}
    return {"choices": [choice]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "silent" in FAULTS:
            threading.Event().wait()
        if "refuses" in FAULTS:
            self.answer(422, {"detail": "Unexpected fields in the request: {'seed'}"})
        elif "no-stream" in FAULTS:
            self.answer(200, {"choices": [{"message": {"content": "hello"}}]})
        else:
            self.stream(asked["max_tokens"] * (2 if "too-long" in FAULTS else 1))

    def stream(self, tokens: int) -> None:
        number = next(ASKED)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(tokens):
            time.sleep(0.005)
            letter = "abcdefgh"[(at + (number if "moody" in FAULTS else 0)) % 8]
            self.event(json.dumps(piece(letter)))
        self.event(json.dumps({"choices": [{"delta": {}, "finish_reason": "length"}]}))
        if "no-done" not in FAULTS:
            self.event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, data: str) -> None:
        line = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    if "dies" in FAULTS:
        sys.exit(FAULTS[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if "elsewhere" not in FAULTS:
        sys.stdout.write(f"listening on 127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
