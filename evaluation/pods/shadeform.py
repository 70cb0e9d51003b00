"""Shadeform: one interface to many clouds, base path ``/v1``, prices in whole cents.

Offers and regions are named ``<cloud>/<their own word>``: a machine is asked for by both. What a
machine costs is said by its state, not by the answer to asking for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from evaluation.pods.http import DEADLINE_S, AnsweredError, Api, NotFoundError, SaidNoError, segment
from evaluation.pods.port import (
    Address,
    Billing,
    Instance,
    InstanceState,
    Offer,
    RefusedError,
    StillInUseError,
    Volume,
    tag_of,
)
from evaluation.pods.reading import (
    MAX_GIGABYTES,
    Fields,
    exactly,
    gpu_name,
    living,
    state_of,
    unknown_if_bad,
)

NAME: Final = "shadeform"
BASE_URL: Final = "https://api.shadeform.ai/v1"
BILLING: Final = Billing(step_s=1, step_usd_micros=10_000, settlement="prepaid")
"""By the second out of a wallet, in whole cents. A setting: the provider does not publish it."""
MAX_PORT: Final = 65_535
STATES: Final[Mapping[str, InstanceState]] = {
    "CREATING": "starting",
    "PENDING_PROVIDER": "starting",
    "PENDING": "starting",
    "ACTIVE": "running",
    "ERROR": "failed",
    "DELETING": "stopping",
    "DELETED": "gone",
}
NO_DOCKER: Final = "container"
"""The deployment type that is itself a container: no host for ours."""
VOLUME_BUSY: Final = frozenset({409, 423, 503})
"""What deleting a volume answers for minutes after its machine is gone."""


class Shadeform:
    """The account that ``key`` belongs to. ``ssh_key_id`` is an SSH key it knows, else its default.

    ``shade_cloud`` False asks for machines in cloud accounts of one's own that are linked to it.
    """

    name = NAME
    has_volumes = True

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        ssh_key_id: str | None = None,
        shade_cloud: bool = True,
        billing: Billing = BILLING,
        deadline_s: float = DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.billing = billing
        self._ssh_key_id = ssh_key_id
        self._shade_cloud = shade_cloud
        self._api = Api(
            NAME, base_url, key, header=("X-API-KEY", ""), deadline_s=deadline_s, sleep=sleep
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._api!r})"

    def offers(self, count: int) -> Sequence[Offer]:
        """As :meth:`evaluation.pods.port.Provider.offers`: one for each region that has it now."""
        found = self._get(
            "/instances/types", {"num_gpus": str(count), "available": "true", "sort": "price"}
        )
        offers = [
            offer for row in found.rows("instance_types") for offer in self._offers(row, count)
        ]
        return sorted(set(offers), key=lambda one: (one.usd_micros_per_hour, one.offer, one.region))

    def create(self, offer: Offer, request: UUID, *, volume: str | None = None) -> Instance:
        """As :meth:`evaluation.pods.port.Provider.create`; the answer says no price yet."""
        cloud, kind = _parts(offer.offer)
        region_cloud, region = _parts(offer.region)
        if cloud != region_cloud:
            msg = f"{NAME} has no offer {offer.offer} in {offer.region}: these are two clouds"
            raise RefusedError(msg)
        tag = tag_of(request)
        body: dict[str, Any] = {
            "cloud": cloud,
            "region": region,
            "shade_instance_type": kind,
            "shade_cloud": self._shade_cloud,
            "name": tag,
            "tags": [tag],
        }
        if volume is not None:
            body["volume_ids"] = [volume]
        if self._ssh_key_id is not None:
            body["ssh_key_id"] = self._ssh_key_id
        made = Fields.of(NAME, "the new instance", self._api.post("/instances/create", body))
        return Instance(NAME, made.text("id"), tag, "starting", None, None, None, None)

    def state(self, instance: str) -> Instance:
        """As :meth:`evaluation.pods.port.Provider.state`.

        Gone is what both the machine's own page and the list of all say: a wrong address of the
        interface answers 404 as well.
        """
        try:
            row = self._get(f"/instances/{segment(instance)}/info")
        except NotFoundError:
            for one in self.listed():
                if one.instance == instance:
                    return one
            return Instance(NAME, instance, None, "gone", None, None, None, None)
        one = self._instance(row)
        if one.instance != instance:
            raise row.bad("id", "is another machine's")
        return one

    def stop(self, instance: str) -> None:
        """As :meth:`evaluation.pods.port.Provider.stop`: sent once; the caller asks again."""
        try:
            self._api.tell(f"/instances/{segment(instance)}/delete")
        except NotFoundError:
            if self.state(instance).state != "gone":
                raise

    def listed(self) -> Sequence[Instance]:
        """As :meth:`evaluation.pods.port.Provider.listed`; it has one page."""
        rows = self._get("/instances").rows("instances")
        return tuple(living(self._instance(row, lenient=True) for row in rows))

    def create_volume(self, gigabytes: int, region: str, request: UUID) -> Volume:
        """As :meth:`evaluation.pods.port.Provider.create_volume`."""
        cloud, place = _parts(region)
        tag = tag_of(request)
        body = {"cloud": cloud, "region": place, "size_in_gb": gigabytes, "name": tag}
        made = Fields.of(NAME, "the new volume", self._api.post("/volumes/create", body))
        return Volume(NAME, made.text("id"), tag, gigabytes)

    def delete_volume(self, volume: str) -> None:
        """As :meth:`evaluation.pods.port.Provider.delete_volume`."""
        try:
            self._api.tell(f"/volumes/{segment(volume)}/delete")
        except NotFoundError:
            if any(one.volume == volume for one in self.volumes()):
                raise
        except (AnsweredError, SaidNoError) as error:
            if error.status in VOLUME_BUSY:
                msg = f"{NAME} cannot delete volume {volume} yet: {error}"
                raise StillInUseError(msg) from None
            raise

    def volumes(self) -> Sequence[Volume]:
        """As :meth:`evaluation.pods.port.Provider.volumes`; it has one page."""
        rows = self._get("/volumes").rows("volumes")
        found = {
            one.text("id"): Volume(
                NAME,
                one.text("id"),
                one.maybe_text("name"),
                one.maybe_whole("size_in_gb", 0, MAX_GIGABYTES),
            )
            for one in rows
        }
        return tuple(found.values())

    def close(self) -> None:
        """As :meth:`evaluation.pods.port.Provider.close`."""
        self._api.close()

    # -- inside -----------------------------------------------------------------------------

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Fields:
        return Fields.of(NAME, f"the answer to {path}", self._api.get(path, params))

    def _offers(self, row: Fields, count: int) -> list[Offer]:
        configuration = row.inner("configuration")
        gpu = gpu_name(configuration.maybe_text("gpu_type"))
        # Only what was asked for is read on: it must be whole then.
        if configuration.maybe_whole("num_gpus", 0, 1_024) != count or gpu is None:
            return []
        if row.maybe_text("deployment_type") == NO_DOCKER:
            return []
        cloud, kind = row.text("cloud"), row.text("shade_instance_type")
        price = row.cents("hourly_price")
        if price is None:
            raise row.bad("hourly_price", "is missing")
        return [
            Offer(NAME, f"{cloud}/{kind}", gpu, count, f"{cloud}/{place.text('region')}", price)
            for place in row.rows("availability")
            if place.flag("available")
        ]

    def _instance(self, row: Fields, *, lenient: bool = False) -> Instance:
        read = unknown_if_bad if lenient else exactly
        address = read(lambda: _address(row))
        state = state_of(
            read(lambda: row.maybe_text("status")), STATES, reachable=address is not None
        )

        def price() -> int | None:
            # A machine that is being made may have no price yet; 0 is no price.
            unpriced = state == "starting" and row.content.get("hourly_price") == 0
            return None if unpriced else row.cents("hourly_price")

        ended = state in ("stopping", "gone")
        return Instance(
            NAME,
            row.text("id"),
            read(lambda: row.maybe_text("name")),
            state,
            read(price),
            read(lambda: row.when("created_at")),
            read(lambda: row.when("deleted_at")) if ended else None,
            address,
        )


def _address(row: Fields) -> Address | None:
    port = row.maybe_whole("ssh_port", 0, MAX_PORT)
    return row.address(row.maybe_text("ssh_user"), row.maybe_text("ip"), port or None)


def _parts(name: str) -> tuple[str, str]:
    """The cloud and its own word in ``<cloud>/<word>``."""
    cloud, slash, word = name.partition("/")
    if not cloud or not slash or not word:
        msg = f"{NAME} has nothing named {name!r}: its names are <cloud>/<name>"
        raise RefusedError(msg)
    return cloud, word
