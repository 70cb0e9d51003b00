"""A policy from a file, or from another ledger's HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from ledger.policy import Policy

MAX_ANSWER_BYTES: Final = 1_048_576


class LedgerApiError(Exception):
    """A ledger's HTTP API that gives no policy; the message is one sentence."""


def policy_from_file(path: Path) -> Policy:
    """The policy of a TOML file."""
    from api.errors import read_text_file
    from ledger.policy import MAX_POLICY_BYTES, parse_policy_toml

    return parse_policy_toml(read_text_file(path, max_bytes=MAX_POLICY_BYTES))


def policy_from_api(
    url: str, network: str, netuid: int, *, timeout_s: float
) -> tuple[Policy, str | None]:
    """The policy in force by a ledger's API, and its arena's genesis hash.

    The answer passes the same checks as a file, and its digest is taken again. Raises
    :class:`LedgerApiError` with one sentence, without the URL's path or login.
    """
    import json

    from ledger.policy import PolicyError, parse_policy_json

    base, place = _place(url)
    answer = _get(f"{base}/v1/arenas/{quote(network, safe='')}/{netuid}/policy", place, timeout_s)
    arenas = _get(f"{base}/v1/arenas", place, timeout_s)
    try:
        policy = parse_policy_json(json.dumps(answer["policy"]))
        digest = answer["digest"]
        genesis = next(
            item["genesis"]
            for item in arenas["arenas"]
            if (item["network"], item["netuid"]) == (network, netuid)
        )
    except (PolicyError, KeyError, TypeError, StopIteration) as error:
        msg = f"the ledger at {place} gives no policy of {network}/{netuid} that can be read"
        raise LedgerApiError(msg) from error
    if policy.digest() != digest:
        msg = (
            f"the ledger at {place} names {str(digest)[:80]} for a policy whose digest is "
            f"{policy.digest()}; do not pay by it"
        )
        raise LedgerApiError(msg)
    return policy, genesis


def _place(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        place = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        usable, place = False, ""
    if not usable:
        msg = "the ledger's URL must be http:// or https:// with a host, such as http://127.0.0.1:8014"
        raise LedgerApiError(msg)
    return url.rstrip("/"), place


def _get(url: str, place: str, timeout_s: float) -> Any:
    import httpx
    import msgspec

    try:
        with httpx.stream("GET", url, timeout=timeout_s, follow_redirects=False) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_ANSWER_BYTES:
                    msg = f"the ledger at {place} answers with more than {MAX_ANSWER_BYTES} bytes"
                    raise LedgerApiError(msg)
            status = response.status_code
    except httpx.HTTPError as error:
        msg = f"the ledger at {place} does not answer ({type(error).__name__}); check its URL"
        raise LedgerApiError(msg) from error
    if status != httpx.codes.OK:
        msg = f"the ledger at {place} answers {status}; check --ledger, --network and --netuid"
        raise LedgerApiError(msg)
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        msg = f"the ledger at {place} answers with what is no JSON; check its URL"
        raise LedgerApiError(msg) from error
