"""The HTTP contract, over real sockets to real processes."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from evaluation.reference import config as kinds
from evaluation.reference.engines import Emitted, PrefixCacheEngine, RecomputeEngine
from evaluation.reference.http_server import MAX_BODY_BYTES
from evaluation.reference.image import CONFIG_FILE, image_path, write_image
from evaluation.reference.model import Weights
from evaluation.reference.scoring import teacher_forced
from evaluation.reference.tokenizer import EOS_ID, EOS_TEXT, decode
from tests.unit.reference.support import (
    START_DEADLINE_S,
    StartServer,
    chat_body,
    events_of,
    server_command,
)

CHAT = "/v1/chat/completions"
SCORE = "/v1/completions"


def run_to_exit(model: Path, config_file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own module
        server_command(model, config_file),
        capture_output=True,
        text=True,
        timeout=START_DEADLINE_S,
        check=False,
    )


def test_the_baseline_keeps_the_contract(
    start_server: StartServer, weights: Weights, contents: list[str], prompts: list[list[int]]
) -> None:
    client = start_server(kinds.Recompute())
    assert client.get("/health").json() == {"status": "ok"}
    listed = client.get("/v1/models").json()
    assert (listed["object"], listed["data"][0]["id"]) == ("list", "cacheon-reference")

    steps = list(RecomputeEngine(weights).generate(prompts[0], 12))
    expected = [step for step in steps if isinstance(step, Emitted)]
    response = client.post(CHAT, json=chat_body(contents[0]))
    assert response.headers["content-type"].startswith("text/event-stream")
    *tokens, last = events_of(response.text)
    assert len(tokens) == 12
    for event, step in zip(tokens, expected, strict=True):
        character = chr(step.token_id)
        assert set(event) == {"id", "object", "created", "model", "choices"}
        assert event["object"] == "chat.completion.chunk"
        (choice,) = event["choices"]
        assert choice["delta"] == {"content": character}
        assert choice["finish_reason"] is None
        (entry,) = choice["logprobs"]["content"]
        assert (entry["token"], entry["bytes"]) == (character, [step.token_id])
        assert entry["logprob"] == pytest.approx(step.logprob, abs=2e-3)
        assert len(entry["top_logprobs"]) == 5
        assert entry["top_logprobs"][0]["token"] == character
    assert last["choices"] == [
        {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    ]

    whole = client.post(CHAT, json=chat_body(contents[0], stream=False)).json()
    assert whole["choices"][0]["message"]["content"] == decode([one.token_id for one in expected])
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 12


def test_teacher_forcing_has_the_shape_of_vllm(
    start_server: StartServer, weights: Weights, prompts: list[list[int]]
) -> None:
    client = start_server(kinds.Recompute())
    output = [
        step.token_id
        for step in PrefixCacheEngine(weights).generate(prompts[1], 12)
        if isinstance(step, Emitted)
    ]
    sequence = [*prompts[1], *output, EOS_ID]
    body = {"model": "cacheon-reference", "prompt": sequence, "max_tokens": 1, "temperature": 0}
    asked = {**body, "prompt_logprobs": 1, "return_token_ids": True}
    (choice,) = client.post(SCORE, json=asked).json()["choices"]
    expected = teacher_forced(weights, sequence)
    assert choice["token_ids"] == [expected.next_token]
    assert choice["text"] == decode([expected.next_token])
    entries: list[dict[str, Any] | None] = choice["prompt_logprobs"]
    assert len(entries) == len(sequence)
    assert entries[0] is None
    for token, entry in zip(sequence[1:], entries[1:], strict=True):
        assert entry is not None
        assert str(token) in entry
        assert 1 <= len(entry) <= 2
        assert 1 in {scored["rank"] for scored in entry.values()}
    for token, entry in zip(output, entries[len(prompts[1]) : -1], strict=True):
        assert entry is not None
        assert list(entry) == [str(token)]  # the honest token is the first choice itself
        assert entry[str(token)]["decoded_token"] == chr(token)
    claimed_end = entries[-1]
    assert claimed_end is not None
    assert claimed_end[str(EOS_ID)]["rank"] > 1
    assert claimed_end[str(EOS_ID)]["decoded_token"] == EOS_TEXT

    plain = client.post(SCORE, json=body).json()["choices"][0]
    assert plain["prompt_logprobs"] is None
    assert "token_ids" not in plain


def test_requests_that_do_not_fit_get_a_status_and_a_sentence(start_server: StartServer) -> None:
    client = start_server(kinds.KvCached())

    def error(path: str, body: object) -> tuple[int, str]:
        response = client.post(path, json=body)
        found = response.json()["error"]
        assert found["code"] == response.status_code
        return response.status_code, found["message"]

    missing = client.post(CHAT, json=chat_body("hi", model="x"))
    assert missing.status_code == 404
    assert missing.json() == {
        "error": {
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "code": 404,
        }
    }
    assert client.post(CHAT, content=b"{").status_code == 400
    assert error(CHAT, {"model": "cacheon-reference"})[0] == 400
    assert error(CHAT, chat_body("€")) == (
        400,
        "character U+20AC at index 6 has no token; use characters up to U+00FF.",
    )
    assert error(CHAT, chat_body("hi", temperature=0.7))[0] == 400
    assert error(CHAT, chat_body("hi", top_logprobs=6))[0] == 400
    assert "maximum context length is 1024" in error(CHAT, chat_body("x" * 1010))[1]
    score = {"model": "cacheon-reference", "prompt": [257], "prompt_logprobs": 1}
    assert error(SCORE, score)[0] == 400
    assert error(SCORE, {**score, "prompt": []})[0] == 400
    assert error(SCORE, {**score, "prompt": [1], "model": "x"})[0] == 404
    assert error("/v2", {})[0] == 404
    unread = client.post(CHAT, content=iter([b"{}"]))
    assert (unread.status_code, unread.headers["Connection"]) == (411, "close")
    assert client.get("/health").status_code == 200


def test_a_body_beyond_the_bound_is_refused_before_it_is_read(start_server: StartServer) -> None:
    client = start_server(kinds.Recompute())
    asking = http.client.HTTPConnection(client.base_url.host, client.base_url.port or 80)
    with closing(asking):
        asking.putrequest("POST", CHAT)
        asking.putheader("Content-Length", str(MAX_BODY_BYTES + 1))
        asking.endheaders()
        assert asking.getresponse().status == 413


def test_tokens_arrive_one_event_a_piece_unless_they_are_flushed(
    start_server: StartServer, contents: list[str]
) -> None:
    def pieces(client: httpx.Client) -> tuple[list[str], str]:
        with client.stream("POST", CHAT, json=chat_body(contents[0])) as response:
            found = [piece.decode() for piece in response.iter_raw()]
        return found, "".join(found)

    # Each token of the baseline takes a whole forward pass, so that no two can share a read.
    streamed, text = pieces(start_server(kinds.Recompute()))
    assert len(streamed) >= 6
    assert streamed[0].count("data: ") < text.count("data: ")
    flushed, same_text = pieces(start_server(kinds.Flush()))
    contents_of = [event["choices"][0]["delta"] for event in events_of(text)]
    flushed_contents = [event["choices"][0]["delta"] for event in events_of(same_text)]
    assert flushed_contents == contents_of
    assert len(flushed) < len(streamed)


def test_a_server_that_dies_at_start_says_why(tmp_path: Path, model_directory: Path) -> None:
    image = image_path(tmp_path, write_image(tmp_path, "x", kinds.DiesAtStart()))
    ended = run_to_exit(model_directory, image / CONFIG_FILE)
    assert ended.returncode == 2
    assert "--kv-cache-dtype: invalid choice: 'fp8'" in ended.stderr
    assert ended.stdout == ""


def test_a_server_without_model_or_configuration_says_so(
    tmp_path: Path, model_directory: Path
) -> None:
    image = image_path(tmp_path, write_image(tmp_path, "x", {"engine": "warp"}))
    ended = run_to_exit(model_directory, image / CONFIG_FILE)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "Invalid value 'warp'" in ended.stderr
    image = image_path(tmp_path, write_image(tmp_path, "x", kinds.KvCached()))
    ended = run_to_exit(tmp_path / "nowhere", image / CONFIG_FILE)
    assert ended.returncode == 2
    assert "no model configuration" in ended.stderr


def test_a_server_that_is_never_healthy_answers_503(start_server: StartServer) -> None:
    client = start_server(kinds.NeverHealthy())
    assert client.get("/health").status_code == 503
    assert client.post(CHAT, json=chat_body("hi")).status_code == 503


def test_a_broken_stream_ends_half_way_after_the_whole_ones(start_server: StartServer) -> None:
    client = start_server(kinds.BreaksStream(whole_answers=1))
    events_of(client.post(CHAT, json=chat_body("hi")).text)
    received = b""
    with (
        client.stream("POST", CHAT, json=chat_body("hi")) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        for piece in response.iter_raw():
            received += piece
    assert received.count(b"data: ") == 6
    assert b"[DONE]" not in received
    assert client.get("/health").status_code == 200


def test_logprobs_can_be_left_out_by_fault_or_by_request(start_server: StartServer) -> None:
    faulty = start_server(kinds.NoLogprobs()).post(CHAT, json=chat_body("hi"))
    unasked = start_server(kinds.KvCached()).post(CHAT, json=chat_body("hi", logprobs=False))
    for response in (faulty, unasked):
        events = events_of(response.text)
        assert len(events) == 13
        assert all(event["choices"][0]["logprobs"] is None for event in events)


def test_a_wrong_model_name_is_listed_and_the_right_one_is_not_found(
    start_server: StartServer,
) -> None:
    client = start_server(kinds.WrongModelName())
    assert client.get("/v1/models").json()["data"][0]["id"] == "/models"
    assert client.post(CHAT, json=chat_body("hi")).status_code == 404
    assert client.post(CHAT, json=chat_body("hi", model="/models")).status_code == 200


def test_a_hanging_server_is_healthy_and_never_answers(start_server: StartServer) -> None:
    client = start_server(kinds.Hangs())
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=chat_body("hi"), timeout=0.5)
    assert client.get("/health").status_code == 200


def test_cheats_reach_the_wire(
    start_server: StartServer, weights: Weights, contents: list[str]
) -> None:
    honest = start_server(kinds.KvCached()).post(CHAT, json=chat_body(contents[0])).text
    *tokens, last = events_of(
        start_server(kinds.Truncated()).post(CHAT, json=chat_body(contents[0])).text
    )
    assert len(tokens) == 6
    assert last["choices"][0]["finish_reason"] == "stop"
    replaying = start_server(kinds.Replay())
    answers = [replaying.post(CHAT, json=chat_body(contents[0])).text for _ in range(2)]
    deltas = [
        [event["choices"][0]["delta"] for event in events_of(text)] for text in (honest, *answers)
    ]
    assert deltas[0] == deltas[1] == deltas[2]
    for cheat in (kinds.OtherWeights(), kinds.RepeatPenalty()):
        changed = events_of(start_server(cheat).post(CHAT, json=chat_body(contents[0])).text)
        assert [event["choices"][0]["delta"] for event in changed] != deltas[0]


def test_a_client_that_hangs_up_does_not_keep_the_others_waiting(
    start_server: StartServer, contents: list[str]
) -> None:
    client = start_server(kinds.Recompute())
    with client.stream("POST", CHAT, json=chat_body(contents[0], max_tokens=400)) as response:
        next(response.iter_raw())
    assert len(events_of(client.post(CHAT, json=chat_body("hi")).text)) == 13


def test_blas_threads_are_limited_before_numpy_is_loaded(tmp_path: Path) -> None:
    image = image_path(tmp_path, write_image(tmp_path, "x", kinds.KvCached()))
    arguments = ["--config", str(image / CONFIG_FILE), "--model", str(tmp_path / "nowhere")]
    script = (
        "import os, sys\n"
        "from evaluation.reference import server\n"
        "loaded_before = 'numpy' in sys.modules\n"
        "code = server.main(sys.argv[1:])\n"
        "print(loaded_before, code, 'numpy' in sys.modules, os.environ['OPENBLAS_NUM_THREADS'])\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "8"}
    ended = subprocess.run(  # noqa: S603 - our own module
        command, capture_output=True, text=True, env=environment, timeout=30, check=True
    )
    assert ended.stdout.split() == ["False", "2", "True", "1"]


def test_a_chat_may_ask_for_a_repetition_penalty_and_the_next_one_for_none(
    start_server: StartServer, contents: list[str]
) -> None:
    def answer(client: httpx.Client, **asked: object) -> list[str]:
        events = events_of(client.post(CHAT, json=chat_body(contents[0], **asked)).text)
        return [event["choices"][0]["delta"].get("content", "") for event in events]

    client = start_server(kinds.KvCached())
    plain = answer(client)
    assert answer(client, repetition_penalty=1) == plain
    penalised = answer(client, repetition_penalty=1.3)
    assert penalised != plain
    assert penalised == answer(start_server(kinds.RepeatPenalty(penalty_ppm=1_300_000)))
    assert answer(client) == plain
    refused = client.post(CHAT, json=chat_body(contents[0], repetition_penalty=0))
    assert refused.status_code == 400
