"""The tokenizer of a model directory: the one thing that counts tokens, whatever a server says.

The reference model's directory has the byte tokenizer that ships with it. Any other directory is
one as Hugging Face lays them out: ``tokenizer.json``, the chat template beside it, and the ids that
end a sequence in ``generation_config.json`` or ``config.json``. Its files are data of strangers:
bounded in size, and the template rendered in a sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import jinja2
import msgspec
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evaluation.plan import PlanError, Tokenizer
from evaluation.reference import tokenizer as byte_tokenizer
from evaluation.reference.model_files import MODEL_FILE

if TYPE_CHECKING:
    import tokenizers

MAX_TOKENIZER_BYTES: Final = 128 * 2**20
MAX_CONFIG_BYTES: Final = 16 * 2**20
"""``tokenizer_config.json`` lists every added token; the largest known are a few MiB."""
MAX_TEMPLATE_BYTES: Final = 256 * 2**10
MAX_TEMPLATE_ADDS_CHARS: Final = 2**20
"""What a template may write around the messages themselves."""
MAX_PENDING_IDS: Final = 8
"""A character is at most four bytes; ids that spell none after this many never will."""

_TEMPLATE_ERRORS: Final = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template's own code can raise."""
_TOKENIZER_FILE: Final = "tokenizer.json"
_CONFIG_FILE: Final = "tokenizer_config.json"
_TEMPLATE_FILE: Final = "chat_template.jinja"
_END_FILES: Final = ("generation_config.json", "config.json")


class _SpecialToken(msgspec.Struct):
    content: str


class _NamedTemplate(msgspec.Struct):
    name: str
    template: str


class _TokenizerConfig(msgspec.Struct):
    chat_template: str | list[_NamedTemplate] | None = None
    bos_token: str | _SpecialToken | None = None
    eos_token: str | _SpecialToken | None = None
    unk_token: str | _SpecialToken | None = None
    pad_token: str | _SpecialToken | None = None


class ModelFilesError(PlanError):
    """A model's directory that cannot be used; the message says what is wrong with which file."""


class _Ends(msgspec.Struct):
    eos_token_id: int | list[int] | None = None


def load_tokenizer(model_dir: Path) -> Tokenizer:
    """The tokenizer that counts for the model in ``model_dir``.

    Raises :class:`ModelFilesError`, one sentence, for a directory that is not there, that has none,
    or one that is not whole.
    """
    if not model_dir.is_dir():
        msg = f"there is no model directory '{model_dir}'; check the path"
        raise ModelFilesError(msg)
    if (model_dir / MODEL_FILE).is_file():
        return byte_tokenizer
    if not (model_dir / _TOKENIZER_FILE).is_file():
        msg = (
            f"{model_dir} has neither {MODEL_FILE} nor {_TOKENIZER_FILE}; "
            "name the directory of a model with its tokenizer"
        )
        raise ModelFilesError(msg)
    return FileTokenizer(model_dir)


