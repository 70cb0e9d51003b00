"""The projection runner, held on every store: each fact once, whoever folds, whatever fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from eventsourcing.persistence import IntegrityError, Tracking, WaitInterruptedError
from sqlalchemy import Engine, Table, event, func, select, text
from sqlalchemy.exc import DBAPIError

from ledger.application import Ledger
from ledger.commands.block_facts import LockSeen, SealedFound
from ledger.facts import FACTS, Fact
from ledger.observations import AlertRaised, SealedCommitSeen
from ledger.projections import journal, runner
from ledger.projections import rows as rows_module
from ledger.projections import submissions as submissions_view
from ledger.projections import subnet as subnet_view
from ledger.projections.all import PROJECTIONS
from ledger.projections.rows import Rows
from ledger.projections.runner import FoldFailedError, catch_up, follow
from ledger.projections.tables import keys_of, kind_of
from ledger.store import logs, tracking
from ledger.store.bell import bell_of
from ledger.store.codec import FactMapper, encode
from ledger.store.tracking import ViewTracking, positions
from tests.contract.at_once import failures_of
from tests.property.season import Season
from tests.property.test_views_of_a_season import FULL, played, rows
from tests.unit.ledger.scenes import ARENA, Scene


@pytest.fixture
def season(engine: Engine) -> Season:
    made = Season(Scene(engine))
    for action in FULL:
        made.play(action)
    return made


def expected_rows() -> dict[str, list[tuple[Any, ...]]]:
    with played(FULL) as season:
        catch_up(season.scene.engine, PROJECTIONS)
        return rows(season.scene.engine)


def head(engine: Engine) -> int:
    return Ledger(engine, ARENA).head().position


# -- each fact once ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", [3, 40])
def test_runners_of_the_same_views_at_once_fold_every_fact_once(
    season: Season, engine: Engine, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PAGE", page)
    assert failures_of(lambda: catch_up(engine, PROJECTIONS)) == []
    assert rows(engine) == expected_rows()


def test_a_page_is_bounded_in_bytes_whatever_its_facts(
    season: Season, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MAX_PAGE_BYTES", 2_000)
    pages: list[int] = []
    catch_up(engine, PROJECTIONS[:1], on_page=lambda _view, at, _head: pages.append(at))
    assert len(pages) > 1
    assert pages[-1] == head(engine)
    with engine.connect() as connection:
        whole = logs.read_log(connection, 1, after=0, limit=10_000)
        sizes = [len(encode(one.fact)) for one in whole]
        topics = tuple(FACTS)
        page = logs.read_page(connection, 1, after=3, upto=len(whole), topics=topics)
    # It ends with the first fact that brings it to the bound, on every store.
    assert sum(sizes[3 : page.upto]) >= 2_000 > sum(sizes[3 : page.upto - 1])
    assert page.facts == whole[3 : page.upto]
    catch_up(engine, PROJECTIONS)
    assert rows(engine) == expected_rows()


def test_a_fact_that_cannot_be_read_leaves_no_statement_open(
    season: Season, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "DECODE", {})
    with engine.connect() as connection:
        # Held, as an error that is told later holds whatever was open when it was raised.
        with pytest.raises(KeyError) as held:
            logs.read_page(connection, 1, after=0, upto=10, topics=tuple(FACTS))
        journal.postings.drop(connection)  # which SQLite refuses while a statement is read
        connection.rollback()
    assert held.value.args == ("arena.opened.v1",)


def test_rows_that_are_let_go_are_read_again(
    season: Season, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MAX_KEPT_ROWS", 0)
    monkeypatch.setattr(runner, "PAGE", 4)
    catch_up(engine, PROJECTIONS)
    assert rows(engine) == expected_rows()


class TakingEverything:
    """A projection that is handed every fact there is, also those it says it does not know."""

    def __init__(self, projection: runner.Projection) -> None:
        self.name, self.tables = projection.name, projection.tables
        self.knows = tuple(FACTS.values())
        self.fold = projection.fold


def test_no_view_is_changed_by_a_fact_it_does_not_say_it_knows(
    season: Season, engine: Engine
) -> None:
    catch_up(engine, [TakingEverything(projection) for projection in PROJECTIONS])
    assert rows(engine) == expected_rows()


def test_every_key_begins_once(season: Season, engine: Engine) -> None:
    catch_up(engine, PROJECTIONS)
    with engine.connect() as connection:
        for table in [table for projection in PROJECTIONS for table in projection.tables]:
            if kind_of(table) == "appended":
                continue
            keys = [table.c[name] for name in ("log_id", *keys_of(table))]
            begun = func.sum(func.cast(table.c.begins, table.c.log_id.type))
            counted = connection.execute(select(*keys, begun).group_by(*keys)).all()
            assert [tuple(row) for row in counted if row[-1] != 1] == []


# -- what fails ------------------------------------------------------------------------------


class Refusing:
    """A projection that cannot take an alert."""

    name = "submissions"
    tables: tuple[Table, ...] = ()
    knows: tuple[type[Fact], ...] = (AlertRaised,)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        msg = "there is no room for it"
        raise LookupError(msg)


def alert(ledger: Ledger, name: str) -> int:
    ledger.decide(
        lambda unit: unit.observe(
            AlertRaised, f"alert:{name}", kind="test", detail="", block=unit.block
        )
    )
    return ledger.head().position


def test_a_fact_that_a_view_cannot_take_is_named_and_the_view_stands_before_it(
    engine: Engine,
) -> None:
    ledger = Scene(engine).ledger
    position = alert(ledger, "one")
    said = f"the view 'submissions' cannot take 'alert:one' .*position {position}.*no room for it"
    with pytest.raises(FoldFailedError, match=said):
        catch_up(engine, [Refusing()])
    with engine.connect() as connection:
        assert positions(connection).get(("submissions", 1), 0) == 0


def test_a_database_that_fails_inside_a_fold_is_not_told_as_a_fact_s_fault(
    season: Season, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE weights_switches"))
    season.scene.block()
    season.play(("resume", 0, 0))
    with pytest.raises(DBAPIError, match="weights_switches"):
        catch_up(engine, PROJECTIONS)


def test_a_page_that_is_not_committed_is_folded_again_from_what_is_stored(
    season: Season, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PAGE", 5)
    failures = iter([False, True] * 10_000)

    def failing(_connection: object) -> None:
        if next(failures):
            msg = "no commit"
            raise ConnectionError(msg)

    one = runner.Runner(engine, PROJECTIONS)
    event.listen(engine, "commit", failing)
    for _ in range(10_000):
        try:
            one.catch_up()
            break
        except ConnectionError:
            continue
    event.remove(engine, "commit", failing)
    assert rows(engine) == expected_rows()


def test_rows_that_somebody_else_lost_stop_the_fold(season: Season, engine: Engine) -> None:
    """A runner that keeps rows notices that the database has them no longer."""
    one = runner.Runner(engine, PROJECTIONS)
    season.scene.block()
    season.play(("resume", 0, 0))
    one.catch_up()
    with engine.begin() as connection:
        assert connection.execute(text("DELETE FROM weights_switches")).rowcount > 0
    season.scene.block()
    season.play(("pause", 1, 0))
    with pytest.raises(LookupError, match=r"weights_switches lacks 1 rows .* 'cacheon-ledger db"):
        one.catch_up()


def test_a_column_that_a_table_lacks_is_refused(engine: Engine) -> None:
    table = PROJECTIONS[0].tables[0]
    with engine.connect() as connection:
        kept = Rows(connection, 1)
        with pytest.raises(TypeError, match="submissions has no column colour"):
            kept.put(table, 1, "x", colour="red")


# -- positions: the library's tracking recorder -----------------------------------------------


def test_a_position_only_moves_forward(engine: Engine) -> None:
    Scene(engine)
    view, name = ViewTracking(engine, "own"), str(ARENA)
    assert view.max_tracking_id(name) is None
    assert view.has_tracking_id(name, None)
    view.insert_tracking(Tracking(name, 3))
    assert view.max_tracking_id(name) == 3
    assert view.has_tracking_id(name, 3)
    assert not view.has_tracking_id(name, 4)
    for position in (3, 2):
        with pytest.raises(IntegrityError, match="stands at position 3 already"):
            view.insert_tracking(Tracking(name, position))
    with pytest.raises(IntegrityError, match="unknown in this database"):
        view.insert_tracking(Tracking(f"0x{'77' * 32}/9", 1))
    view.insert_tracking(Tracking(name, 9))
    assert view.max_tracking_id(name) == 9
    assert ViewTracking(engine, "other").max_tracking_id(name) is None


def test_a_writer_reads_its_own_write_as_soon_as_it_is_folded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling is made slower than the test may take: only being woken can end the wait."""
    monkeypatch.setattr(tracking, "OTHERS_POLL_S", 600.0)
    ledger = Scene(engine).ledger
    position = alert(ledger, "own")
    view = ViewTracking(engine, "submissions")
    waiting, woken = threading.Event(), threading.Event()
    bell = bell_of(engine)
    wait = bell.wait

    def noticed(seen: int, timeout_s: float) -> int:
        waiting.set()
        return wait(seen, timeout_s)

    monkeypatch.setattr(bell, "wait", noticed)

    def reader() -> None:
        view.wait(str(ARENA), position, timeout=500)
        woken.set()

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    assert waiting.wait(timeout=60)
    catch_up(engine, PROJECTIONS[:1])
    assert woken.wait(timeout=60)
    view.wait(str(ARENA), position, timeout=0)


