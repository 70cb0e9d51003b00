"""Each provider with its stand-in, for the promises that all three keep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.pods.clients import WIRES, Bench, bench


@pytest.fixture(params=sorted(WIRES))
def any_bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Every provider in turn."""
    with bench(request.param) as found:
        yield found


@pytest.fixture
def shadeform_bench() -> Iterator[Bench]:
    """Shadeform's."""
    with bench("shadeform") as found:
        yield found


@pytest.fixture
def targon_bench() -> Iterator[Bench]:
    """Targon's."""
    with bench("targon") as found:
        yield found


@pytest.fixture
def lium_bench() -> Iterator[Bench]:
    """Lium's."""
    with bench("lium") as found:
        yield found
