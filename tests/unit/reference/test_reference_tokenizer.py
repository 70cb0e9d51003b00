"""One byte is one token, both ways."""

from __future__ import annotations

import pytest

from evaluation.reference.tokenizer import (
    EOS_ID,
    TokenizerError,
    chat_prompt,
    decode,
    encode,
    token_bytes,
    token_text,
)


def test_every_byte_survives_decoding_and_encoding() -> None:
    assert encode(decode(range(256))) == list(range(256))
    assert encode("é") == [0xE9] == token_bytes(0xE9)


def test_the_end_of_sequence_adds_no_text_and_has_a_name() -> None:
    assert decode([65, EOS_ID]) == "A"
    assert token_text(EOS_ID) == "<|endoftext|>"


def test_characters_without_a_token_are_named() -> None:
    with pytest.raises(TokenizerError, match=r"U\+20AC at index 2"):
        encode("1 €")
    with pytest.raises(TokenizerError, match="257 is outside"):
        decode([257])


def test_a_chat_becomes_the_template() -> None:
    assert decode(chat_prompt([{"role": "user", "content": "hi"}])) == "user: hi\nassistant: "
    two = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert decode(chat_prompt(two)) == "system: be brief\nuser: hi\nassistant: "
    with pytest.raises(TokenizerError, match="at least one"):
        chat_prompt([])
    with pytest.raises(TokenizerError, match="message 0 needs"):
        chat_prompt([{"role": "user"}])
