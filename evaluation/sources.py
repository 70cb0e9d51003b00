"""Where prompts can come from besides the text that ships with the project.

A policy names its source so that anybody can get the same texts: a file by its digest, a dataset by
the commit of its repository. Which of them are asked, only the attempt's seed decides.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from evaluation.plan import PlanError
from ledger.contest_policy import GeneratedText, HuggingFaceDataset, JsonlFile, PromptSource

MAX_FILE_BYTES: Final = 256 * 2**20
MAX_LINE_BYTES: Final = 4 * 2**20
MAX_TEXTS: Final = 2**31
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class Texts(Protocol):
    """The texts of a source by their place; places from 0 to ``len - 1`` never change."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> str: ...


def open_texts(source: PromptSource, path: Path | None = None) -> Texts | None:
    """The texts a policy names; None where they are generated.

    ``path`` is where the operator keeps a JSONL source. Raises :class:`PlanError` for a source that
    is not here, not the one named, or not texts.
    """
    if path is not None and not isinstance(source, JsonlFile):
        msg = f"the policy takes its prompts from no file, so {path} would not be asked; leave it"
        raise PlanError(msg)
    match source:
        case GeneratedText():
            return None
        case JsonlFile():
            if path is None:
                msg = f"the policy asks prompts of a file, {source.digest}; say where it lies"
                raise PlanError(msg)
            return _lines(path, source)
        case HuggingFaceDataset():
            return _Rows(source)


def texts_among(source: PromptSource, paths: Sequence[Path]) -> Texts | None:
    """The texts a policy names, from the one of ``paths`` that is the file it names, if it does.

    Raises :class:`PlanError` as :func:`open_texts`, and where no file among them is the one named.
    """
    if not isinstance(source, JsonlFile):
        return open_texts(source)
    refused = [f"the policy asks prompts of a file, {source.digest}; say where it lies"]
    for path in paths:
        try:
            return open_texts(source, path)
        except PlanError as error:
            refused.append(str(error))
    raise PlanError(refused[-1])


def _lines(path: Path, source: JsonlFile) -> tuple[str, ...]:
    """The distinct texts of a file, in the order of its lines."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        msg = f"the prompts in {path} cannot be read: {error.strerror}"
        raise PlanError(msg) from error
    if len(content) > MAX_FILE_BYTES:
        msg = f"{path} is longer than {MAX_FILE_BYTES} bytes; name a smaller file of prompts"
        raise PlanError(msg)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    if digest != source.digest:
        msg = f"{path} is {digest}, and the policy names {source.digest}; use the file it names"
        raise PlanError(msg)
    texts: dict[str, None] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            text = _text_of(line, source.field, f"line {number} of {path}")
            texts.setdefault(text)
    return tuple(texts)


def _text_of(line: bytes, field: str, where: str) -> str:
    if len(line) > MAX_LINE_BYTES:
        msg = f"{where} is longer than {MAX_LINE_BYTES} bytes; cut it"
        raise PlanError(msg)
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(fields[field], type=str)
    except KeyError:
        msg = f"{where} has no field {field!r}; the policy says which field holds the prompt"
        raise PlanError(msg) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{where} is not a JSON object with a text in {field!r}: {error}"
        raise PlanError(msg) from error


class _Rows:
    """One column of a dataset, read row by row: datasets are larger than memory."""

    def __init__(self, source: HuggingFaceDataset) -> None:
        name = f"the dataset {source.dataset!r} at {source.revision}"
        if not _COMMIT.fullmatch(source.revision):
            msg = f"{name} could change; name the 40 hex digits of a commit as its revision"
            raise PlanError(msg)
        try:
            datasets = importlib.import_module("datasets")
        except ImportError as error:
            msg = f"{name} needs the package datasets; install it, or use a JSONL file of prompts"
            raise PlanError(msg) from error
        try:
            rows: Any = datasets.load_dataset(
                source.dataset, revision=source.revision, split=source.split
            )
        except Exception as error:
            msg = f"{name} could not be loaded: {_one_line(error)}"
            raise PlanError(msg) from error
        if source.field not in rows.column_names:
            msg = f"{name} has no column {source.field!r} in its split {source.split!r}"
            raise PlanError(msg)
        if len(rows) > MAX_TEXTS:
            msg = f"{name} has more than {MAX_TEXTS} rows; name a smaller one"
            raise PlanError(msg)
        # The other columns may be pictures or sound, and are nobody's to decode here.
        self._rows, self._field, self._name = (
            rows.select_columns([source.field]),
            source.field,
            name,
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int, /) -> str:
        text = self._rows[place][self._field]
        if not isinstance(text, str):
            msg = f"{self._name} has no text in row {place} of its column {self._field!r}"
            raise PlanError(msg)
        return text


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
