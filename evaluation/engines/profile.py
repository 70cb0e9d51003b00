"""A launch profile: an engine's arguments, environment and readiness, as a TOML document.

``profile:NAME?parameter=value&…`` names one with its parameters set. What that comes to has one
spelling, whose SHA-256 is its digest: for the process runner it is an image. The digest names how
an engine is launched, not which version of it lies on the machine, and no words about it: a profile
that learns another parameter leaves the digests as they are of launches that do not set it.

One's own profile may begin with ``extends = "NAME"`` of a shipped one: what it does not say is that
one's, and its variables and parameters come beside that one's, or in their place.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

PREFIX: Final = "profile:"
MAX_REFERENCE_CHARS: Final = 1_024
MAX_VALUE_CHARS: Final = 128
MAX_PROFILE_BYTES: Final = 65_536
"""Of one profile's file."""
PLACEHOLDERS: Final = frozenset(
    {"model_dir", "model_name", "host", "port", "gpus", "engines", "profiles"}
)
"""What arguments and variables may name in braces: the model's directory, the name it is served
under, where to listen, how many GPUs there are, the folder of this module, and the folder of one's
own profiles, which only those may name. A parameter's own may name ``value`` too."""

_SUFFIX: Final = ".toml"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_TEXT_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=-]*")


class ProfileError(ValueError):
    """A profile that does not exist or fit, or a parameter it has not; one sentence."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something about a launch that may differ; left alone, it adds nothing.

    A ``switch`` takes true or false: true adds its arguments and variables, false its
    ``off_arguments``. ``choices`` are the only values of a ``text``, where there are any.
    """

    kind: Literal["switch", "integer", "text"]
    arguments: tuple[str, ...] = ()
    off_arguments: tuple[str, ...] = ()
    """Of a switch alone, for an engine that does it unless it is told not to."""
    environment: dict[str, str] = {}
    """Variables that are set beside the profile's own, or in their place."""
    choices: tuple[str, ...] = ()
    default: str = ""
    """The value where none is given; empty leaves the arguments out."""
    about: str = ""


class LaunchProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine.

    ``program`` is looked for in PATH, and may be replaced on a machine where it lies elsewhere.
    ``teacher_forcing`` is the path that scores given token ids in vLLM's form, empty where the
    engine has none: then it cannot be the baseline, for the baseline's image is the reference.
    """

    name: str
    about: str
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    health_path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9_/-]*$")] = "/health"
    model_name: str = "{model_name}"
    """The name it answers to; an engine that cannot be told one says its own here."""
    teacher_forcing: str = ""
    gpu_arguments: tuple[str, ...] = ()
    """Added where a server gets more than one GPU."""
    environment: dict[str, str] = {}
    hands_on: tuple[str, ...] = ("PATH", "HOME")
    """Variables of ours that the engine is given; nothing else of our environment is."""
    parameters: dict[str, Parameter] = {}


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """A profile with its parameters set: what the process runner takes for an image."""

    profile: LaunchProfile
    values: dict[str, str]

    def canonical(self) -> bytes:
        """The launch's one spelling: JSON with sorted keys, of what is run and nothing besides."""
        profile = self.profile
        come_to = {
            "profile": profile.name,
            "program": profile.program,
            "arguments": (*profile.arguments, *self._own_arguments()),
            "gpu_arguments": profile.gpu_arguments,
            "environment": {**profile.environment, **self._own_environment()},
            "hands_on": profile.hands_on,
            "health_path": profile.health_path,
            "model_name": profile.model_name,
            "teacher_forcing": profile.teacher_forcing,
        }
        return msgspec.json.encode(come_to, order="sorted")

    def digest(self) -> str:
        """``sha256:<hex>`` over :meth:`canonical`."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    def __str__(self) -> str:
        values = "&".join(f"{name}={value}" for name, value in sorted(self.values.items()))
        return PREFIX + self.profile.name + (f"?{values}" if values else "")

    def arguments(self, filled: Mapping[str, str]) -> list[str]:
        """The engine's arguments, with every placeholder of :data:`PLACEHOLDERS` filled."""
        parts = list(self.profile.arguments)
        if int(filled["gpus"]) > 1:
            parts += self.profile.gpu_arguments
        return [_fill(part, filled) for part in (*parts, *self._own_arguments())]

    @property
    def reads_model(self) -> bool:
        """Whether the engine is told where the model's directory is."""
        profile = self.profile
        words = (*profile.arguments, *self._own_arguments(), *profile.environment.values())
        return any("{model_dir}" in word for word in words)

    def environment(self, filled: Mapping[str, str]) -> dict[str, str]:
        """The variables that it sets, filled likewise; those that are handed on come from us."""
        found = {**self.profile.environment, **self._own_environment()}
        return {name: _fill(value, filled) for name, value in found.items()}

    def _own_arguments(self) -> list[str]:
        """The parameters' arguments, their values put in."""
        return [
            _put(part, value)
            for parameter, value in self._set()
            for part in (
                parameter.arguments if _is_on(parameter, value) else parameter.off_arguments
            )
        ]

    def _own_environment(self) -> dict[str, str]:
        """The parameters' variables, likewise."""
        return {
            name: _put(text, value)
            for parameter, value in self._set()
            if _is_on(parameter, value)
            for name, text in parameter.environment.items()
        }

    def _set(self) -> list[tuple[Parameter, str]]:
        """The parameters that have a value, in the profile's order."""
        pairs = [
            (parameter, self.values.get(name, parameter.default))
            for name, parameter in self.profile.parameters.items()
        ]
        return [(parameter, value) for parameter, value in pairs if value]


