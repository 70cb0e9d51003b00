"""A stream with several faults: all of them are seen, none stops the reading."""

from __future__ import annotations

import json

from evaluation.stream_findings import MAX_QUOTED_CHARS, Raw, heard, quoted


def stream(*events: object) -> Raw:
    body = "".join(
        f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in events
    )
    return Raw(200, "text/event-stream", body.encode(), cut=False)


def piece(text: str, *, top: int | None = None, entries: int = 1) -> dict[str, object]:
    choice: dict[str, object] = {"delta": {"content": text}}
    if top is not None:
        alternatives = [{"token": "a", "logprob": -1.0}] * top
        entry = {"token": text, "logprob": -0.5, "top_logprobs": alternatives}
        choice["logprobs"] = {"content": [entry] * entries}
    return {"choices": [choice]}


def test_all_faults_are_counted_at_once() -> None:
    said = heard(stream(piece("a"), piece("b", top=0), piece("c", top=5), "no json", [1, 2]))
    assert said.text == "abc"
    assert (said.without_logprobs, said.without_top, said.entries) == (1, 1, 2)
    assert (said.finish_reason, said.done) == (None, False)
    assert said.unreadable == "no json"


def test_a_whole_stream_has_none() -> None:
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    said = heard(stream(piece("a", top=5), {"choices": []}, end, "[DONE]"))
    assert (said.without_logprobs, said.without_top, said.unreadable) == (0, 0, None)
    assert (said.finish_reason, said.done) == ("stop", True)


def test_nonsense_of_any_shape_is_only_unreadable() -> None:
    for nonsense in ("[" * 10_000, {"choices": "x"}, {"choices": [3]}, "null", "1"):
        said = heard(stream(nonsense))
        assert said.pieces == []
        assert said.unreadable is not None


def test_what_is_quoted_is_short_and_printable() -> None:
    assert len(quoted(b"x" * 10_000)) == MAX_QUOTED_CHARS
    assert quoted(b"\x1b[31mred\xff") == "[31mred\ufffd"
