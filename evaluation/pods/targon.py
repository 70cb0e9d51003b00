"""Targon: workloads of the kind RENTAL, base path ``/tha/v2``, prices in dollars as JSON numbers.

A machine takes two calls: one registers the workload, which costs nothing, one deploys it. The
second answers 502, 503 or 504 now and then without saying whether it was done; the workload's state
is asked before it is sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from evaluation.pods.http import DEADLINE_S, Api, NotFoundError, segment
from evaluation.pods.port import (
    Address,
    Billing,
    Instance,
    InstanceState,
    Offer,
    ProviderError,
    RefusedError,
    UnansweredError,
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

NAME: Final = "targon"
BASE_URL: Final = "https://api.targon.com/tha/v2"
BILLING: Final = Billing(step_s=1, step_usd_micros=1, settlement="prepaid")
"""By the second out of credits, exactly. A setting: the provider does not publish it."""
IMAGE: Final = "ghcr.io/manifold-inc/ubuntu-systemd-docker:v3"
"""The provider's own image with systemd, sshd and a Docker Engine."""
SSH_GATEWAY: Final = "ssh.deployments.targon.com"
SSH_PORT: Final = 22
REGION: Final = "any"
"""It has no regions to choose from."""
DEPLOY_TRIES: Final = 3
"""How often a workload that is still only registered is deployed."""
PAGE_ROWS: Final = 100
MAX_PAGES: Final = 200
MAX_COUNT: Final = 1_000_000
REGISTERED: Final = frozenset({"REGISTERED", "CREATED"})
STATES: Final[Mapping[str, InstanceState]] = {
    "REGISTERED": "starting",
    "CREATED": "starting",
    "PENDING": "starting",
    "PROVISIONING": "starting",
    "DEPLOYING": "starting",
    "RUNNING": "running",
    "READY": "running",
    "ERROR": "failed",
    "FAILED": "failed",
    "SUSPENDED": "failed",
    "DELETING": "stopping",
    "TERMINATING": "stopping",
    "DELETED": "gone",
    "TERMINATED": "gone",
}


