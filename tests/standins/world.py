"""What stands behind every stand-in: machines, a clock, a meter, and the faults it is told to have.

The clock moves only when it is told to. Everything is kept in one JSON file where one is named, so
that it outlives the process that serves it and any client.
"""

from __future__ import annotations

import fnmatch
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

STANDING = ("registered", "starting", "running", "stopping")


class World:
    """The state of one provider. Every method is called by its name through :meth:`do`.

    Money is in millionths of a dollar, time in Unix seconds of this world's own clock.
    """

    def __init__(self, offers: list[dict[str, Any]], file: Path | None = None) -> None:
        self.lock = threading.RLock()
        self._file = file
        self.state: dict[str, Any] = {
            "now_s": int(time.time()),
            "offers": offers,
            "machines": {},
            "volumes": {},
            "faults": [],
            "requests": [],
            "settings": {
                "boot_s": 0,  # from being asked for until it runs
                "stop_s": 0,  # from being deleted until it is gone
                "volume_busy_s": 0,  # from its machine being gone until a volume can be deleted
                "listing_delay_s": 0,  # from being made until it is listed
                "list_gone": False,  # what is gone is still listed, as gone
                "ignore_deletes": 0,  # so many deletions are answered as done and do nothing
                "duplicate_listing": False,
                "no_capacity": False,  # what is offered is refused when asked for
                "page_rows": 100,
            },
        }
        if file is not None and file.exists():
            self.state = json.loads(file.read_text())
        self.save()

    # -- what a test tells it -----------------------------------------------------------------

    def do(self, name: str, **arguments: Any) -> Any:
        """Call one of the public methods by name; what the control endpoint does."""
        if name.startswith("_") or name in ("do", "save"):
            msg = f"no such command: {name}"
            raise ValueError(msg)
        with self.lock:
            found = getattr(self, name)(**arguments)
            self.save()
            return found

    def advance(self, seconds: int) -> int:
        """Let time pass and return what it is then."""
        self.state["now_s"] += seconds
        return self.now_s()

    def now_s(self) -> int:
        """What time it is."""
        return int(self.state["now_s"])

    def settings(self, **changed: Any) -> dict[str, Any]:
        """Change settings, by the names above, and return all."""
        unknown = changed.keys() - self.state["settings"].keys()
        if unknown:
            msg = f"no such settings: {sorted(unknown)}"
            raise ValueError(msg)
        self.state["settings"].update(changed)
        return dict(self.state["settings"])

    def fault(self, on: str, kind: str, times: int = 1, **details: Any) -> None:
        """Let the next ``times`` requests that match ``on``, as ``POST /instances/*/delete``, fail.

        Nothing done: ``hang``, ``reset`` (closed without an answer), ``status`` (with ``status``
        and ``body``), ``garbage`` (``body`` as an answer), ``drip`` and ``drip_head`` (a byte now
        and then), ``endless``. Done: ``lost`` (closed without an answer), ``lost_slow`` (no
        answer, still open), ``status_after``, ``edit`` (``value`` at ``path`` of the answer),
        ``slow`` (a right answer, ``wait_s`` late).
        """
        self.state["faults"].append({"on": on, "kind": kind, "times": times, **details})

    def clear_faults(self) -> None:
        """Be well again."""
        self.state["faults"] = []

    def reprice_offer(self, offer: str, usd_micros: int) -> None:
        """What is offered at one price costs another when it is asked for, and from then on."""
        for one in self.state["offers"]:
            if one["offer"] == offer:
                one["price_when_made"] = usd_micros

    def reprice(self, machine: str, usd_micros: int) -> None:
        """A machine that runs costs another price from now on."""
        self.state["machines"][machine]["prices"].append([self.now_s(), usd_micros])

    def fail(self, machine: str) -> None:
        """A machine will not come up; it stays listed."""
        self.state["machines"][machine]["failed"] = True

    def vanish(self, machine: str) -> None:
        """A machine is gone without being deleted."""
        self.state["machines"][machine]["gone_s"] = self.now_s()

    def machines(self) -> dict[str, Any]:
        """Every machine ever made, by its id there, with ``state`` as of now."""
        return {
            key: {**one, "state": self.standing(one)} for key, one in self.state["machines"].items()
        }

    def volumes(self) -> dict[str, Any]:
        """Every volume that still is."""
        return dict(self.state["volumes"])

    def requests(self) -> list[str]:
        """``<method> <path>`` of everything asked so far."""
        return list(self.state["requests"])

    def bill(self) -> list[dict[str, Any]]:
        """What each machine cost to the second, rounded up to a millionth of a dollar."""
        lines = []
        for key, one in self.state["machines"].items():
            if one["began_s"] is None:
                continue
            end = min(self.now_s(), one["gone_s"] if one["gone_s"] is not None else self.now_s())
            starts = [max(one["began_s"], at) for at, _ in one["prices"]]
            ends = [*starts[1:], end]
            total = sum(
                max(0, min(to, end) - since) * price
                for since, to, (_, price) in zip(starts, ends, one["prices"], strict=True)
            )
            lines.append(
                {
                    "machine": key,
                    "tag": one["tag"],
                    "seconds": end - one["began_s"],
                    "usd_micros": -(-total // 3_600),
                }
            )
        return lines

    # -- what the wire formats share ------------------------------------------------------------

    def make(
        self,
        tag: str,
        offer: str,
        region: str | None = None,
        *,
        registered: bool = False,
        **kept: Any,
    ) -> str | None:
        """A new machine's id; None where there is no such offer or no capacity."""
        found = next(
            (
                one
                for one in self.state["offers"]
                if one["offer"] == offer and region in (None, one["region"])
            ),
            None,
        )
        if found is None or self.state["settings"]["no_capacity"]:
            return None
        price = found.get("price_when_made", found["usd_micros"])
        key = str(uuid.uuid4())
        self.state["machines"][key] = {
            "tag": tag,
            "offer": offer,
            "region": found["region"],
            "gpu": found["gpu"],
            "count": found["count"],
            "made_s": self.now_s(),
            "began_s": None if registered else self.now_s(),
            "gone_s": None,
            "deleted": False,
            "failed": False,
            "prices": [[self.now_s(), price]],
            **kept,
        }
        return key

    def deploy(self, machine: str) -> None:
        """Begin a machine that was only registered; again is nothing."""
        one = self.state["machines"][machine]
        if one["began_s"] is None:
            one["began_s"] = self.now_s()

    def delete(self, machine: str) -> bool:
        """Whether there was such a machine; from now on it goes."""
        one = self.state["machines"].get(machine)
        if one is None or self.standing(one) == "gone":
            return False
        settings = self.state["settings"]
        if settings["ignore_deletes"] > 0:
            settings["ignore_deletes"] -= 1
        elif not one["deleted"]:
            one["deleted"] = True
            one["gone_s"] = self.now_s() + settings["stop_s"]
        return True

    def standing(self, one: dict[str, Any]) -> str:
        """registered, starting, running, stopping, failed or gone, as of now."""
        now = self.now_s()
        if one["gone_s"] is not None and now >= one["gone_s"]:
            return "gone"
        if one["deleted"]:
            return "stopping"
        if one["failed"]:
            return "failed"
        if one["began_s"] is None:
            return "registered"
        return "running" if now >= one["began_s"] + self.state["settings"]["boot_s"] else "starting"

    def price(self, one: dict[str, Any]) -> int:
        """What it costs an hour as of now."""
        return int(one["prices"][-1][1])

    def seen(self, machine: str) -> dict[str, Any] | None:
        """A machine that can still be asked about."""
        one: dict[str, Any] | None = self.state["machines"].get(machine)
        gone = one is None or self.standing(one) == "gone"
        return None if gone and not self.state["settings"]["list_gone"] else one

    def listing(self) -> list[tuple[str, dict[str, Any]]]:
        """What a list of machines shows as of now."""
        settings = self.state["settings"]
        rows = [
            (key, one)
            for key, one in self.state["machines"].items()
            if self.now_s() >= one["made_s"] + settings["listing_delay_s"]
            and (settings["list_gone"] or self.standing(one) != "gone")
        ]
        return [*rows, *rows] if settings["duplicate_listing"] else rows

    def make_volume(self, tag: str, gigabytes: int, region: str) -> str:
        """A new volume's id."""
        key = str(uuid.uuid4())
        self.state["volumes"][key] = {"tag": tag, "gigabytes": gigabytes, "region": region}
        return key

    def volume_is_busy(self, volume: str) -> bool:
        """Whether a machine still has it, or had it a moment ago."""
        wait = self.state["settings"]["volume_busy_s"]
        return any(
            one.get("volume") == volume
            and (one["gone_s"] is None or self.now_s() < one["gone_s"] + wait)
            for one in self.state["machines"].values()
        )

    def take_fault(self, request: str) -> dict[str, Any] | None:
        """The fault that this request is to meet, used up."""
        for one in self.state["faults"]:
            if one["times"] > 0 and fnmatch.fnmatchcase(request, one["on"]):
                one["times"] -= 1
                return dict(one)
        return None

    def save(self) -> None:
        """Keep it all in the file, whole or not at all."""
        if self._file is not None:
            beside = self._file.with_suffix(".new")
            beside.write_text(json.dumps(self.state))
            beside.replace(self._file)
