"""The model's own tokenizer counts: read from its directory, which may be anybody's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bpe import CHATML, train

from evaluation import tokenizers as ours
from evaluation.plan import PlanError, Tokenizer
from evaluation.reference import tokenizer as byte_tokenizer
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from evaluation.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(train(tmp_path_factory.mktemp("model")))


def test_the_reference_models_directory_counts_bytes(tmp_path: Path) -> None:
    save_model(init_weights(1, ModelConfig(layers=1, width=8, heads=1, ffn=8)), tmp_path)
    assert load_tokenizer(tmp_path) is byte_tokenizer


def test_all_ids_that_end_a_sequence_are_known_and_the_models_own_is_the_first(
    bpe: Tokenizer,
) -> None:
    assert bpe.EOS_ID == 2
    assert {0, 2} == bpe.END_IDS


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({"generation_config.json": {"eos_token_id": 1}}, {1}),
        ({"generation_config.json": {}, "config.json": {"eos_token_id": [0]}}, {0}),
        ({"config.json": {"eos_token_id": 1, "layers": 3}}, {1}),
        ({}, {2}),
    ],
)
def test_the_first_file_that_names_an_end_decides(
    tmp_path: Path, files: dict[str, object], ends: set[int]
) -> None:
    model = train(tmp_path)
    (model / "generation_config.json").unlink()
    for name, content in files.items():
        (model / name).write_text(json.dumps(content))
    assert ends == load_tokenizer(model).END_IDS


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_text_comes_back_and_every_character_is_whole_with_its_last_token(
    bpe: Tokenizer, text: str
) -> None:
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    # A decoded prefix shows a character that is not whole as U+FFFD, which may also be meant.
    ends = bpe.text_ends(ids)
    assert len(ends) == len(ids)
    for count, end in enumerate(ends, start=1):
        assert bpe.decode(ids[:count]).startswith(text[:end])
        if "\ufffd" not in text:
            assert len(bpe.decode(ids[:count]).rstrip("\ufffd")) == end


@settings(deadline=None)
@given(ids=st.lists(st.integers(min_value=0, max_value=300), max_size=60))
def test_ids_that_spell_no_text_still_end_somewhere(bpe: Tokenizer, ids: list[int]) -> None:
    total = len(bpe.decode(ids))
    ends = bpe.text_ends(ids)
    assert ends == sorted(ends)
    assert not ids or ends[-1] == total


def test_letters_of_a_special_token_in_an_answer_are_letters(bpe: Tokenizer) -> None:
    ids = bpe.encode("stone<|im_end|>")
    assert bpe.EOS_ID not in ids
    assert bpe.decode(ids) == "stone<|im_end|>"
    assert bpe.decode([*bpe.encode("stone"), bpe.EOS_ID]) == "stone<|im_end|>"


def test_a_chat_is_what_the_models_template_makes_of_it(bpe: Tokenizer) -> None:
    ids = bpe.chat_prompt([{"role": "user", "content": "the river"}])
    assert bpe.decode(ids) == "<|im_start|>user\nthe river<|im_end|>\n<|im_start|>assistant\n"
    assert (ids[0], ids.count(1), ids.count(2)) == (1, 2, 1)


def test_a_template_in_a_file_of_its_own_goes_first(tmp_path: Path) -> None:
    model = train(tmp_path, template="{{ 'not this one' }}")
    (model / "chat_template.jinja").write_text(
        "{{ bos_token }}{{ eos_token }}{{ messages|tojson }}"
    )
    tokenizer = load_tokenizer(model)
    chat = tokenizer.chat_prompt([{"role": "user", "content": "é"}])
    assert tokenizer.decode(chat) == '<|im_end|>[{"role": "user", "content": "é"}]'


def test_of_several_templates_the_default_one_is_used(tmp_path: Path) -> None:
    model = train(tmp_path)
    named = [{"name": "tool", "template": "no"}, {"name": "default", "template": "yes"}]
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert load_tokenizer(model).decode(load_tokenizer(model).chat_prompt([])) == "yes"


@pytest.mark.parametrize("ids", [[-1], [400_000], [2**70]])
def test_an_id_the_model_has_not_is_refused(bpe: Tokenizer, ids: list[int]) -> None:
    with pytest.raises(ValueError, match="token ids must be from 0 to"):
        bpe.decode(ids)


def test_text_that_is_no_unicode_is_refused(bpe: Tokenizer) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        bpe.encode("\ud800")


def test_a_file_that_cuts_or_pads_does_not_get_its_way(tmp_path: Path) -> None:
    model = train(tmp_path)
    content = json.loads((model / "tokenizer.json").read_text())
    content["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (model / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(model)
    assert tokenizer.decode(tokenizer.encode("the river carries")) == "the river carries"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", "{}", "is not a tokenizer"),
        ("tokenizer.json", "\xff", "is not a tokenizer"),
        ("tokenizer_config.json", "[", "is not a tokenizer's configuration"),
        ("generation_config.json", '{"eos_token_id": "two"}', "is not a model's configuration"),
        ("chat_template.jinja", "{% for %}", "is not a chat template"),
    ],
)
def test_a_file_that_is_not_whole_is_named(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    model = train(tmp_path)
    (model / name).write_text(content, encoding="latin-1")
    with pytest.raises(PlanError, match=says) as caught:
        load_tokenizer(model)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"neither model\.npz nor tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_model_without_a_template_or_an_end_is_refused(tmp_path: Path) -> None:
    model = train(tmp_path, template=None)
    with pytest.raises(PlanError, match="no chat template"):
        load_tokenizer(model)
    (model / "generation_config.json").unlink()
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    with pytest.raises(PlanError, match="which token ends a sequence"):
        load_tokenizer(model)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages[0].content + 1 }}", "str"),
        ("{{ 1 // 0 }}", "zero"),
        ("{% for i in range(99999) %}{{ 'spam and more of it' }}{% endfor %}", "of its own"),
        ("{{ messages.append(1) }}", "unsafe"),
    ],
)
def test_a_template_is_strangers_code(tmp_path: Path, template: str, says: str) -> None:
    tokenizer = load_tokenizer(train(tmp_path, template=template))
    with pytest.raises(PlanError, match=says):
        tokenizer.chat_prompt([{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("tokenizer.json", "MAX_TOKENIZER_BYTES"),
        ("tokenizer_config.json", "MAX_CONFIG_BYTES"),
        ("chat_template.jinja", "MAX_TEMPLATE_BYTES"),
    ],
)
def test_every_file_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: str
) -> None:
    model = train(tmp_path)
    (model / "chat_template.jinja").write_text(CHATML)
    length = (model / name).stat().st_size
    monkeypatch.setattr(ours, limit, length)
    load_tokenizer(model)
    monkeypatch.setattr(ours, limit, length - 1)
    with pytest.raises(PlanError, match=f"longer than {length - 1} bytes"):
        load_tokenizer(model)
