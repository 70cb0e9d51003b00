"""What a server claims of its tokens is kept where it can be laid beside ours, and only there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from byte_streams import DONE, event, raw
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bpe import SPECIAL, train

from evaluation.answers import MAX_LOGPROB_MILLI, Answer, ServerFaultError, understand
from evaluation.plan import Tokenizer
from evaluation.reference import tokenizer as byte_tokenizer
from evaluation.tokenizers import load_tokenizer
from ledger.codes import DisqualificationCode as Code


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(train(tmp_path_factory.mktemp("model")))


def chunk(
    text: str,
    claims: Sequence[tuple[str, float]] = (),
    ids: Any = None,
    finish_reason: str | None = None,
) -> bytes:
    entries = [{"token": token, "logprob": value, "top_logprobs": [{}]} for token, value in claims]
    choice: dict[str, Any] = {"delta": {"content": text}, "finish_reason": finish_reason}
    if entries:
        choice["logprobs"] = {"content": entries}
    if ids is not None:
        choice["token_ids"] = ids
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def read(pieces: Sequence[bytes], tokenizer: Tokenizer, *, end: str = "length") -> Answer:
    stream = [*pieces, event(None, end), DONE]
    return understand(raw(stream), tokenizer, max_tokens=64, require_logprobs=False)


def test_claims_beside_our_tokens_are_kept_in_thousandths() -> None:
    answer = read(
        [chunk("ab", [("a", -0.1), ("b", -1.2345)]), chunk("c", [("c", 0)])], byte_tokenizer
    )
    assert answer.tokens == (97, 98, 99)
    assert answer.logprobs_milli == (-100, -1234, 0)
    assert not answer.ids_from_server


@pytest.mark.parametrize(
    ("claims", "kept"),
    [
        ([("a", -0.1)], (-100,)),
        ([("ab", -0.1)], ()),
        ([("x", -0.1), ("b", -0.2)], ()),
        ([("a", -0.1), ("x", -0.2)], (-100,)),
        ([("a", -0.1), ("b", -0.2), ("c", -0.3)], (-100, -200)),
        ([], ()),
    ],
)
def test_claims_are_kept_up_to_the_first_about_another_token(
    claims: list[tuple[str, float]], kept: tuple[int, ...]
) -> None:
    assert read([chunk("ab", claims)], byte_tokenizer).logprobs_milli == kept


def test_one_token_cut_otherwise_leaves_the_claims_before_it(bpe: Tokenizer) -> None:
    words = [bpe.decode([one]) for one in bpe.encode("the river stone")]
    assert words == ["the", " river", " stone"]
    claims = [("the", -0.1), (" river", -0.2), (" sto", -0.3), ("ne", -0.4)]
    assert read([chunk("the river stone", claims)], bpe).logprobs_milli == (-100, -200)


def test_parts_of_a_character_count_only_where_the_token_after_them_is_the_same(
    bpe: Tokenizer,
) -> None:
    parts = [("\ufffd", -0.2), ("\ufffd", -0.3)]
    # One claim too many: whether it belongs to the character nobody can tell.
    early = [("a", -0.1), *parts, ("\ufffd", -0.35), (" a", -0.4)]
    assert read([chunk("aé a", early)], bpe).logprobs_milli == (-100,)
    late = [("a", -0.1), *parts, (" a", -0.4), ("x", -0.5)]
    assert read([chunk("aé a", late)], bpe).logprobs_milli == (-100, -200, -300, -400)


def test_the_claim_about_the_end_of_the_sequence_is_not_a_tokens() -> None:
    pieces = [chunk("a", [("a", -0.5)]), chunk("", [("<|end|>", -0.25)], finish_reason="stop")]
    answer = read(pieces, byte_tokenizer, end="stop")
    assert answer.logprobs_milli == (-500,)


def test_a_claim_beyond_all_measure_is_kept_as_the_bound() -> None:
    answer = read([chunk("ab", [("a", -1e300), ("b", 1e300)])], byte_tokenizer)
    assert answer.logprobs_milli == (-MAX_LOGPROB_MILLI, MAX_LOGPROB_MILLI)


def test_missing_logprobs_are_a_fault_only_where_they_are_required() -> None:
    stream = raw([event("a", logprobs=False), event(None, "length"), DONE])
    with pytest.raises(ServerFaultError) as caught:
        understand(stream, byte_tokenizer, max_tokens=8)
    assert caught.value.code is Code.LOGPROBS_MISSING
    answer = understand(stream, byte_tokenizer, max_tokens=8, require_logprobs=False)
    assert (answer.tokens, answer.logprobs_milli) == ((97,), ())


@settings(deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    ends=st.booleans(),
)
def test_the_servers_own_cut_of_the_same_text_is_taken(
    bpe: Tokenizer, text: str, ends: bool
) -> None:
    # One id for each byte spells the same text as the merged ids that we would make of it.
    own = [one for character in text for one in single_bytes(bpe, character)]
    claims = [("anything", -0.001 * at) for at in range(len(own))]
    pieces = [chunk(text, claims, own)]
    if ends:
        pieces.append(chunk("", [("<|im_end|>", -9.0)], [bpe.EOS_ID], "stop"))
    answer = read(pieces, bpe, end="stop" if ends else "length")
    assert answer.ids_from_server
    assert list(answer.tokens) == own
    assert answer.logprobs_milli == tuple(-at for at in range(len(own)))


def single_bytes(bpe: Tokenizer, text: str) -> list[int]:
    """The ids of the single bytes of ``text``, which the alphabet of the tokenizer has all."""
    alphabet = {bpe.decode([one]): one for one in range(3, 259)}
    if text in alphabet:
        return [alphabet[text]]
    return bpe.encode(text)


@pytest.mark.parametrize(
    "ids",
    [
        [97, 99],
        [97],
        [97, 98, 98],
        [97, 256, 98],
        [256, 97, 98],
        [97, 98, 256, 256],
        [97, -98],
        [97, 10**30],
        "ab",
        {"a": 1},
        [[97], [98]],
    ],
)
def test_ids_that_do_not_spell_the_text_are_not_believed(ids: object) -> None:
    answer = read([chunk("ab", [("a", -0.1), ("b", -0.2)], ids)], byte_tokenizer)
    assert answer.tokens == (97, 98)
    assert not answer.ids_from_server
    assert answer.logprobs_milli == (-100, -200)


def test_ids_of_only_a_part_of_the_text_are_not_believed() -> None:
    answer = read([chunk("a", ids=[97]), chunk("b"), chunk("c", ids=[99])], byte_tokenizer)
    assert (answer.tokens, answer.ids_from_server) == ((97, 98, 99), False)


def test_ids_named_early_do_not_make_the_text_early() -> None:
    pieces = [chunk("a", ids=[97, 98, 99]), chunk("b", ids=[]), chunk("c", ids=[])]
    answer = read(pieces, byte_tokenizer)
    assert answer.ids_from_server
    assert answer.arrival_us == (10, 20, 30)


def test_an_answer_cut_off_inside_a_character_keeps_the_ids_of_its_bytes(bpe: Tokenizer) -> None:
    whole = bpe.encode("a😀")
    answer = read([chunk("a", ids=whole[:-1])], bpe)
    assert answer.ids_from_server
    assert list(answer.tokens) == whole[:-1]
    assert set(answer.arrival_us) == {10}
    padded = read([chunk("a", ids=[whole[0], *[whole[1]] * 9])], bpe)
    assert not padded.ids_from_server


def test_what_stands_before_such_a_character_in_its_token_is_held_back_too(tmp_path: Path) -> None:
    quoting = load_tokenizer(train(tmp_path, text="say \u201cyes\u201d or \u201cno\u201d " * 20))
    cut = next(token for token in range(len(SPECIAL), 400) if quoting.decode([token]) == " \ufffd")
    said = quoting.encode("say yes")
    answer = read([chunk("say yes", ids=[*said, cut])], quoting)
    assert (list(answer.tokens), answer.ids_from_server) == ([*said, cut], True)
    assert len(answer.arrival_us) == len(said) + 1
    again = read([chunk("say yes", ids=[*said, *[cut] * 4])], quoting)
    assert not again.ids_from_server
    whole = read([chunk("say", ids=said)], quoting)
    assert not whole.ids_from_server


def test_a_token_that_spans_two_pieces_is_here_with_the_second(bpe: Tokenizer) -> None:
    answer = read([chunk("the ri"), chunk("ver sto"), chunk("ne")], bpe)
    assert bpe.decode(answer.tokens) == "the river stone"
    by_text = dict(
        zip((bpe.decode([one]) for one in answer.tokens), answer.arrival_us, strict=True)
    )
    assert (by_text["the"], by_text[" river"], by_text[" stone"]) == (10, 20, 30)


def test_claims_of_a_character_in_several_tokens_may_be_written_as_they_like(
    bpe: Tokenizer,
) -> None:
    ids = bpe.encode("é a")
    assert [bpe.decode([one]) for one in ids] == ["\ufffd", "\ufffd", " a"]
    claims = [("\ufffd", -0.1), ("", -0.2), (" a", -0.3)]
    assert read([chunk("é a", claims)], bpe).logprobs_milli == (-100, -200, -300)
    assert read([chunk("é a", [*claims[:2], (" b", -0.3)])], bpe).logprobs_milli == ()


def test_a_very_long_text_is_not_tokenized_to_its_end() -> None:
    answer = read([chunk("a" * 100_000)], byte_tokenizer)
    assert len(answer.tokens) == len(answer.arrival_us) == 2 * 64 + 16


def test_an_answer_without_text_has_no_tokens_whatever_ids_are_named() -> None:
    answer = read([chunk("", ids=[97])], byte_tokenizer)
    assert (answer.tokens, answer.ttft_us, answer.wall_us) == ((), answer.end_us, answer.end_us)


def test_evidence_from_before_these_fields_is_still_read() -> None:
    old = b'{"tokens":[97],"arrival_us":[10],"end_us":20,"finish_reason":"stop"}'
    assert msgspec.json.decode(old, type=Answer).logprobs_milli == ()


class Counting:
    """The byte tokenizer, counting how many ids it is asked to look at."""

    EOS_ID, END_IDS = byte_tokenizer.EOS_ID, byte_tokenizer.END_IDS
    encode, chat_prompt = (
        staticmethod(byte_tokenizer.encode),
        staticmethod(byte_tokenizer.chat_prompt),
    )

    def __init__(self) -> None:
        self.looked_at = 0

    def decode(self, ids: Sequence[int]) -> str:
        self.looked_at += len(ids)
        return byte_tokenizer.decode(ids)

    def text_ends(self, ids: Sequence[int]) -> list[int]:
        self.looked_at += len(ids)
        return byte_tokenizer.text_ends(ids)


@pytest.mark.parametrize("named", [False, True])
def test_timing_an_answer_looks_at_each_token_a_fixed_number_of_times(named: bool) -> None:
    counting, length = Counting(), 2_000
    pieces = [chunk("a", ids=[97] if named else None) for _ in range(length)]
    stream = raw([*pieces, event(None, "length"), DONE])
    answer = understand(stream, counting, max_tokens=length, require_logprobs=False)
    assert (len(answer.tokens), answer.ids_from_server) == (length, named)
    assert counting.looked_at <= 2 * length
