"""The same bytes are the same events, however the network cut them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.sse import Chunk, sse_events

STREAM = (
    b"\xef\xbb\xbfdata: one\n\n: a comment\nevent: ping\ndata: two\r\ndata: lines\r\n\r\n"
    b"data:three\r\rid: 4\n\ndata: [DONE]\n\n"
)
EXPECTED = [b"one", b"two\nlines", b"three", b"[DONE]"]


def cut(data: bytes, places: list[int]) -> list[Chunk]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [Chunk(at, data[start:end]) for at, (start, end) in enumerate(itertools.pairwise(edges))]


@given(st.lists(st.integers(min_value=0), max_size=40))
def test_any_cut_of_a_stream_gives_the_same_events(places: list[int]) -> None:
    assert [event.data for event in sse_events(cut(STREAM, places))] == EXPECTED


@given(st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=1, max_size=8), st.data())
def test_line_ends_may_differ_from_line_to_line(ends: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(b"data: %d" % at + end + end for at, end in enumerate(ends))
    places = data.draw(st.lists(st.integers(min_value=0), max_size=20))
    expected = [b"%d" % at for at in range(len(ends))]
    assert [event.data for event in sse_events(cut(stream, places))] == expected


def test_an_event_arrives_with_the_chunk_that_ends_its_last_line() -> None:
    chunks = [Chunk(5, b"data: a"), Chunk(7, b"b\n"), Chunk(9, b"\ndata: c\n\ndata: d\n\n")]
    assert [(event.at_us, event.data) for event in sse_events(chunks)] == [
        (7, b"ab"),
        (9, b"c"),
        (9, b"d"),
    ]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [(b"data: whole\n", [b"whole"]), (b"data: cut", []), (b"data: a\n\ndata: cut", [b"a"])],
)
def test_at_the_end_only_a_complete_line_counts(stream: bytes, expected: list[bytes]) -> None:
    assert [event.data for event in sse_events([Chunk(0, stream)])] == expected
