"""A launch profile: an engine's arguments, environment and readiness, as a TOML document.

``profile:NAME?parameter=value&…`` names one with its parameters set. What that comes to has one
spelling, whose SHA-256 is its digest: for the process runner it is an image. The digest names how
an engine is launched, not which version of it lies on the machine.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

PREFIX: Final = "profile:"
MAX_REFERENCE_CHARS: Final = 1_024
MAX_VALUE_CHARS: Final = 128
PLACEHOLDERS: Final = frozenset({"model_dir", "model_name", "host", "port", "gpus", "engines"})
"""What arguments may name in braces: the model's directory, the name it is served under, where to
listen, how many GPUs there are, and the folder of this module. A parameter's own arguments may
name ``value`` too."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_TEXT_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/=-]*")


class ProfileError(ValueError):
    """A profile that does not exist or fit, or a parameter it has not; one sentence."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something about a launch that may differ; left alone, its arguments are left out.

    A ``switch`` takes true or false and adds its arguments when true. ``choices`` are the only
    values of a ``text``, where there are any.
    """

    kind: Literal["switch", "integer", "text"]
    arguments: tuple[str, ...]
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
        """The launch's one spelling: JSON with sorted keys."""
        return msgspec.json.encode(self, order="deterministic")

    def digest(self) -> str:
        """``sha256:<hex>`` over :meth:`canonical`."""
        return "sha256:" + hashlib.sha256(self.canonical()).hexdigest()

    def __str__(self) -> str:
        values = "&".join(f"{name}={value}" for name, value in sorted(self.values.items()))
        return PREFIX + self.profile.name + (f"?{values}" if values else "")

    def arguments(self, filled: Mapping[str, str]) -> list[str]:
        """The engine's arguments, with every placeholder of :data:`PLACEHOLDERS` filled."""
        profile = self.profile
        parts = [_fill(part, filled) for part in profile.arguments]
        if int(filled["gpus"]) > 1:
            parts += [_fill(part, filled) for part in profile.gpu_arguments]
        for name, parameter in profile.parameters.items():
            value = self.values.get(name, parameter.default)
            if not value or (parameter.kind == "switch" and value == "false"):
                continue
            parts += [_fill(part, {**filled, "value": value}) for part in parameter.arguments]
        return parts


def profile_names() -> tuple[str, ...]:
    """The profiles that ship with the project."""
    folder = files(__package__).joinpath("profiles")
    return tuple(
        sorted(
            path.name.removesuffix(".toml")
            for path in folder.iterdir()
            if path.name.endswith(".toml")
        )
    )


def load_profile(name: str) -> LaunchProfile:
    """One of :func:`profile_names`; raises :class:`ProfileError` that names them."""
    if not _NAME.fullmatch(name) or name not in profile_names():
        msg = f"there is no launch profile {name[:32]!r}; there are: {', '.join(profile_names())}"
        raise ProfileError(msg)
    text = files(__package__).joinpath("profiles", f"{name}.toml").read_text("utf-8")
    return parse_profile(text)


def parse_profile(text: str) -> LaunchProfile:
    """Read a profile's TOML; raises :class:`ProfileError` for one that does not fit."""
    try:
        profile = msgspec.convert(tomllib.loads(text), LaunchProfile)
    except (ValueError, msgspec.ValidationError) as error:
        msg = f"the launch profile does not fit: {error}"
        raise ProfileError(msg) from error
    texts = [*profile.program, *profile.arguments, *profile.gpu_arguments, profile.model_name]
    texts += profile.environment.values()
    own = [part for one in profile.parameters.values() for part in one.arguments]
    named = {name for part in texts for name in _PLACEHOLDER.findall(part)}
    named |= {name for part in own for name in _PLACEHOLDER.findall(part)} - {"value"}
    if named - PLACEHOLDERS:
        unknown, known = ", ".join(sorted(named - PLACEHOLDERS)), ", ".join(sorted(PLACEHOLDERS))
        msg = f"the launch profile {profile.name!r} names {unknown} in braces; known are {known}"
        raise ProfileError(msg)
    return profile


def parse_launch(text: str) -> Launch:
    """``profile:NAME?parameter=value&…``; raises :class:`ProfileError` for anything else."""
    if not text.startswith(PREFIX) or len(text) > MAX_REFERENCE_CHARS:
        msg = f"{text[:64]!r} names no launch profile; write {PREFIX}NAME or {PREFIX}NAME?a=b"
        raise ProfileError(msg)
    name, _, query = text.removeprefix(PREFIX).partition("?")
    profile = load_profile(name)
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
