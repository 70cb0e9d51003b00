"""The providers of machines that this installation has keys for, and what is held of their offers.

Settings are read here and nowhere else; a key goes from its setting to its client and is shown
nowhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.errors import InputFileError
from api.settings import ENV_FILE
from ledger.rental_policy import PROVIDERS

if TYPE_CHECKING:
    from evaluation.pods.choosing import Record
    from evaluation.pods.desk import Choose
    from evaluation.pods.port import Provider
    from ledger.queries.rentals import Reliability


class NoProviderError(Exception):
    """No provider of machines has a key here, or what it needs besides is not set."""


class ProviderSettings(BaseSettings):
    """``LEDGER_<PROVIDER>_KEY`` makes a provider be used; ``…_URL`` says where it is, if elsewhere.

    ``ssh_public_keys`` are lines of ``authorized_keys``, for a provider that takes them with the
    request; others know keys by an id of theirs.
    """

    model_config = SettingsConfigDict(
        env_prefix="LEDGER_", env_file=ENV_FILE, extra="ignore", hide_input_in_errors=True
    )

    shadeform_url: str | None = None
    shadeform_key: SecretStr | None = None
    shadeform_ssh_key_id: str | None = None
    targon_url: str | None = None
    targon_key: SecretStr | None = None
    targon_ssh_keys: str = ""
    """Uids of keys it knows, with blanks between."""
    lium_url: str | None = None
    lium_key: SecretStr | None = None
    lium_template: str | None = None
    ssh_public_keys: str = ""
    rental_look_every_s: int = Field(default=10, ge=1, le=600)
    """How often a machine that is waited for is looked at."""


def load_provider_settings() -> ProviderSettings:
    """Of the environment; raises as :func:`api.settings.load_settings`."""
    try:
        return ProviderSettings()
    except UnicodeDecodeError as error:
        msg = f"the file '{ENV_FILE}' of this folder is not UTF-8 text; mend or remove it"
        raise InputFileError(msg) from error


@contextlib.contextmanager
def opened_providers(settings: ProviderSettings) -> Iterator[list[Provider]]:
    """A client for every provider that has a key; closed again at the end.

    Raises :class:`NoProviderError` where none has.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = _providers(settings)
        except ValueError as error:
            msg = f"a provider's setting cannot be used: {error}"
            raise NoProviderError(msg) from error
        for one in found:
            stack.callback(one.close)
        if not found:
            variables = ", ".join(f"LEDGER_{name.upper()}_KEY" for name in PROVIDERS)
            msg = f"no provider of machines has a key here; set one of {variables}"
            raise NoProviderError(msg)
        yield found


def chooser(seen: Sequence[Reliability]) -> Choose:
    """Sorts a tier's offers by price and by what became of them so far."""
    from evaluation.pods.choosing import best_first

    records = {(one.provider, one.offer): record_of(one) for one in seen}
    return lambda tier, offers: best_first(tier, offers, records)


def record_of(seen: Reliability) -> Record:
    """What the view counted, in the words of choosing."""
    from evaluation.pods.choosing import Record

    return Record(
        successes=seen.stopped,
        failures=seen.refused + seen.failed,
        lost=seen.lost + seen.vanished,
    )


def _providers(settings: ProviderSettings) -> list[Provider]:
    from evaluation.pods import lium, shadeform, targon

    found: list[Provider] = []
    if (key := _key(settings.shadeform_key)) is not None:
        url = settings.shadeform_url or shadeform.BASE_URL
        found.append(shadeform.Shadeform(url, key, ssh_key_id=settings.shadeform_ssh_key_id))
    if (key := _key(settings.targon_key)) is not None:
        url = settings.targon_url or targon.BASE_URL
        found.append(targon.Targon(url, key, ssh_keys=settings.targon_ssh_keys.split()))
    if (key := _key(settings.lium_key)) is not None:
        keys = [line.strip() for line in settings.ssh_public_keys.splitlines() if line.strip()]
        if settings.lium_template is None or not keys:
            msg = "Lium needs LEDGER_LIUM_TEMPLATE and LEDGER_SSH_PUBLIC_KEYS beside its key"
            raise NoProviderError(msg)
        url = settings.lium_url or lium.BASE_URL
        found.append(lium.Lium(url, key, template=settings.lium_template, public_keys=keys))
    return found


def _key(secret: SecretStr | None) -> str | None:
    text = "" if secret is None else secret.get_secret_value().strip()
    return text or None
