"""What a provider of GPU machines must offer, in one set of words for all of them.

Dollars are integers in millionths, times whole Unix seconds by the provider's clock. Every machine
carries our own request's UUID as its tag, so that whatever runs under it can be found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

TAG_PREFIX = "cacheon-"
"""What stands before our request's UUID in the name of a machine or volume."""

InstanceState = Literal["starting", "running", "stopping", "gone", "failed"]
"""``gone``: nothing runs and nothing is billed any more. ``failed``: it never came up and is still
listed, which may still cost."""


def tag_of(request: UUID) -> str:
    """The name that a machine of this request gets at its provider."""
    return f"{TAG_PREFIX}{request}"


def request_of(tag: str | None) -> UUID | None:
    """The request of ours that a machine's name stands for; None for anybody else's machine."""
    if tag is None or not tag.startswith(TAG_PREFIX):
        return None
    try:
        return UUID(tag.removeprefix(TAG_PREFIX))
    except ValueError:
        return None


class ProviderError(Exception):
    """A provider's answer that leaves open what is; one sentence, without its key."""


class UnansweredError(ProviderError):
    """No answer, or one that says neither yes nor no: what was asked may have been done."""


class RefusedError(ProviderError):
    """The provider said no, for certain: nothing was done."""


class StillInUseError(RefusedError):
    """A volume cannot be deleted yet; its machine is going. Ask again in a minute."""


@dataclass(frozen=True, slots=True)
class Billing:
    """How a provider bills: begun steps of ``step_s``, the sum rounded up to ``step_usd_micros``.

    ``prepaid``: out of what was paid in before; ``payable``: by an invoice afterwards.
    """

    step_s: int
    step_usd_micros: int
    settlement: Literal["prepaid", "payable"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine that can be had now. ``gpu`` is one of the names of :mod:`ledger.rental_policy`,
    as ``H200``; ``offer`` and ``region`` are the provider's own words for asking for it."""

    provider: str
    offer: str
    gpu: str
    count: int
    region: str
    usd_micros_per_hour: int


@dataclass(frozen=True, slots=True)
class Address:
    """Where a machine's SSH listens."""

    user: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine as its provider states it; None for what it does not say (yet)."""

    provider: str
    instance: str
    tag: str | None
    state: InstanceState
    usd_micros_per_hour: int | None
    started_at_s: int | None
    ended_at_s: int | None
    address: Address | None


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as its provider states it."""

    provider: str
    volume: str
    tag: str | None
    gigabytes: int | None


class Provider(Protocol):
    """One provider. Every call raises :class:`ProviderError`, and ends by its own deadline."""

    @property
    def name(self) -> str:
        """E.g. ``shadeform``: what its account in the books is called, too."""

    @property
    def billing(self) -> Billing:
        """How it bills."""

    @property
    def has_volumes(self) -> bool:
        """Whether volumes can be had apart from machines; else asking for one is refused."""

    def offers(self, count: int) -> Sequence[Offer]:
        """The machines with so many GPUs that can be had now, the cheapest first."""

    def create(self, offer: Offer, request: UUID, *, volume: str | None = None) -> Instance:
        """Ask for a machine under the tag of ``request``. Never asked twice by itself.

        What the answer does not say, as a price, is None; :meth:`state` may say it.
        :class:`RefusedError` where nothing was made, :class:`UnansweredError` where one may run:
        :meth:`listed` says so by its tag before anything is asked for again.
        """

    def state(self, instance: str) -> Instance:
        """How a machine stands; of one that the provider knows no longer, ``gone``."""

    def stop(self, instance: str) -> None:
        """Ask to end a machine; one that is gone already is no error."""

    def listed(self) -> Sequence[Instance]:
        """Every machine of the account that is not gone, ours and others', over all pages.

        Each once. Fields that cannot be read are None here, so that one hides no other.
        """

    def create_volume(self, gigabytes: int, region: str, request: UUID) -> Volume:
        """Ask for a volume under the tag of ``request``; raises as :meth:`create`."""

    def delete_volume(self, volume: str) -> None:
        """Delete a volume; one that is gone already is no error. :class:`StillInUseError`."""

    def volumes(self) -> Sequence[Volume]:
        """Every volume of the account, ours and others'."""

    def close(self) -> None:
        """Let go of its connections."""