def test_waiting_ends_with_its_deadline_and_with_an_interrupt(engine: Engine) -> None:
    Scene(engine)
    view = ViewTracking(engine, "nobody folds it")
    with pytest.raises(TimeoutError, match=r"did not reach position 1 .* is a runner folding it"):
        view.wait(str(ARENA), 1, timeout=0)
    interrupt = threading.Event()
    interrupt.set()
    with pytest.raises(WaitInterruptedError):
        view.wait(str(ARENA), 1, timeout=60, interrupt=interrupt)


def test_a_following_runner_folds_what_is_appended_until_it_is_stopped(engine: Engine) -> None:
    ledger = Scene(engine).ledger
    stop = threading.Event()
    thread = threading.Thread(target=follow, args=(engine, PROJECTIONS, stop))
    thread.start()
    try:
        for number in range(5):
            position = alert(ledger, str(number))
            for projection in PROJECTIONS:
                ViewTracking(engine, projection.name).wait(str(ARENA), position, timeout=60)
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_stored_fact_that_does_not_fit_is_named_where_it_is_streamed(engine: Engine) -> None:
    ledger = Scene(engine).ledger
    alert(ledger, "whole")
    with engine.connect() as connection:
        read = list(logs.facts_of(connection, 1))
        assert [one.position for one in read] == list(range(1, head(engine) + 1))
        assert list(logs.facts_of(connection, 1, after=1, upto=2)) == read[1:2]
        assert list(logs.facts_of(connection, 1, after=head(engine))) == []
    with pytest.raises(Exception, match=r"a stored 'seen\.alert\.v1' does not fit its schema"):
        logs.decoded([(1, "seen.alert.v1", b"{}")])
    assert FactMapper().to_stored_event(read[-1].fact).fact_key == "alert:whole"


# -- numbers that no database keeps -----------------------------------------------------------


def test_a_number_beyond_64_bits_with_a_sign_stops_no_view(engine: Engine) -> None:
    """The round of a sealed commit is whatever its sender says, also where the commit fails."""
    scene = Scene(engine)
    most = 2**64 - 1
    sealed = SealedFound("A", "cold-A", 1, 2**32 - 1, 0, "0x", most, succeeded=False)
    lock = LockSeen("cold-A", "A", most, 5, most, False, most, 2**63 - 1)
    scene.block(sealed=(sealed,), locks=(lock,))
    catch_up(engine, PROJECTIONS)
    (fact,) = scene.facts(SealedCommitSeen)
    assert fact.reveal_round == most
    with engine.connect() as connection:
        (row,) = connection.execute(select(submissions_view.sealed)).mappings()
        (kept,) = connection.execute(select(subnet_view.locks)).mappings()
    assert (row["reveal_round"], row["place"]) == (2**63 - 1, 2**31 - 1)
    assert (kept["locked_alpha"], kept["conviction_alpha"]) == (2**63 - 1, 5)
    assert (kept["unlock_blocks"], kept["maturity_blocks"]) == (2**63 - 1, 2**63 - 1)
