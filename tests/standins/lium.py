"""A stand-in for Lium's interface ``/api``: ``python -m tests.standins.lium``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.standins.serving import Answer, Ask, StandIn, dollars, rfc3339, run, serving
from tests.standins.world import World

BASE_PATH = "/api"
HEADER = ("X-API-KEY", "")
WORDS = {
    "registered": "PENDING",
    "starting": "PENDING",
    "running": "RUNNING",
    "stopping": "DELETING",
    "failed": "CREATION_FAILED",
    "gone": "DELETED",
}
NO_POD = {"detail": "Pod not found"}


def offers() -> list[dict[str, Any]]:
    """What it offers at first: executors."""
    return [
        {
            "offer": "5f0c6f0e-0000-4000-8000-000000000001",
            "region": "Canada",
            "gpu": "H200",
            "count": 8,
            "usd_micros": 18_000_000,
        },
        {
            "offer": "5f0c6f0e-0000-4000-8000-000000000002",
            "region": "Norway",
            "gpu": "H100",
            "count": 8,
            "usd_micros": 12_345_678,
        },
    ]


def stand_in(file: Path | None = None) -> AbstractContextManager[StandIn]:
    """One in a thread; its state in ``file`` where one is named."""
    return serving(BASE_PATH, HEADER, ROUTES, World(offers(), file))


def _executors(ask: Ask) -> Answer:
    least = int(ask.query.get("gpu_count_gte", "0"))
    most = int(ask.query.get("gpu_count_lte", "1000"))
    found = [one for one in ask.world.state["offers"] if least <= one["count"] <= most]
    return 200, [_executor(one) for one in found]


def _pods(ask: Ask) -> Answer:
    return 200, [_pod(ask.world, *row) for row in ask.world.listing()]


def _one(ask: Ask, key: str) -> Answer:
    one = ask.world.seen(key)
    return (404, NO_POD) if one is None else (200, _pod(ask.world, key, one))


def _delete(ask: Ask, key: str) -> Answer:
    return (200, {"success": True}) if ask.world.delete(key) else (404, NO_POD)


def _rent(ask: Ask, executor: str) -> Answer:
    body = ask.body
    lacking = [
        name for name in ("pod_name", "template_id", "user_public_key") if not body.get(name)
    ]
    if lacking:
        return 422, {"detail": f"missing: {lacking}"}
    made = ask.world.make(body["pod_name"], executor, sent=body)
    if made is None:
        return 400, {"detail": "Executor is not available"}
    return 200, {"success": True, "pod_id": made}


def _executor(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": one["offer"],
        "machine_name": f"NVIDIA {one['gpu']} 80GB HBM3",
        "executor_ip_address": "192.0.2.30",
        "price_per_hour": dollars(one["usd_micros"]),
        "location": {"country": one["region"]},
        "specs": {
            "gpu": {"count": one["count"], "details": [{"name": f"NVIDIA {one['gpu']}"}]},
            "sysbox_runtime": one.get("sysbox", True),
        },
        "status": "available",
    }


def _pod(world: World, key: str, one: dict[str, Any]) -> dict[str, Any]:
    state = world.standing(one)
    return {
        "id": key,
        "pod_name": one["tag"],
        "status": WORDS[state],
        "ssh_connect_cmd": "ssh root@192.0.2.30 -p 40022" if state == "running" else None,
        "ports_mapping": {},
        "price": dollars(world.price(one)),
        "gpu_count": one["count"],
        "created_at": rfc3339(one["made_s"]).removesuffix("Z"),
        "updated_at": rfc3339(world.now_s()).removesuffix("Z"),
        "executor": _executor(
            {**one, "usd_micros": world.price(one)},
        ),
        "template": {"id": one["sent"]["template_id"]},
    }


ROUTES = (
    ("GET", "/executors", _executors),
    ("POST", "/executors/*/rent", _rent),
    ("GET", "/pods", _pods),
    ("GET", "/pods/*", _one),
    ("DELETE", "/pods/*", _delete),
)

if __name__ == "__main__":
    run(BASE_PATH, HEADER, ROUTES, offers())