class Targon:
    """The account that ``key`` belongs to.

    ``ssh_keys`` are the uids of SSH keys it knows. Machines whose state names no address are
    reached as ``<uid>@<ssh_gateway>``; without a gateway they have none.
    """

    name = NAME
    has_volumes = False

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        ssh_keys: Sequence[str] = (),
        image: str = IMAGE,
        project: str | None = None,
        ssh_gateway: str | None = SSH_GATEWAY,
        billing: Billing = BILLING,
        deadline_s: float = DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.billing = billing
        self._ssh_keys = tuple(ssh_keys)
        self._image = image
        self._project = project
        self._ssh_gateway = ssh_gateway
        self._api = Api(
            NAME,
            base_url,
            key,
            header=("Authorization", "Bearer "),
            deadline_s=deadline_s,
            sleep=sleep,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._api!r})"

    def offers(self, count: int) -> Sequence[Offer]:
        """As :meth:`evaluation.pods.port.Provider.offers`."""
        found = self._api.get("/inventory", {"type": "rental", "gpu": "true"})
        offers = [
            offer
            for row in rows_of(NAME, "the inventory", found)
            for offer in self._offers(row, count)
        ]
        return sorted(set(offers), key=lambda one: (one.usd_micros_per_hour, one.offer))

    def create(self, offer: Offer, request: UUID, *, volume: str | None = None) -> Instance:
        """As :meth:`evaluation.pods.port.Provider.create`: registered once, then deployed.

        Where the answer to registering is lost, the workload is looked for by its tag; only one
        that is found is deployed. One that will certainly not be deployed is deleted again.
        """
        if volume is not None:
            msg = f"{NAME} is asked for machines without volumes here"
            raise RefusedError(msg)
        tag = tag_of(request)
        body: dict[str, Any] = {
            "name": tag,
            "image": self._image,
            "resource_name": offer.offer,
            "type": "RENTAL",
            "ports": [{"port": SSH_PORT, "protocol": "TCP", "routing": "DIRECT"}],
            "ssh_keys": list(self._ssh_keys),
        }
        if self._project is not None:
            body["project_id"] = self._project
        try:
            row = Fields.of(NAME, "the new workload", self._api.post("/workloads", body))
            uid = row.text("uid")
        except UnansweredError as error:
            found = self._registered(tag, error)
            uid, row = found.text("uid"), found
        price = unknown_if_bad(lambda: row.dollars("cost_per_hour"))
        started = unknown_if_bad(lambda: row.when("created_at"))
        self._deploy(uid)
        return Instance(NAME, uid, tag, "starting", price, started, None, None)

    def state(self, instance: str) -> Instance:
        """As :meth:`evaluation.pods.port.Provider.state`: what the workload and its state say.

        Gone is what both the workload's own state and the list of all say.
        """
        path = f"/workloads/{segment(instance)}"
        try:
            state = Fields.of(NAME, "a workload's state", self._api.get(f"{path}/state"))
            row = Fields.of(NAME, "a workload", self._api.get(path))
        except NotFoundError:
            for one in self.listed():
                if one.instance == instance:
                    return one
            return Instance(NAME, instance, None, "gone", None, None, None, None)
        if row.text("uid") != instance or state.maybe_text("uid") not in (None, instance):
            raise row.bad("uid", "is another workload's")
        return self._instance(row, state)

    def stop(self, instance: str) -> None:
        """As :meth:`evaluation.pods.port.Provider.stop`."""
        try:
            self._api.delete(f"/workloads/{segment(instance)}")
        except NotFoundError:
            if self.state(instance).state != "gone":
                raise

    def listed(self) -> Sequence[Instance]:
        """As :meth:`evaluation.pods.port.Provider.listed`: workloads of every kind."""
        return tuple(living(self._instance(row, None) for row in self._workloads()))

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
        spec = row.inner("spec")
        gpu = gpu_name(spec.maybe_text("gpu_type"))
        # Only what was asked for is read on: it must be whole then.
        if spec.maybe_whole("gpu_count", 0, 1_024) != count or gpu is None:
            return []
        if (row.maybe_whole("available", -MAX_COUNT, MAX_COUNT) or 0) <= 0:
            return []
        price = row.dollars("cost_per_hour")
        if price is None:
            raise row.bad("cost_per_hour", "is missing")
        return [Offer(NAME, row.text("name"), gpu, count, REGION, price)]

    def _deploy(self, uid: str) -> None:
        path = f"/workloads/{segment(uid)}"
        for turn in range(1, DEPLOY_TRIES + 1):
            try:
                self._api.tell(f"{path}/deploy")
            except RefusedError:
                self._clear(uid)
                raise
            except UnansweredError as error:
                if self._is_deployed(path, error):
                    return
                last = error
                if turn < DEPLOY_TRIES:
                    self._api.pause(turn)
            else:
                return
        # Nothing runs for now, but a deployment may still come through.
        msg = f"{NAME} did not deploy workload {uid} in {DEPLOY_TRIES} tries: {last}"
        raise UnansweredError(msg)

    def _is_deployed(self, path: str, why: UnansweredError) -> bool:
        try:
            state = Fields.of(NAME, "a workload's state", self._api.get(f"{path}/state"))
            word = state.text("status")
        except ProviderError as error:
            msg = f"{why}; nor is it known how it stands: {error}"
            raise UnansweredError(msg) from None
        return word.upper() not in REGISTERED

    def _clear(self, uid: str) -> None:
        """Delete a workload that was registered and refused; raises where that is not certain."""
        try:
            self.stop(uid)
        except ProviderError as error:
            msg = f"{NAME} refused to deploy workload {uid}, which may be left: {error}"
            raise UnansweredError(msg) from None

    def _registered(self, tag: str, why: UnansweredError) -> Fields:
        """The workload of that tag, after the answer to registering it was lost."""
        try:
            rows = self._workloads()
        except ProviderError as error:
            msg = f"{why}; nor can be seen whether it was done: {error}"
            raise UnansweredError(msg) from None
        for row in rows:
            if row.content.get("name") == tag and isinstance(row.content.get("uid"), str):
                return row
        raise why

    def _workloads(self) -> list[Fields]:
        by = self._api.by()
        rows: list[Fields] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            params = {"limit": str(PAGE_ROWS)} | ({} if cursor is None else {"cursor": cursor})
            page = Fields.of(
                NAME, "the list of workloads", self._api.get("/workloads", params, by=by)
            )
            rows += page.rows("items")
            following = page.maybe_text("next_cursor")
            if following is None:
                return rows
            if following == cursor:
                raise page.bad("next_cursor", "leads to itself")
            cursor = following
        msg = f"{NAME} lists workloads on more than {MAX_PAGES} pages; delete old ones there"
        raise UnansweredError(msg)

    def _instance(self, row: Fields, state: Fields | None) -> Instance:
        """A workload with its state; without one it is a row of the list, read leniently."""
        read = unknown_if_bad if state is None else exactly
        said = read(lambda: row.inner("state")) if state is None else state
        address = None if said is None else read(lambda: _address(said))
        word = None if said is None else read(lambda: said.maybe_text("status"))
        uid = row.text("uid")
        standing = state_of(word, STATES, reachable=address is not None)
        if address is None and standing == "running" and self._ssh_gateway is not None:
            address = read(lambda: row.address(uid, self._ssh_gateway, SSH_PORT))
        return Instance(
            NAME,
            uid,
            read(lambda: row.maybe_text("name")),
            standing,
            read(lambda: row.dollars("cost_per_hour")),
            read(lambda: row.when("created_at")),
            None,
            address,
        )


def _address(state: Fields) -> Address | None:
    """Its own address, or else the one at which its port for SSH is reached directly."""
    port = state.maybe_whole("ssh_port", 0, 65_535)
    host = state.maybe_text("public_ip")
    if port and host is not None:
        return state.address("root", host, port)
    if state.content.get("urls") is None:
        return None
    for row in state.rows("urls"):
        if row.maybe_whole("port", 0, 65_535) == SSH_PORT:
            try:
                where = urlsplit(row.text("url"))
                host, port = where.hostname, where.port
            except ValueError:
                raise row.bad("url", "is no address") from None
            # Without a port of its own it leads to a proxy for the web, not to SSH.
            return row.address("root", host, port)
    return None
