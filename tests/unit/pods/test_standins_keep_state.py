"""A stand-in keeps what it has outside its clients and itself: what tests of crashes rest on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from uuid import uuid4

import pytest

from evaluation.pods.port import UnansweredError, request_of
from tests.standins.serving import Remote
from tests.unit.pods.clients import WIRES, Bench

ROOT = Path(__file__).parents[3]


@contextmanager
def process(name: str, state: Path) -> Iterator[Remote]:
    command = [sys.executable, "-m", f"tests.standins.{name}", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as running:  # noqa: S603 - our own
        try:
            assert running.stdout is not None
            yield Remote(running.stdout.readline().strip())
        finally:
            running.kill()


@pytest.mark.parametrize("name", sorted(WIRES))
def test_what_was_made_outlives_the_process_that_served_it(name: str, tmp_path: Path) -> None:
    request = uuid4()
    with process(name, tmp_path / "state.json") as there:
        client = WIRES[name].client(there.url, there.key, sleep=lambda _: None)
        offer = client.offers(8)[0]
        there.do("fault", on=WIRES[name].create, kind="lost")
        there.do("fault", on=WIRES[name].listing, kind="status", status=500, times=9)
        with pytest.raises(UnansweredError):
            client.create(offer, request)
        client.close()
        now = there.do("advance", seconds=3_600)
        with pytest.raises(HTTPError):
            there.do("no such command")
    with process(name, tmp_path / "state.json") as there:
        assert there.do("now_s") == now
        there.do("clear_faults")
        client = WIRES[name].client(there.url, there.key, sleep=lambda _: None)
        (left,) = client.listed()
        assert request_of(left.tag) == request
        client.stop(left.instance)
        client.close()
        (bill,) = there.do("bill") or [None]
        # Targon's was only registered: its first call costs nothing.
        cost = None if bill is None else bill["usd_micros"]
        assert cost == (None if name == "targon" else offer.usd_micros_per_hour)


def test_the_meter_counts_each_price_for_its_seconds(any_bench: Bench) -> None:
    offer = any_bench.offer()
    made = any_bench.provider.create(offer, uuid4())
    any_bench.do("advance", seconds=1_800)
    any_bench.do("reprice", machine=made.instance, usd_micros=2 * offer.usd_micros_per_hour)
    any_bench.do("advance", seconds=900)
    any_bench.provider.stop(made.instance)
    any_bench.do("advance", seconds=10_000)
    (line,) = any_bench.do("bill")
    assert line["seconds"] == 2_700
    assert line["usd_micros"] == offer.usd_micros_per_hour