def profile_names(own: Path | None = None) -> tuple[str, ...]:
    """The profiles that ship with the project, and those of the folder ``own``.

    Raises :class:`ProfileError` where one of that folder has the name of one that ships, or there
    is no such folder.
    """
    folder = files(__package__).joinpath("profiles")
    shipped = {path.name.removesuffix(_SUFFIX) for path in folder.iterdir() if _is_toml(path.name)}
    return tuple(sorted(shipped.union(_own_names(own, shipped) if own is not None else ())))


def _own_names(folder: Path, shipped: Collection[str]) -> list[str]:
    try:
        found = [
            path.name.removesuffix(_SUFFIX) for path in folder.iterdir() if _is_toml(path.name)
        ]
    except OSError as error:
        msg = f"the folder of profiles {str(folder)!r} cannot be read: {error.strerror}"
        raise ProfileError(msg) from error
    taken = sorted(set(found).intersection(shipped))
    if taken:
        msg = (
            f"the launch profile {taken[0]!r} in {str(folder)!r} has the name of one that ships "
            "with the program; give it another"
        )
        raise ProfileError(msg)
    return found


def load_profile(name: str, own: Path | None = None) -> LaunchProfile:
    """One of :func:`profile_names`; raises :class:`ProfileError` that names them."""
    names = profile_names(own)
    if name in names and not _NAME.fullmatch(name):
        msg = (
            f"a launch profile cannot be called {name[:32]!r}; name its file by 1 to 32 small "
            "letters, digits and dashes, no dash first"
        )
        raise ProfileError(msg)
    if name not in names:
        msg = f"there is no launch profile {name[:32]!r}; there are: {', '.join(names)}"
        raise ProfileError(msg)
    file = _shipped(name)
    if own is None or file.is_file():
        return parse_profile(file.read_text("utf-8"))
    return _own_profile(own / (name + _SUFFIX), name)


def _own_profile(file: Path, name: str) -> LaunchProfile:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_PROFILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        msg = f"the launch profile {str(file)!r} cannot be read: {error.strerror}"
        raise ProfileError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"the launch profile {str(file)!r} is not UTF-8 text; write it as such"
        raise ProfileError(msg) from error
    if len(content) > MAX_PROFILE_BYTES:
        msg = f"the launch profile {str(file)!r} is larger than {MAX_PROFILE_BYTES} bytes"
        raise ProfileError(msg)
    try:
        profile = parse_profile(text)
    except ProfileError as error:
        msg = f"{str(file)!r}: {error}"
        raise ProfileError(msg) from error
    if profile.name != name:
        msg = f"the launch profile {str(file)!r} calls itself {profile.name[:32]!r}, not {name!r}"
        raise ProfileError(msg)
    return profile


