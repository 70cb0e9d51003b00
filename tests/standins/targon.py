"""A stand-in for Targon's interface ``/tha/v2``: ``python -m tests.standins.targon``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.standins.serving import Answer, Ask, StandIn, dollars, rfc3339, run, serving
from tests.standins.world import World

BASE_PATH = "/tha/v2"
HEADER = ("Authorization", "Bearer ")
WORDS = {
    "registered": "registered",
    "starting": "provisioning",
    "running": "running",
    "stopping": "deleting",
    "failed": "error",
    "gone": "deleted",
}
NO_WORKLOAD = {"error": "workload not found"}


def offers() -> list[dict[str, Any]]:
    """What it offers at first."""
    return [
        {
            "offer": "h200-xlarge",
            "region": "any",
            "gpu": "H200",
            "count": 8,
            "usd_micros": 19_200_000,
        },
        {
            "offer": "b200-xlarge",
            "region": "any",
            "gpu": "B200",
            "count": 8,
            "usd_micros": 32_000_000,
        },
        {
            "offer": "h100-small",
            "region": "any",
            "gpu": "H100",
            "count": 1,
            "usd_micros": 1_900_000,
        },
    ]


def stand_in(file: Path | None = None) -> AbstractContextManager[StandIn]:
    """One in a thread; its state in ``file`` where one is named."""
    return serving(BASE_PATH, HEADER, ROUTES, World(offers(), file))


def _offered(ask: Ask) -> Answer:
    if ask.query.get("type") != "rental" or ask.query.get("gpu") != "true":
        return 200, [{"name": "cpu-small", "type": "rental", "gpu": False}]
    return 200, [_inventory(one) for one in ask.world.state["offers"]]


def _one_state(ask: Ask, uid: str) -> Answer:
    one = ask.world.seen(uid)
    return (404, NO_WORKLOAD) if one is None else (200, _state(ask.world, uid, one))


def _one(ask: Ask, uid: str) -> Answer:
    one = ask.world.seen(uid)
    return (404, NO_WORKLOAD) if one is None else (200, _workload(ask.world, uid, one))


def _delete(ask: Ask, uid: str) -> Answer:
    return (204, "") if ask.world.delete(uid) else (404, NO_WORKLOAD)


def _create(ask: Ask) -> Answer:
    body, world = ask.body, ask.world
    lacking = [name for name in ("name", "image", "resource_name", "type") if name not in body]
    if lacking or body["type"] != "RENTAL":
        return 400, {"error": f"missing: {lacking}"}
    # Registering takes no capacity: only deploying can be refused for want of it.
    full, world.state["settings"]["no_capacity"] = world.state["settings"]["no_capacity"], False
    made = world.make(body["name"], body["resource_name"], registered=True, sent=body)
    world.state["settings"]["no_capacity"] = full
    if made is None:
        return 400, {"error": "unknown resource"}
    return 201, _workload(world, made, world.state["machines"][made])


def _deploy(ask: Ask, uid: str) -> Answer:
    world = ask.world
    one = world.seen(uid)
    if one is None:
        return 404, NO_WORKLOAD
    if world.state["settings"]["no_capacity"]:
        return 400, {"error": "insufficient capacity for this resource"}
    world.deploy(uid)
    return 200, {"uid": uid, "state": _state(world, uid, one)}


def _page(ask: Ask) -> Answer:
    world = ask.world
    rows = world.listing()
    first = int(ask.query.get("cursor", "0"))
    limit = min(int(ask.query.get("limit", "20")), world.state["settings"]["page_rows"])
    page: dict[str, Any] = {
        "items": [_workload(world, *row) for row in rows[first : first + limit]]
    }
    if first + limit < len(rows):
        page["next_cursor"] = str(first + limit)
    return 200, page


def _inventory(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": one["offer"],
        "display_name": f"{one['gpu']} Server",
        "description": "",
        "type": "rental",
        "gpu": True,
        "spec": {
            "gpu_type": f"NVIDIA-{one['gpu']}",
            "gpu_count": one["count"],
            "vcpu": 192,
            "memory": 2_000_000,
            "storage": 10_000_000,
        },
        "cost_per_hour": dollars(one["usd_micros"]),
        "available": one.get("available", 3),
    }


def _workload(world: World, uid: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": uid,
        "name": one["tag"],
        "type": "RENTAL",
        "image": one["sent"]["image"],
        "resource_name": one["offer"],
        "state": _state(world, uid, one),
        "cost_per_hour": dollars(world.price(one)),
        "created_at": rfc3339(one["made_s"]),
        "updated_at": rfc3339(world.now_s()),
    }


def _state(world: World, uid: str, one: dict[str, Any]) -> dict[str, Any]:
    state = world.standing(one)
    up = state == "running"
    return {
        "uid": uid,
        "workload_type": "RENTAL",
        "status": WORDS[state],
        "message": "",
        "urls": [{"port": 22, "url": "tcp://192.0.2.20:31022"}] if up else [],
        "ready_replicas": int(up),
        "total_replicas": 1,
        "updated_at": rfc3339(world.now_s()),
    }


ROUTES = (
    ("GET", "/inventory", _offered),
    ("POST", "/workloads", _create),
    ("GET", "/workloads", _page),
    ("POST", "/workloads/*/deploy", _deploy),
    ("GET", "/workloads/*/state", _one_state),
    ("GET", "/workloads/*", _one),
    ("DELETE", "/workloads/*", _delete),
)

if __name__ == "__main__":
    run(BASE_PATH, HEADER, ROUTES, offers())
