"""Prompts may come from a file or a dataset; the seed selects them, and what is missing is said."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bpe import WORDS, train

from evaluation import sources
from evaluation.plan import PlanError, Tokenizer
from evaluation.prompts import MAX_REPEAT_ROUNDS, PromptSet, prompts_for
from evaluation.reference import tokenizer as byte_tokenizer
from evaluation.sources import open_texts
from evaluation.tokenizers import load_tokenizer
from ledger.contest_policy import ContestPolicy, GeneratedText, HuggingFaceDataset, JsonlFile

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = [f"{number}: {WORDS}" for number in range(60)]
GOLDEN = "sha256:59b8b2fa907e37a980a417ce7c4f9eb2e53e0f4c6c2d4a9e38ac29afb07be046"


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(train(tmp_path_factory.mktemp("model")))


def policy_of(source: JsonlFile | HuggingFaceDataset, context_tokens: int = 60) -> ContestPolicy:
    return ContestPolicy(
        prompts=4,
        warmup_prompts=1,
        repeated_prompts=1,
        context_tokens=context_tokens,
        output_tokens=8,
        source=source,
    )


def jsonl(path: Path, rows: Sequence[object]) -> JsonlFile:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(content)
    return JsonlFile(digest="sha256:" + hashlib.sha256(content).hexdigest())


def selected(
    texts: Sequence[str], tokenizer: Tokenizer, *, seed: int = 14, context_tokens: int = 60
) -> PromptSet:
    source = JsonlFile(digest="sha256:" + "0" * 64)
    return prompts_for(seed, policy_of(source, context_tokens), tokenizer, texts)


def everything(found: PromptSet) -> list[str]:
    return [*found.warmup, *found.scored, *found.controls]


def test_the_selection_of_a_seed_never_changes() -> None:
    found = selected(TEXTS, byte_tokenizer)
    assert found.digest == GOLDEN
    assert found.scored != selected(TEXTS, byte_tokenizer, seed=15).scored


def test_warm_up_scored_and_control_prompts_are_all_there_and_differ() -> None:
    found = selected(TEXTS, byte_tokenizer)
    assert (len(found.warmup), len(found.scored)) == (1, 4)
    assert len(found.controls) == MAX_REPEAT_ROUNDS * len(found.repeated) == MAX_REPEAT_ROUNDS
    assert len(set(everything(found))) == 9


@settings(deadline=None, max_examples=50)
@given(
    texts=st.lists(
        st.text(st.characters(max_codepoint=255), min_size=5, max_size=80), min_size=40, max_size=90
    ),
    context_tokens=st.integers(min_value=30, max_value=90),
    seed=st.integers(min_value=0, max_value=2**64 - 1),
)
def test_a_prompt_of_bytes_is_exactly_as_long_as_asked(
    texts: list[str], context_tokens: int, seed: int
) -> None:
    try:
        found = selected(texts, byte_tokenizer, seed=seed, context_tokens=context_tokens)
    except PlanError as error:
        assert "name a larger source" in str(error)
        return
    for prompt in everything(found):
        chat = byte_tokenizer.chat_prompt([{"role": "user", "content": prompt}])
        assert len(chat) == context_tokens


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(min_value=0, max_value=2**64 - 1), context=st.integers(30, 60))
def test_a_prompt_of_merged_tokens_never_exceeds_the_context(
    bpe: Tokenizer, seed: int, context: int
) -> None:
    texts = [f"{at} 😀é日本 {WORDS}" for at in range(200)]
    found = selected(texts, bpe, seed=seed, context_tokens=context)
    for prompt in everything(found):
        length = len(bpe.chat_prompt([{"role": "user", "content": prompt}]))
        # A character of four bytes may not fit in part.
        assert context - 4 <= length <= context
        assert "\ufffd" not in prompt
        assert any(text.startswith(prompt.split("\n")[0]) for text in texts)


def test_generated_text_serves_a_tokenizer_that_merges(bpe: Tokenizer) -> None:
    found = prompts_for(14, ContestPolicy(prompts=4, context_tokens=200), bpe)
    assert len(set(everything(found))) == 2 + 4 + 2 * MAX_REPEAT_ROUNDS
    for prompt in everything(found):
        length = len(bpe.chat_prompt([{"role": "user", "content": prompt}]))
        assert abs(length - 200) <= 3


def test_short_texts_are_strung_together_and_each_is_used_once() -> None:
    texts = [f"text {number:03}" for number in range(200)]
    found = selected(texts, byte_tokenizer, context_tokens=80)
    used = [part for prompt in everything(found) for part in prompt.split("\n\n")]
    whole = [part for part in used if part in texts]
    assert len(whole) == len(set(whole)) > 20


def test_what_the_model_cannot_have_written_is_passed_over() -> None:
    found = selected(["日本" * 40, "", "   ", *TEXTS[:9]], byte_tokenizer)
    assert all("日" not in prompt for prompt in everything(found))


def test_too_few_different_texts_are_refused() -> None:
    with pytest.raises(PlanError, match="fill only 3 of 9 different prompts"):
        selected([*TEXTS[:3], *TEXTS[:3]], byte_tokenizer)
    # They differ, but not within the tokens that are asked.
    same = [WORDS + str(number) for number in range(60)]
    with pytest.raises(PlanError, match="fill only 1 of 9 different prompts"):
        selected(same, byte_tokenizer)


def test_a_policys_source_and_the_texts_given_must_go_together() -> None:
    with pytest.raises(PlanError, match="'generated', and other texts were given"):
        prompts_for(1, ContestPolicy(), byte_tokenizer, TEXTS)
    policy = policy_of(JsonlFile(digest="sha256:" + "0" * 64))
    with pytest.raises(PlanError, match="'jsonl', and no texts were given"):
        prompts_for(1, policy, byte_tokenizer)


def test_generated_text_needs_no_source() -> None:
    assert open_texts(GeneratedText()) is None
    with pytest.raises(PlanError, match="from no file"):
        open_texts(GeneratedText(), Path("prompts.jsonl"))


def test_a_file_gives_its_distinct_texts_in_order(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    source = jsonl(path, [{"prompt": "b", "other": [1]}, {"prompt": "a"}, {"prompt": "b"}])
    assert open_texts(source, path) == ("b", "a")


def test_another_file_than_the_policys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    source = jsonl(path, [{"prompt": "a"}])
    path.write_bytes(b'{"prompt": "b"}\n')
    with pytest.raises(PlanError, match=f"the policy names {source.digest}"):
        open_texts(source, path)
    with pytest.raises(PlanError, match="say where it lies"):
        open_texts(source)
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        open_texts(source, tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": "a"}, {"text": "b"}], "line 2 of .* has no field 'prompt'"),
        ([{"prompt": 7}], "line 1 of .* is not a JSON object with a text in 'prompt'"),
        ([["a"]], "line 1 of .* is not a JSON object"),
        ([{"prompt": "a" * 100}], "line 1 of .* is longer than 64 bytes"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[object], says: str
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 64)
    path = tmp_path / "prompts.jsonl"
    source = jsonl(path, rows)
    with pytest.raises(PlanError, match=says):
        open_texts(source, path)


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prompts.jsonl"
    source = jsonl(path, [{"prompt": "a"}])
    length = path.stat().st_size
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", length)
    assert open_texts(source, path) == ("a",)
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", length - 1)
    with pytest.raises(PlanError, match="name a smaller file"):
        open_texts(source, path)


class Rows:
    """What `datasets.load_dataset` gives, as far as a source asks it."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows
        self.column_names = list(rows[0])

    def select_columns(self, names: list[str]) -> Rows:
        return Rows([{name: row[name] for name in names} for row in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self._rows[place]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    asked: dict[str, Any] = {}

    def load_dataset(path: str, **options: Any) -> Rows:
        asked.update(path=path, **options)
        if path == "org/gone":
            raise ConnectionError("no route\nto host")
        return Rows([{"text": text, "label": 1} for text in TEXTS])

    stand_in = ModuleType("datasets")
    stand_in.__dict__["load_dataset"] = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return asked


def test_a_dataset_is_asked_at_the_policys_commit(asked: dict[str, Any]) -> None:
    source = HuggingFaceDataset(dataset="org/texts", revision=COMMIT)
    texts = open_texts(source)
    assert texts is not None
    assert asked == {"path": "org/texts", "revision": COMMIT, "split": "train"}
    found = prompts_for(14, policy_of(source), byte_tokenizer, texts)
    # The same texts in the same places are the same prompts, whatever they are read from.
    assert found.digest == selected(TEXTS, byte_tokenizer).digest


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (HuggingFaceDataset(dataset="org/texts", revision="main"), "could change"),
        (HuggingFaceDataset(dataset="org/gone", revision=COMMIT), "loaded: no route to host"),
        (
            HuggingFaceDataset(dataset="org/texts", revision=COMMIT, field="prompt"),
            "no column 'prompt' in its split 'train'",
        ),
    ],
)
def test_a_dataset_that_cannot_be_asked_is_said_in_a_sentence(
    asked: dict[str, Any], source: HuggingFaceDataset, says: str
) -> None:
    with pytest.raises(PlanError, match=says):
        open_texts(source)


def test_a_row_without_text_is_named(asked: dict[str, Any]) -> None:
    texts = open_texts(HuggingFaceDataset(dataset="org/texts", revision=COMMIT, field="label"))
    assert texts is not None
    with pytest.raises(PlanError, match="no text in row 5 of its column 'label'"):
        texts[5]


def test_without_the_package_a_dataset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PlanError, match="needs the package datasets; install it"):
        open_texts(HuggingFaceDataset(dataset="org/texts", revision=COMMIT))