def parse_profile(text: str) -> LaunchProfile:
    """Read a profile's TOML; raises :class:`ProfileError` for one that does not fit."""
    try:
        profile = msgspec.convert(_extended(tomllib.loads(text)), LaunchProfile)
    except (ValueError, RecursionError) as error:  # not TOML, a number or a nest without end
        msg = f"the launch profile does not fit: {error}"
        raise ProfileError(msg) from error
    texts = [*profile.program, *profile.arguments, *profile.gpu_arguments, profile.model_name]
    texts += profile.environment.values()
    own = [
        part
        for one in profile.parameters.values()
        for part in (*one.arguments, *one.off_arguments, *one.environment.values())
    ]
    named = {name for part in texts for name in _PLACEHOLDER.findall(part)}
    named |= {name for part in own for name in _PLACEHOLDER.findall(part)} - {"value"}
    if named - PLACEHOLDERS:
        unknown, known = ", ".join(sorted(named - PLACEHOLDERS)), ", ".join(sorted(PLACEHOLDERS))
        msg = f"the launch profile {profile.name!r} names {unknown} in braces; known are {known}"
        raise ProfileError(msg)
    for key, one in profile.parameters.items():
        if one.off_arguments and one.kind != "switch":
            msg = f"the parameter {key!r} of {profile.name!r} is no switch; it is never off"
            raise ProfileError(msg)
    return profile


def _extended(document: dict[str, Any]) -> dict[str, Any]:
    """The document over that of the shipped profile it ``extends``, if it does.

    Name and words about it are never taken over. Raises ``ValueError`` for any other name: only
    shipped ones are extended, and none of them extends another.
    """
    if "extends" not in document:
        return document
    base = document["extends"]
    shipped = profile_names()
    if base not in shipped:
        msg = f"it extends {str(base)[:32]!r}, which does not ship; those are: {', '.join(shipped)}"
        raise ValueError(msg)
    under = tomllib.loads(_shipped(base).read_text("utf-8"))
    found = {name: part for name, part in under.items() if name not in ("name", "about")}
    for name, part in document.items():
        beneath = found.get(name)
        if isinstance(beneath, dict) and isinstance(part, dict):
            found[name] = {**beneath, **part}
        else:
            found[name] = part
    del found["extends"]
    return found


def _shipped(name: str) -> Traversable:
    return files(__package__).joinpath("profiles", name + _SUFFIX)


def parse_launch(text: str, own: Path | None = None) -> Launch:
    """``profile:NAME?parameter=value&…``, NAME one of :func:`profile_names`.

    Raises :class:`ProfileError` for anything else.
    """
    if not text.startswith(PREFIX) or len(text) > MAX_REFERENCE_CHARS:
        msg = f"{text[:64]!r} names no launch profile; write {PREFIX}NAME or {PREFIX}NAME?a=b"
        raise ProfileError(msg)
    name, _, query = text.removeprefix(PREFIX).partition("?")
    profile = load_profile(name, own)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        msg = f"{query[:64]!r} is no list of parameters; write a=b&c=d behind the question mark"
        raise ProfileError(msg) from error
    values: dict[str, str] = {}
    for key, value in pairs:
        parameter = profile.parameters.get(key)
        if parameter is None or key in values:
            what = "given twice" if key in values else "not one it has"
            known = ", ".join(profile.parameters) or "none"
            msg = f"the parameter {key[:32]!r} of the profile {name!r} is {what}; it has: {known}"
            raise ProfileError(msg)
        values[key] = _checked(key, value, parameter)
    return Launch(profile=profile, values=values)


def _checked(key: str, value: str, parameter: Parameter) -> str:
    allowed: Sequence[str] = parameter.choices
    if parameter.kind == "switch":
        allowed = ("true", "false")
    if allowed:
        fits, wanted = value in allowed, f"one of {', '.join(allowed)}"
    elif parameter.kind == "integer":
        fits, wanted = bool(re.fullmatch(r"[0-9]{1,9}", value)), "a whole number"
    else:
        fits = bool(_TEXT_VALUE.fullmatch(value)) and len(value) <= MAX_VALUE_CHARS
        wanted = f"1 to {MAX_VALUE_CHARS} letters, digits and . _ : / = -, no dash first"
    if not fits:
        msg = f"the parameter {key!r} cannot be {value[:MAX_VALUE_CHARS]!r}; it is {wanted}"
        raise ProfileError(msg)
    return value


def _fill(part: str, filled: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: filled[match[1]], part)


def _put(part: str, value: str) -> str:
    """``part`` with a parameter's value in it. A value has no braces: nothing is filled twice."""
    return part.replace("{value}", value)


def _is_on(parameter: Parameter, value: str) -> bool:
    return parameter.kind != "switch" or value != "false"


def _is_toml(name: str) -> bool:
    return name.endswith(_SUFFIX)
