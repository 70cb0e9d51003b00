"""A stand-in for Shadeform's interface ``/v1``: ``python -m tests.standins.shadeform``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.standins.serving import Answer, Ask, StandIn, rfc3339, run, serving
from tests.standins.world import World

BASE_PATH = "/v1"
HEADER = ("X-API-KEY", "")
WORDS = {
    "registered": "creating",
    "starting": "pending",
    "running": "active",
    "stopping": "deleting",
    "failed": "error",
    "gone": "deleted",
}
BUSY = (409, 423, 503)
NO_INSTANCE = {"error": "instance not found"}


def offers() -> list[dict[str, Any]]:
    """What it offers at first; two clouds, three kinds of machine."""
    return [
        {
            "offer": "hyperstack/H200x8",
            "region": "hyperstack/canada-1",
            "gpu": "H200",
            "count": 8,
            "usd_micros": 23_920_000,
        },
        {
            "offer": "nebius/H200x8",
            "region": "nebius/eu-north1",
            "gpu": "H200",
            "count": 8,
            "usd_micros": 25_600_000,
        },
        {
            "offer": "hyperstack/H100x8",
            "region": "hyperstack/canada-1",
            "gpu": "H100",
            "count": 8,
            "usd_micros": 15_200_000,
        },
        {
            "offer": "hyperstack/A6000",
            "region": "hyperstack/canada-1",
            "gpu": "A6000",
            "count": 1,
            "usd_micros": 500_000,
        },
    ]


def stand_in(file: Path | None = None) -> AbstractContextManager[StandIn]:
    """One in a thread; its state in ``file`` where one is named."""
    return serving(BASE_PATH, HEADER, ROUTES, World(offers(), file))


def _types(ask: Ask) -> Answer:
    wanted = ask.query.get("num_gpus")
    found = [one for one in ask.world.state["offers"] if wanted in (None, str(one["count"]))]
    if ask.query.get("sort") == "price":
        found.sort(key=lambda one: one["usd_micros"])
    return 200, {"instance_types": [_type(one) for one in found]}


def _instances(ask: Ask) -> Answer:
    return 200, {"instances": [_instance(ask.world, *row) for row in ask.world.listing()]}


def _info(ask: Ask, key: str) -> Answer:
    one = ask.world.seen(key)
    return (404, NO_INSTANCE) if one is None else (200, _instance(ask.world, key, one))


def _delete(ask: Ask, key: str) -> Answer:
    return (200, "") if ask.world.delete(key) else (404, NO_INSTANCE)


def _create_volume(ask: Ask) -> Answer:
    region = f"{ask.body['cloud']}/{ask.body['region']}"
    return 200, {"id": ask.world.make_volume(ask.body["name"], ask.body["size_in_gb"], region)}


def _volumes(ask: Ask) -> Answer:
    return 200, {"volumes": [_volume(*row) for row in ask.world.state["volumes"].items()]}


def _delete_volume(ask: Ask, key: str) -> Answer:
    world = ask.world
    if key not in world.state["volumes"]:
        return 404, {"error": "volume not found"}
    if world.volume_is_busy(key):
        asked = sum(one.endswith(f"/{key}/delete") for one in world.state["requests"])
        return BUSY[(asked - 1) % len(BUSY)], {"error": "volume is in use"}
    del world.state["volumes"][key]
    return 200, ""


def _create(ask: Ask) -> Answer:
    body, world = ask.body, ask.world
    needed = ("cloud", "region", "shade_instance_type", "shade_cloud", "name")
    lacking = [name for name in needed if name not in body]
    if lacking:
        return 400, {"error": f"missing: {lacking}"}
    volumes = body.get("volume_ids") or [None]
    made = world.make(
        body["name"],
        f"{body['cloud']}/{body['shade_instance_type']}",
        f"{body['cloud']}/{body['region']}",
        volume=volumes[0],
        sent=body,
    )
    if made is None:
        return 400, {"error": "no capacity for this instance type in this region"}
    return 200, {"id": made, "cloud_assigned_id": f"cloud-{made}"}


def _type(one: dict[str, Any]) -> dict[str, Any]:
    cloud, kind = one["offer"].split("/")
    return {
        "cloud": cloud,
        "shade_instance_type": kind,
        "cloud_instance_type": f"n3-{kind}",
        "deployment_type": "vm",
        "configuration": {
            "memory_in_gb": 1800,
            "storage_in_gb": 32_000,
            "vcpus": 252,
            "num_gpus": one["count"],
            "gpu_type": one["gpu"],
            "interconnect": "sxm5",
            "vram_per_gpu_in_gb": 141,
            "os_options": ["ubuntu22.04_cuda12.4_shade_os"],
        },
        "hourly_price": one["usd_micros"] // 10_000,
        "availability": [
            {"region": one["region"].split("/")[1], "available": True},
            {"region": "elsewhere-1", "available": False},
        ],
    }


def _instance(world: World, key: str, one: dict[str, Any]) -> dict[str, Any]:
    cloud, kind = one["offer"].split("/")
    state = world.standing(one)
    up = state == "running"
    return {
        "id": key,
        "cloud": cloud,
        "region": one["region"].split("/")[1],
        "shade_instance_type": kind,
        "cloud_instance_type": f"n3-{kind}",
        "cloud_assigned_id": f"cloud-{key}",
        "shade_cloud": True,
        "name": one["tag"],
        "configuration": {"num_gpus": one["count"], "gpu_type": one["gpu"]},
        "ip": "192.0.2.10" if up else "",
        "ssh_user": "shadeform",
        "ssh_port": 22,
        "status": WORDS[state],
        "cost_estimate": "0.00",
        "hourly_price": world.price(one) // 10_000,
        "tags": [one["tag"]],
        "volume_ids": [one["volume"]] if one.get("volume") else [],
        "created_at": rfc3339(one["made_s"]),
        "deleted_at": rfc3339(one["gone_s"]),
    }


def _volume(key: str, one: dict[str, Any]) -> dict[str, Any]:
    cloud, region = one["region"].split("/")
    return {
        "id": key,
        "cloud": cloud,
        "cloud_assigned_id": f"cloud-{key}",
        "region": region,
        "name": one["tag"],
        "fixed_size": True,
        "size_in_gb": one["gigabytes"],
        "cost_estimate": "0.00",
        "supports_multi_mount": False,
        "mounted_by": "",
    }


ROUTES = (
    ("GET", "/instances/types", _types),
    ("POST", "/instances/create", _create),
    ("GET", "/instances", _instances),
    ("GET", "/instances/*/info", _info),
    ("POST", "/instances/*/delete", _delete),
    ("POST", "/volumes/create", _create_volume),
    ("GET", "/volumes", _volumes),
    ("POST", "/volumes/*/delete", _delete_volume),
)

if __name__ == "__main__":
    run(BASE_PATH, HEADER, ROUTES, offers())