class FileTokenizer:
    """A tokenizer read from ``tokenizer.json`` and what lies beside it.

    Text is encoded without special tokens, as a model writes it: the letters ``<|im_end|>`` in an
    answer are letters. A chat is rendered by the template and read with them, as servers do.
    """

    def __init__(self, model_dir: Path) -> None:
        # Loading the library costs a tenth of a second, which most commands never need.
        import tokenizers

        path = model_dir / _TOKENIZER_FILE
        content = _read(path, MAX_TOKENIZER_BYTES)
        try:
            self._chat = tokenizers.Tokenizer.from_str(content.decode())
            self._plain = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as error:  # noqa: BLE001  the library raises plain Exception for bad files
            _refuse(path, "a tokenizer", error)
        for one in (self._chat, self._plain):
            # A file may ask to be cut or filled to a length; then every count would be wrong.
            one.no_truncation()
            one.no_padding()
        self._plain.encode_special_tokens = True
        config = _config(model_dir / _CONFIG_FILE)
        self._vocabulary = 1 + max(
            self._chat.get_vocab(with_added_tokens=True).values(), default=-1
        )
        self._special = {
            name: text
            for name in ("bos_token", "eos_token", "unk_token", "pad_token")
            if (text := _text_of(getattr(config, name))) is not None
        }
        ends = _end_ids(model_dir, self._chat, self._special.get("eos_token"))
        self.EOS_ID: int = ends[0]
        self.END_IDS: frozenset[int] = frozenset(ends)
        self._template = _template(model_dir, config)

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``; ``ValueError`` for text that is no Unicode."""
        text.encode()
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``, special tokens written out; ``ValueError`` for an unknown id."""
        self._check(ids)
        text: str = self._plain.decode(list(ids), skip_special_tokens=False)
        return text

    def text_ends(self, ids: Sequence[int]) -> list[int]:
        """How many characters of ``decode(ids)`` are whole after each id."""
        from tokenizers.decoders import DecodeStream

        total = len(self.decode(ids))
        ends: list[int] = []
        whole, pending = 0, 0
        stream = DecodeStream(skip_special_tokens=False)
        for token in ids:
            piece = stream.step(self._plain, token)
            pending += 1
            if piece is not None:
                whole, pending = whole + len(piece), 0
            elif pending == MAX_PENDING_IDS:
                # The stream decodes all it holds back at every step: without this, ids that never
                # make a character would cost the square of their number.
                stream = DecodeStream(skip_special_tokens=False)
                whole, pending = whole + pending, 0
            ends.append(min(whole, total))
        if ends:
            # What was held back to the last is as whole as it will be.
            ends[-1] = total
        return ends

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The ids a server is fed for a chat; :class:`ModelFilesError` where the template fails."""
        ids: list[int] = self._chat.encode(self._render(messages), add_special_tokens=False).ids
        return ids

    def _render(self, messages: Sequence[Mapping[str, str]]) -> str:
        room = MAX_TEMPLATE_ADDS_CHARS + sum(
            len(text) for message in messages for text in message.values()
        )
        pieces: list[str] = []
        try:
            for piece in self._template.generate(
                messages=messages, add_generation_prompt=True, **self._special
            ):
                pieces.append(piece)
                room -= len(piece)
                if room < 0:
                    msg = f"it wrote more than {MAX_TEMPLATE_ADDS_CHARS} characters of its own"
                    raise ModelFilesError(f"the model's chat template could not be used: {msg}")
        except _TEMPLATE_ERRORS as error:
            if isinstance(error, ModelFilesError):
                raise
            msg = f"the model's chat template could not be used: {_one_line(error)}"
            raise ModelFilesError(msg) from error
        return "".join(pieces)

    def _check(self, ids: Sequence[int]) -> None:
        if ids and not 0 <= min(ids) <= max(ids) < self._vocabulary:
            msg = f"token ids must be from 0 to {self._vocabulary - 1}"
            raise ValueError(msg)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        _refuse(path, "readable", error)
    if len(content) > limit:
        msg = f"{path} is longer than {limit} bytes; is it the right file?"
        raise ModelFilesError(msg)
    return content


def _config(path: Path) -> _TokenizerConfig:
    if not path.exists():
        return _TokenizerConfig()
    try:
        return msgspec.json.decode(_read(path, MAX_CONFIG_BYTES), type=_TokenizerConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _refuse(path, "a tokenizer's configuration", error)


def _end_ids(
    model_dir: Path, tokenizer: tokenizers.Tokenizer, eos_token: str | None
) -> tuple[int, ...]:
    """The ids that end a sequence, the model's own first; the first file that names any decides."""
    for name in _END_FILES:
        path = model_dir / name
        if not path.exists():
            continue
        try:
            found = msgspec.json.decode(_read(path, MAX_CONFIG_BYTES), type=_Ends).eos_token_id
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            _refuse(path, "a model's configuration", error)
        ids = [found] if isinstance(found, int) else found
        if ids:
            return tuple(ids)
    end = None if eos_token is None else tokenizer.token_to_id(eos_token)
    if end is None:
        msg = (
            f"{model_dir} does not say which token ends a sequence; "
            f"give eos_token_id in its {_END_FILES[0]}"
        )
        raise ModelFilesError(msg)
    return (end,)


def _template(model_dir: Path, config: _TokenizerConfig) -> jinja2.Template:
    path = model_dir / _TEMPLATE_FILE
    if path.exists():
        source: str | None = _read(path, MAX_TEMPLATE_BYTES).decode(errors="replace")
    elif isinstance(config.chat_template, list):
        path = model_dir / _CONFIG_FILE
        named = {one.name: one.template for one in config.chat_template}
        source = named.get("default")
    else:
        path = model_dir / _CONFIG_FILE
        source = config.chat_template
    if source is None:
        msg = (
            f"{model_dir} has no chat template, so nobody knows what a server is fed; "
            f"put {_TEMPLATE_FILE} beside {_TOKENIZER_FILE}"
        )
        raise ModelFilesError(msg)
    if len(source) > MAX_TEMPLATE_BYTES:
        msg = f"the chat template in {path} is longer than {MAX_TEMPLATE_BYTES} bytes"
        raise ModelFilesError(msg)
    # As `transformers` renders them: the same settings, the same helpers.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except (jinja2.TemplateError, RecursionError) as error:
        _refuse(path, "a chat template", error)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)


def _text_of(token: str | _SpecialToken | None) -> str | None:
    return token.content if isinstance(token, _SpecialToken) else token


def _refuse(path: Path, what: str, error: Exception) -> NoReturn:
    msg = f"{path} is not {what}: {_one_line(error)}"
    raise ModelFilesError(msg) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
