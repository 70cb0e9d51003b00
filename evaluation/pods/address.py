"""Reading where a machine's SSH listens: a provider's text, or an operator's option.

It becomes words of a command line, so whatever could be read as an option or a pattern is refused.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from evaluation.pods.port import Address

SSH_PORT: Final = 22
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


class AddressFormError(ValueError):
    """A text that names no SSH address; one sentence."""


def parse_address(text: str) -> Address:
    """``user@host`` or ``user@host:port``; an IPv6 host stands in brackets before a port."""
    user, at, rest = text.partition("@")
    host, port = rest, str(SSH_PORT)
    if rest.startswith("["):
        host, closed, behind = rest[1:].partition("]")
        at = at if closed and (not behind or behind.startswith(":")) else ""
        port = behind[1:] if behind else port
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if not at or not port.isascii() or not port.isdecimal() or len(port) > 5:
        msg = f"{text[:200]!r} is no address of SSH; give USER@HOST:PORT"
        raise AddressFormError(msg)
    return checked_address(Address(user, host, int(port)))


def checked_address(address: Address) -> Address:
    """The same address, or :class:`AddressFormError` where a part of it has no meaning."""
    if not _USER.fullmatch(address.user):
        msg = f"{address.user[:80]!r} is no user's name of a machine"
        raise AddressFormError(msg)
    if not _is_host(address.host):
        msg = f"{address.host[:80]!r} is no name or IP address of a machine"
        raise AddressFormError(msg)
    if not 1 <= address.port <= 65_535:
        msg = f"{address.port} is no port of a machine; give 1 to 65535"
        raise AddressFormError(msg)
    return address


def _is_host(host: str) -> bool:
    if "%" in host:  # a scope of IPv6, and a token of ssh's own
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _NAME.fullmatch(host) is not None
    return True
