"""The demo over a database that holds its season already, and over one that holds another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.app import Services, open_services
from api.demo import season
from api.demo.accounts import TREASURY
from api.demo.play import is_over
from api.errors import ExitCode
from api.settings import Settings
from ledger.application import Ledger, Unit
from ledger.commands.arena import open_arena
from ledger.commands.block_facts import BlockFacts
from ledger.commands.blocks import record_block
from ledger.decisions.treasury import Treasury
from ledger.keys import ArenaKey, treasury_id
from ledger.policy import parse_policy_toml
from ledger.store.logs import LogHead
from tests.unit.api.cli.conftest import POLICY, Run, failed
from tests.unit.api.season import TREASURY as OTHER_TREASURY
from tests.unit.api.season import block_hash


def recorded(services: Services, *periods: int, up_to: int) -> None:
    """A log of the season's arena up to a block, with these periods closed and nothing else."""
    text = POLICY.replace(OTHER_TREASURY, TREASURY).replace(".tiny", f".{season.TRACK}")
    arena = ArenaKey(season.genesis().hash, season.NETUID)
    ledger = open_arena(
        services.engine,
        arena,
        network=season.NETWORK,
        at_block=season.OPENS_AT,
        policy=parse_policy_toml(text),
        actor="test",
    )
    for number in sorted({*periods, up_to}):
        record_block(ledger, BlockFacts(number, block_hash(number), "", None, 1))
        if number in periods:
            close(ledger, number)


def close(ledger: Ledger, to_block: int) -> None:
    def work(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.close_period(unit.context, to_block, season.OPENS_AT, "test")

    ledger.decide(work)


def heads(url: str) -> list[LogHead]:
    services = open_services(Settings(database_url=url))
    try:
        return services.arenas()
    finally:
        services.close()


def test_a_finished_season_is_reported_without_its_folder_and_nothing_is_recorded(
    run: Run, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'finished.db'}"
    services = open_services(Settings(database_url=url))
    recorded(services, *season.PERIODS_END, up_to=season.ENDS_AT)
    services.close()
    before = heads(url)
    folder = tmp_path / "new"
    answer = run("demo", "--folder", folder, "--no-serve", "--format", "json", url=url)
    assert answer.exit_code == 0, answer.output
    report = json.loads(answer.stdout)
    assert report["events"] == before[0].position
    assert [line["to_block"] for line in report["treasury"]][::3] == list(season.PERIODS_END)
    assert heads(url) == before
    assert list(folder.iterdir()) == []  # no chain, no image: nothing was played


@pytest.mark.parametrize("up_to", [season.PERIODS_END[1], season.ENDS_AT])
def test_an_unfinished_season_in_another_folder_is_refused_and_nothing_is_recorded(
    run: Run, tmp_path: Path, up_to: int
) -> None:
    """Also one that has reached its last block, while its last period is open."""
    url = f"sqlite:///{tmp_path / 'unfinished.db'}"
    services = open_services(Settings(database_url=url))
    recorded(services, *season.PERIODS_END[:-1], up_to=up_to)
    assert not is_over(services)
    services.close()
    before = heads(url)
    answer = run("demo", "--folder", tmp_path / "new", "--no-serve", url=url)
    failed(answer, ExitCode.REFUSED, f"the ledger at block {up_to}", "they are not of one playing")
    assert heads(url) == before
