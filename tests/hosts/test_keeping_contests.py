"""What runs on a rented machine ends there: by itself, by us, or because nobody asks any more."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from evaluation.pods import keeper
from evaluation.pods.faults import ConnectionLostError, HostError, RemoteContestError, TooMuchError
from evaluation.pods.host import PodHost
from tests.faults.processes import wait_until
from tests.hosts.scripted import PLAN, contest_of
from tests.hosts.sshd import Sshd


def running(mark: str) -> list[int]:
    """The processes with that word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # ended meanwhile
    return found


def folder_of(host: PodHost) -> Path:
    return Path(host.folder) / "runs" / PLAN.contest_id


def ignore(_: str) -> None:
    """For lines nobody looks at."""


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A word that no other process of this machine has."""
    return f"99{int.from_bytes(os.urandom(4), 'big')}"


def test_its_log_comes_as_it_is_written_and_its_words_arrive(host: PodHost) -> None:
    contest = contest_of(host, 'echo "$@" >&2; cat plan.json >&2; printf "\\n\\033[1mx" >&2')
    assert contest.start()
    lines: list[str] = []
    contest.follow(lines.append)
    assert lines[0].startswith("contest run --plan plan.json --model /")
    assert PLAN.seed_block_hash in lines[1]
    assert lines[-1] == "[1mx"


def test_a_contest_that_fails_is_told_with_the_end_of_its_log_and_cleared_away(
    host: PodHost,
) -> None:
    contest = contest_of(host, "echo 'the model is broken' >&2; exit 7")
    contest.start()
    contest.follow(ignore)
    with pytest.raises(RemoteContestError, match=r"code 7.*the model is broken"):
        contest.take(Path(host.home) / "out.zip")
    assert not folder_of(host).exists()


def test_a_void_contest_without_evidence_is_told_with_its_cause(host: PodHost) -> None:
    report = '{"void_cause": "host_failed", "detail": "no engine here"}'
    contest = contest_of(host, f"echo '{report}'; exit 24")
    contest.start()
    contest.follow(ignore)
    with pytest.raises(RemoteContestError, match="is void: host_failed: no engine here"):
        contest.take(Path(host.home) / "out.zip")


def test_a_second_call_starts_nothing_and_takes_up_what_runs(host: PodHost) -> None:
    script = "echo begun >> ../../../begun; echo line >&2; while [ ! -e go ]; do sleep 0.1; done"
    first, second = contest_of(host, script), contest_of(host, script)
    assert first.start()
    assert not second.start()
    lines: list[str] = []

    def go(line: str) -> None:
        lines.append(line)
        (folder_of(host) / "go").touch()

    second.follow(go)
    assert lines == ["line"]
    assert not contest_of(host, script).start()  # it has ended, and waits to be taken
    assert (Path(host.home) / "begun").read_text() == "begun\n"


def test_two_callers_at_once_start_it_once(host: PodHost) -> None:
    script = "echo begun >> ../../../begun; while [ ! -e go ]; do sleep 0.1; done"
    contests = [contest_of(host, script) for _ in range(4)]
    threads = [threading.Thread(target=one.start) for one in contests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (folder_of(host) / "go").touch()
    contests[0].follow(ignore)
    assert (Path(host.home) / "begun").read_text() == "begun\n"


def test_a_dropped_connection_costs_no_line(machine: Sshd, host: PodHost) -> None:
    contest = contest_of(
        host, "echo one >&2; while [ ! -e go ]; do sleep 0.1; done; echo two >&2; exit 7"
    )
    contest.start()
    lines: list[str] = []
    said: list[str] = []

    def drop(line: str) -> None:
        lines.append(line)
        if line == "one":
            machine.drop()

    def say(line: str) -> None:
        said.append(line)
        (folder_of(host) / "go").touch()

    contest.follow(drop, say=say, reconnect_s=0.05)
    assert lines == ["one", "two"]
    assert "the contest goes on there" in said[0]


def test_a_machine_that_stays_away_is_given_up(machine: Sshd, host: PodHost) -> None:
    contest = contest_of(host, "echo one >&2; sleep 600", unasked_s=1)
    contest.start()
    with pytest.raises(HostError, match=r"no SSH answers|broke"):
        contest.follow(lambda _: machine.close(), reconnect_s=0.05)


def test_nobody_asking_ends_it_with_all_that_it_started(host: PodHost, mark: str) -> None:
    # A daemon in a session of its own, whose parent is gone: nothing of it may stay.
    contest = contest_of(
        host, f"setsid sh -c 'sleep {mark} & sleep {mark}' & sleep {mark}", unasked_s=1
    )
    contest.start()
    wait_until((folder_of(host) / keeper.STATE).exists, "it was ended")
    assert running(mark) == []
    contest.follow(ignore)
    with pytest.raises(RemoteContestError, match="nobody had asked"):
        contest.take(Path(host.home) / "out.zip")


def test_its_time_ends_it(host: PodHost, mark: str) -> None:
    contest = contest_of(host, f"echo here >&2; sleep {mark}", limit_s=3)
    contest.start()
    contest.follow(ignore)
    with pytest.raises(RemoteContestError, match=r"its time was over.*here"):
        contest.take(Path(host.home) / "out.zip")
    assert running(mark) == []


def test_one_that_ignores_the_interrupt_is_killed(host: PodHost, mark: str) -> None:
    contest = contest_of(
        host, f"trap '' INT TERM; echo up >&2; sleep {mark}; sleep {mark}", grace_s=0.5
    )
    contest.start()
    contest.stop()
    assert running(mark) == []
    assert not folder_of(host).exists()


def test_the_interrupt_lets_it_clear_up(host: PodHost) -> None:
    """Started in the background it would ignore it, if its keeper did not see to that."""
    done = Path(host.home) / "cleared"
    contest = contest_of(
        host, f"trap 'touch {done}; exit 130' INT; echo up >&2; while :; do sleep 0.1; done"
    )
    contest.start()
    wait_until(lambda: b"up" in (folder_of(host) / keeper.LOG).read_bytes(), "it is up")
    contest.stop()
    assert done.exists()


def test_a_killed_keeper_takes_its_contest_along(host: PodHost, mark: str) -> None:
    contest = contest_of(host, f"echo up >&2; exec sleep {mark}")
    contest.start()
    wait_until(lambda: bool(running(mark)), "it runs")
    [kept] = [
        pid for pid in running("evaluation.pods.keeper") if str(folder_of(host)) in words(pid)
    ]
    os.kill(kept, signal.SIGKILL)
    wait_until(lambda: not running(mark), "it is gone")
    with pytest.raises(RemoteContestError, match="did not come to its end"):
        contest.follow(ignore)
    assert not folder_of(host).exists()


def words(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_one_that_was_cut_off_long_ago_is_not_begun_again_unsaid(host: PodHost) -> None:
    contest = contest_of(host, "exit 7")
    folder_of(host).mkdir(parents=True)
    (folder_of(host) / keeper.LOG).write_text("half a contest\n")
    with pytest.raises(RemoteContestError, match="half a contest"):
        contest.start()
    assert contest.start()  # it was told; now it may begin anew


def test_a_log_without_end_is_cut_and_does_not_hold_it_up(
    host: PodHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = contest_of(host, f"yes {'y' * 900} | head -c 12000000 >&2; exit 7")
    contest.start()
    contest.follow(ignore)
    size = (folder_of(host) / keeper.LOG).stat().st_size
    assert size == keeper.MAX_LOG_BYTES


def test_a_keeper_that_lies_of_its_log_is_left(
    host: PodHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = contest_of(host, "echo one >&2; sleep 30")
    contest.start()
    (Path(host.home) / "venv/bin/python").write_text("#!/bin/sh\nexec yes\n")
    monkeypatch.setattr(keeper, "MAX_LOG_BYTES", 100_000)
    with pytest.raises(TooMuchError):
        contest.follow(ignore)


def test_a_state_that_is_none_is_refused(host: PodHost) -> None:
    contest = contest_of(host, "sleep 600")
    folder_of(host).mkdir(parents=True)
    for lie in ("{}", '{"kept": 1, "ended": null}', "[" * 50_000, "no"):
        (Path(host.home) / "venv/bin/python").write_text(f"#!/bin/sh\nprintf %s '{lie}'\n")
        with pytest.raises(HostError, match="how the contest stands"):
            contest.start()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'no zip' > contest.zip", "a bundle that is refused"),
        ("exit 0", "left no bundle"),
        ("ln -s /etc/passwd contest.zip", "left no bundle"),
        ("mkdir contest.zip", "left no bundle"),
        ("mkfifo contest.zip", "left no bundle"),
    ],
)
def test_a_bundle_that_is_none_is_refused(script: str, told: str, host: PodHost) -> None:
    contest = contest_of(host, script)
    contest.start()
    contest.follow(ignore)
    out = Path(host.home) / "out.zip"
    with pytest.raises(RemoteContestError, match=told):
        contest.take(out)
    assert not out.exists()
    assert not folder_of(host).exists()


def test_a_bundle_larger_than_any_contest_gives_is_not_fetched(host: PodHost) -> None:
    contest = contest_of(host, "truncate -s 1073741825 contest.zip")
    contest.start()
    contest.follow(ignore)
    with pytest.raises(TooMuchError, match="at most 1073741824"):
        contest.take(Path(host.home) / "out.zip")


def test_one_that_changed_after_it_was_stated_is_refused_and_stays_there(host: PodHost) -> None:
    contest = contest_of(host, "echo first > contest.zip")
    contest.start()
    contest.follow(ignore)
    (folder_of(host) / keeper.BUNDLE).write_text("other\n")
    with pytest.raises(HostError, match="it had stated"):
        contest.take(Path(host.home) / "out.zip")
    assert folder_of(host).exists()


def test_without_the_model_nothing_is_begun(host: PodHost) -> None:
    contest = contest_of(host, "exit 7")
    (Path(host.home) / "model").rmdir()
    with pytest.raises(RemoteContestError, match="put the model there"):
        contest.start()
    assert not folder_of(host).exists()


def test_a_connection_that_breaks_while_it_is_taken_home_loses_nothing(
    machine: Sshd, host: PodHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = contest_of(host, "truncate -s 200M contest.zip")
    contest.start()
    contest.follow(ignore)
    fetching = threading.Event()

    def drop() -> None:
        fetching.wait()
        machine.drop()

    original = host.get

    def get(*words: object, **more: object) -> None:
        fetching.set()
        original(*words, **more)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(host, "get", get)
    dropping = threading.Thread(target=drop)
    dropping.start()
    out = Path(host.home) / "out.zip"
    with pytest.raises((ConnectionLostError, RemoteContestError)):
        contest.take(out)
    dropping.join()
    assert not out.exists()
