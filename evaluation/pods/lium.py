"""Lium: pods on executors, base path ``/api``, prices in dollars as JSON numbers.

Asked over HTTP and not through ``lium-sdk``: decision 0028 says why. An executor is one machine of
one stranger, so an offer's record is that machine's.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from evaluation.pods.http import DEADLINE_S, Api, NotFoundError, segment
from evaluation.pods.port import (
    Address,
    Billing,
    Instance,
    InstanceState,
    Offer,
    RefusedError,
    Volume,
    tag_of,
)
from evaluation.pods.reading import (
    Fields,
    exactly,
    gpu_name,
    living,
    rows_of,
    state_of,
    unknown_if_bad,
)

NAME: Final = "lium"
BASE_URL: Final = "https://lium.io/api"
BILLING: Final = Billing(step_s=1, step_usd_micros=1, settlement="prepaid")
"""By the second out of a balance, exactly. A setting: the provider does not publish it."""
UNKNOWN_REGION: Final = "unknown"
SSH_PORT: Final = 22
STATES: Final[Mapping[str, InstanceState]] = {
    "PENDING": "starting",
    "REBOOT_PENDING": "starting",
    "RUNNING": "running",
    "FAILED": "failed",
    "ERROR": "failed",
    "CREATION_FAILED": "failed",
    "REBOOT_FAILED": "failed",
    "BROKEN": "failed",
    "CANCELLED": "failed",
    "STOPPED": "failed",
    "STOPPING": "stopping",
    "DELETING": "stopping",
    "TERMINATED": "gone",
    "DELETED": "gone",
    "REMOVED": "gone",
}


class Lium:
    """The account that ``key`` belongs to.

    A pod is started from ``template``, the id of an image there that has sshd and Docker, and takes
    ``public_keys`` as lines of ``authorized_keys``.
    """

    name = NAME
    has_volumes = False

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        template: str,
        public_keys: Sequence[str],
        billing: Billing = BILLING,
        deadline_s: float = DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.billing = billing
        self._template = template
        self._public_keys = tuple(public_keys)
        self._api = Api(
            NAME, base_url, key, header=("X-API-KEY", ""), deadline_s=deadline_s, sleep=sleep
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._api!r})"

    def offers(self, count: int) -> Sequence[Offer]:
        """As :meth:`evaluation.pods.port.Provider.offers`: executors that let Docker run."""
        found = self._api.get(
            "/executors", {"gpu_count_gte": str(count), "gpu_count_lte": str(count)}
        )
        offers = [
            offer
            for row in rows_of(NAME, "the executors", found)
            for offer in self._offers(row, count)
        ]
        return sorted(set(offers), key=lambda one: (one.usd_micros_per_hour, one.offer))

    def create(self, offer: Offer, request: UUID, *, volume: str | None = None) -> Instance:
        """As :meth:`evaluation.pods.port.Provider.create`; the answer may say no price yet."""
        if volume is not None:
            msg = f"{NAME} is asked for machines without volumes here"
            raise RefusedError(msg)
        tag = tag_of(request)
        body: dict[str, Any] = {
            "pod_name": tag,
            "template_id": self._template,
            "user_public_key": list(self._public_keys),
        }
        made = Fields.of(
            NAME, "the new pod", self._api.post(f"/executors/{segment(offer.offer)}/rent", body)
        )
        pod = made.maybe_text("id") or made.maybe_text("pod_id")
        if pod is None:
            if made.flag("success") is False:
                msg = f"{NAME} rented nothing on executor {offer.offer}"
                raise RefusedError(msg)
            raise made.bad("id", "is missing")
        return Instance(NAME, pod, tag, "starting", None, None, None, None)

    def state(self, instance: str) -> Instance:
        """As :meth:`evaluation.pods.port.Provider.state`.

        Gone is what both the pod's own page and the list of all say.
        """
        try:
            row = Fields.of(NAME, "a pod", self._api.get(f"/pods/{segment(instance)}"))
        except NotFoundError:
            for one in self.listed():
                if one.instance == instance:
                    return one
            return Instance(NAME, instance, None, "gone", None, None, None, None)
        one = self._instance(row)
        if one.instance != instance:
            raise row.bad("id", "is another pod's")
        return one

    def stop(self, instance: str) -> None:
        """As :meth:`evaluation.pods.port.Provider.stop`."""
        try:
            self._api.delete(f"/pods/{segment(instance)}")
        except NotFoundError:
            if self.state(instance).state != "gone":
                raise

    def listed(self) -> Sequence[Instance]:
        """As :meth:`evaluation.pods.port.Provider.listed`; it has one page."""
        rows = rows_of(NAME, "the pods", self._api.get("/pods"))
        return tuple(living(self._instance(row, lenient=True) for row in rows))

    def create_volume(self, gigabytes: int, region: str, request: UUID) -> Volume:
        """Refused: volumes apart from machines are not asked for at this provider."""
        msg = f"{NAME} makes no volume of {gigabytes} GB for {request} in {region}: not asked here"
        raise RefusedError(msg)

    def delete_volume(self, volume: str) -> None:
        """Refused, as :meth:`create_volume`."""
        msg = f"{NAME} deletes no volume {volume}: none is ever made here"
        raise RefusedError(msg)

    def volumes(self) -> Sequence[Volume]:
        """None are made, so none are listed."""
        return ()

    def close(self) -> None:
        """As :meth:`evaluation.pods.port.Provider.close`."""
        self._api.close()

    # -- inside -----------------------------------------------------------------------------

    def _offers(self, row: Fields, count: int) -> list[Offer]:
        gpu = gpu_name(row.maybe_text("machine_name"))
        specs = row.inner("specs")
        # Only what was asked for is read on: it must be whole then.
        if _count(row) != count or gpu is None:
            return []
        # Docker runs inside an executor's container only with this runtime.
        if specs.flag("sysbox_runtime") is not True or row.flag("rented"):
            return []
        price = _price(row, count)
        if price is None:
            raise row.bad("price_per_hour", "is missing")
        region = row.inner("location").maybe_text("country") or UNKNOWN_REGION
        return [Offer(NAME, row.text("id"), gpu, count, region, price)]

    def _instance(self, row: Fields, *, lenient: bool = False) -> Instance:
        read = unknown_if_bad if lenient else exactly
        address = read(lambda: _address(row))
        word = read(lambda: row.maybe_text("status"))
        return Instance(
            NAME,
            row.text("id"),
            read(lambda: row.maybe_text("pod_name")),
            state_of(word, STATES, reachable=address is not None),
            read(lambda: _pod_price(row)),
            read(lambda: row.when("created_at")),
            None,
            address,
        )


def _count(row: Fields) -> int | None:
    """How many GPUs an executor has, by itself or else by its scanned specs."""
    own = row.maybe_whole("gpu_count", 0, 1_024)
    return (
        own if own is not None else row.inner("specs").inner("gpu").maybe_whole("count", 0, 1_024)
    )


def _price(row: Fields, count: int | None) -> int | None:
    """What an executor costs an hour as a whole; of a newer interface, by its GPUs."""
    whole = row.dollars("price_per_hour")
    if whole is not None or count is None:
        return whole
    return row.dollars("price_per_gpu", count)


def _pod_price(row: Fields) -> int | None:
    """A pod's own price is what is billed; else its executor's."""
    own = row.dollars("price")
    if own is not None:
        return own
    whole = row.dollars("price_per_hour")
    if whole is not None:
        return whole
    executor = row.inner("executor")
    billed = row.maybe_whole("gpu_count", 1, 1_024)
    return _price(executor, billed if billed is not None else _count(executor))


def _address(row: Fields) -> Address | None:
    """What ``ssh <user>@<host> -p <port>`` says; anything else is no address."""
    command = row.maybe_text("ssh_connect_cmd")
    if command is None:
        return None
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if len(words) == 2:
        words += ["-p", str(SSH_PORT)]
    if len(words) != 4 or words[0] != "ssh" or words[2] != "-p":
        raise row.bad("ssh_connect_cmd", "is not ssh <user>@<host> -p <port>")
    user, _, host = words[1].partition("@")
    port = int(words[3]) if words[3].isascii() and words[3].isdigit() and len(words[3]) < 6 else 0
    if not 1 <= port <= 65_535:
        raise row.bad("ssh_connect_cmd", "names no port")
    return row.address(user, host, port)
