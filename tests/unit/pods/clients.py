"""The three providers, each with its stand-in: what the tests of all of them have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from evaluation.pods.lium import Lium
from evaluation.pods.port import Offer, Provider
from evaluation.pods.shadeform import Shadeform
from evaluation.pods.targon import Targon
from tests.standins import lium, shadeform, targon
from tests.standins.serving import StandIn

HURRIED_S = 1.0
"""Long enough for a request to be sent; its answer never comes."""
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVudXNlZA== tests"


@dataclass(frozen=True)
class Wire:
    """The words of one provider: requests as its stand-in notes them, and the fields of a row."""

    name: str
    stand_in: Callable[[], contextlib.AbstractContextManager[StandIn]]
    client: Callable[..., Provider]
    offers: str
    create: str
    one: str
    listing: str
    delete: str
    row: tuple[str | int, ...]
    """The way to the first row in an answer to ``listing``."""
    offer_price: tuple[str | int, ...]
    """The way to the first price in an answer to ``offers``."""
    price: str
    state_at: tuple[str, ...]
    tag: str


def _shadeform(url: str, key: str, **more: Any) -> Provider:
    return Shadeform(url, key, **more)


def _targon(url: str, key: str, **more: Any) -> Provider:
    return Targon(url, key, **more)


def _lium(url: str, key: str, **more: Any) -> Provider:
    return Lium(url, key, template="template-1", public_keys=[PUBLIC_KEY], **more)


WIRES = {
    "shadeform": Wire(
        "shadeform",
        shadeform.stand_in,
        _shadeform,
        "GET /instances/types",
        "POST /instances/create",
        "GET /instances/*/info",
        "GET /instances",
        "POST /instances/*/delete",
        ("instances", 0),
        ("instance_types", 0, "hourly_price"),
        "hourly_price",
        ("status",),
        "name",
    ),
    "targon": Wire(
        "targon",
        targon.stand_in,
        _targon,
        "GET /inventory",
        "POST /workloads",
        "GET /workloads/*",
        "GET /workloads",
        "DELETE /workloads/*",
        ("items", 0),
        (0, "cost_per_hour"),
        "cost_per_hour",
        ("state", "status"),
        "name",
    ),
    "lium": Wire(
        "lium",
        lium.stand_in,
        _lium,
        "GET /executors",
        "POST /executors/*/rent",
        "GET /pods/*",
        "GET /pods",
        "DELETE /pods/*",
        (0,),
        (0, "price_per_hour"),
        "price",
        ("status",),
        "pod_name",
    ),
}


@dataclass(frozen=True)
class Bench:
    """A client and the stand-in that it asks."""

    wire: Wire
    there: StandIn
    provider: Provider
    naps: list[float]

    def do(self, name: str, **arguments: Any) -> Any:
        """Tell the stand-in something."""
        return self.there.do(name, **arguments)

    def offer(self) -> Offer:
        """The cheapest machine with eight GPUs."""
        return self.provider.offers(8)[0]

    def asked(self, request: str) -> int:
        """How often something was asked, by method and exact path."""
        return list(self.do("requests")).count(request)

    def hurried(self) -> Provider:
        """Another client, for a server that does not answer at all."""
        return self.wire.client(
            self.there.url, self.there.key, deadline_s=HURRIED_S, sleep=self.naps.append
        )


@contextlib.contextmanager
def bench(name: str) -> Iterator[Bench]:
    """One provider with its stand-in; pauses between tries are noted, not made."""
    wire = WIRES[name]
    naps: list[float] = []
    with wire.stand_in() as there:
        client = wire.client(there.url, there.key, sleep=naps.append)
        try:
            yield Bench(wire, there, client, naps)
        finally:
            client.close()
