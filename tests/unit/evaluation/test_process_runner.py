"""A server's start, failure and end are seen as they were, and nothing outlives its contest."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import evaluation
from evaluation.images import ImageRef
from evaluation.runners import process as process_module
from evaluation.runners.free_port import free_port
from evaluation.runners.port import (
    CalledOffError,
    ExitedAtStartError,
    InfrastructureFaultError,
    NeverHealthyError,
)
from evaluation.runners.process import END_S, ProcessRunner, ProcessServer, ServerCommand
from evaluation.runners.session import left_of, members_of, outside_of, running_of
from ledger.codes import InfrastructureCause

DEADLINE_S = 30.0

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1]))
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


class Scripts:
    """Images that are Python programs under names."""

    def __init__(self, **programs: str) -> None:
        self._programs = programs

    def command(self, image_digest: str) -> ServerCommand:
        program = textwrap.dedent(self._programs[image_digest])
        status = "503" if image_digest == "unready" else "200"
        return ServerCommand((sys.executable, "-c", program, status), {"GREETING": "hello"})

    def fingerprint(self, image_digest: str) -> str:
        return f"fingerprint of {image_digest}"


@contextmanager
def launched(program: str, name: str = "image", grace_s: float = 3.0) -> Iterator[ProcessServer]:
    server = ProcessRunner(Scripts(**{name: program}), stop_grace_s=grace_s).launch(
        ImageRef("", name), "king"
    )
    try:
        yield server
    finally:
        server.stop()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S).close()
    except ConnectionRefusedError:
        return False
    return True


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie waiting for its parent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_healthy_server_answers_until_it_is_stopped() -> None:
    with launched(SERVER) as server:
        with pytest.raises(RuntimeError, match="has not said where"):
            _ = server.base_url
        server.wait_healthy(DEADLINE_S)
        assert server.base_url.startswith("http://127.0.0.1:")
        assert server.exit_code is None
        assert is_running(server.pid)
        server.stop()
        assert server.exit_code == -signal.SIGTERM
        assert not is_running(server.pid)
        server.stop()
        assert server.log_tail().startswith("listening on")


def test_who_waits_for_a_server_may_be_called_off() -> None:
    looks: list[None] = []

    def called_off() -> bool:
        looks.append(None)
        return len(looks) > 2

    with launched(SERVER, "unready") as server:
        with pytest.raises(CalledOffError):
            server.wait_healthy(86_400, called_off)
        assert is_running(server.pid)
        with pytest.raises(RuntimeError, match="has not said where"):
            _ = server.base_url


def test_a_server_that_dies_leaves_its_code_and_its_last_lines() -> None:
    program = """
        import sys
        for at in range(100):
            print("line", at)
        print("error: --kv-cache-dtype: invalid choice: 'fp8'", file=sys.stderr)
        sys.exit(3)
    """
    with launched(program) as server, pytest.raises(ExitedAtStartError) as caught:
        server.wait_healthy(DEADLINE_S)
    assert caught.value.exit_code == 3
    assert "exited with code 3" in caught.value.detail
    lines = caught.value.log_tail.splitlines()
    assert lines[-1] == "error: --kv-cache-dtype: invalid choice: 'fp8'"
    assert lines[0] == "line 51"
    assert len(lines) == 50


@pytest.mark.parametrize(
    ("name", "program", "said"),
    [("unready", SERVER, "listened"), ("silent", "import time; time.sleep(600)", "did not say")],
)
def test_a_server_that_runs_but_is_never_healthy_is_told_apart(
    name: str, program: str, said: str
) -> None:
    with launched(program, name) as server:
        # The start-up time is over when the server is surely up, so that only its answer decides.
        if name == "unready":
            assert eventually(lambda: "listening" in server.log_tail())
        with pytest.raises(NeverHealthyError, match=said):
            server.wait_healthy(0.5)
        assert server.exit_code is None
    assert not is_running(server.pid)


def test_a_server_deaf_to_sigterm_is_killed_with_what_it_started() -> None:
    program = f"""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import signal, time; "
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
            "time.sleep(600)"])
        print("child", child.pid, flush=True)
        {textwrap.indent(SERVER, " " * 8).strip()}
    """
    with launched(program, grace_s=0.2) as server:
        assert eventually(lambda: "deaf" in server.log_tail() and "child" in server.log_tail())
        (line,) = [line for line in server.log_tail().splitlines() if line.startswith("child")]
        server.stop()
        assert not is_running(int(line.split()[1]))
    assert server.exit_code == -signal.SIGKILL


def test_what_a_server_started_is_ended_even_if_it_went_first() -> None:
    program = """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid, flush=True)
    """
    with launched(program) as server:
        assert eventually(lambda: server.exit_code is not None and "child" in server.log_tail())
        child = int(server.log_tail().split()[1])
        assert is_running(child)
    assert not is_running(child)


def test_a_server_gets_nothing_of_our_environment_and_one_thread_of_arithmetic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROVIDER_API_KEY", "secret")
    program = "import json, os; print(json.dumps(dict(os.environ), sort_keys=True))"
    with launched(program) as server:
        assert eventually(lambda: "GREETING" in server.log_tail())
        environment = server.log_tail()
    assert "secret" not in environment
    assert '"OMP_NUM_THREADS": "1"' in environment
    assert '"GREETING": "hello"' in environment


def test_a_machine_that_cannot_start_a_process_is_a_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(InfrastructureFaultError) as caught:
        ProcessRunner(Scripts(image="")).launch(ImageRef("", "image"), "king")
    assert caught.value.cause is InfrastructureCause.HOST_FAILED


WITH_CHILD = """
import os, subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
"""
LEADER_GOES = (
    WITH_CHILD
    + """
sys.exit(0)
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("program", [WITH_CHILD + SERVER, LEADER_GOES])
def test_a_contest_killed_outright_leaves_no_server_and_nothing_it_started(
    tmp_path: Path, program: str
) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(
            f"""
            import sys, time
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            from test_process_runner import Scripts, eventually
            from evaluation.images import ImageRef
            from evaluation.runners.process import ProcessRunner
            scripts = Scripts(image={program!r})
            server = ProcessRunner(scripts).launch(ImageRef("", "image"), "king")
            ready = lambda: "listening" in server.log_tail() or server.exit_code is not None
            assert eventually(lambda: "child" in server.log_tail() and ready())
            print(server.pid, server.log_tail().split()[1], flush=True)
            time.sleep(600)
            """
        )
    )
    root = str(Path(evaluation.__file__).resolve().parents[1])
    process = subprocess.Popen(  # noqa: S603 - this test itself
        [sys.executable, str(parent)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    try:
        assert process.stdout is not None
        pid, child = map(int, process.stdout.readline().split())
        assert is_running(pid) == ("sys.exit" not in program)
        assert is_running(child)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert eventually(lambda: not is_running(pid) and not is_running(child))


def watchers_of(parent: int, *, of: set[int]) -> set[int]:
    """Programs that watch a server of the process ``parent``, less those of ``of``."""
    words = [b"guard.py", str(parent).encode()]
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if all(word in entry.read_bytes() for word in words):
                found.add(int(entry.parent.name))
    return found - of


@pytest.mark.skipif(sys.platform != "linux", reason="a watcher needs Linux")
def test_no_watcher_outlives_its_server_and_none_is_frozen_with_it() -> None:
    before = watchers_of(os.getpid(), of=set())
    with launched(SERVER) as server:
        server.wait_healthy(DEADLINE_S)
        (watcher,) = watchers_of(os.getpid(), of=before)
        assert watcher not in members_of(server.pid)
        server.pause()
        assert members_of(server.pid) == [server.pid]
    assert eventually(lambda: watcher not in watchers_of(os.getpid(), of=before))


COUNTING = """
import os, subprocess, sys, time
from pathlib import Path
target = Path(sys.argv[-1])
child = "import sys, time; from pathlib import Path" + chr(10) + (
    "while True: Path(sys.argv[1]).write_text(str(time.monotonic_ns())); time.sleep(0.005)"
)
subprocess.Popen([sys.executable, "-c", child, str(target) + ".child"])
print("started", flush=True)
while True:
    target.write_text(str(time.monotonic_ns()))
    time.sleep(0.005)
"""


class Counting(Scripts):
    """One program that writes the time into a file for ever, and a child of it another."""

    def __init__(self, target: Path) -> None:
        super().__init__(image=COUNTING)
        self._target = target

    def command(self, image_digest: str) -> ServerCommand:
        return ServerCommand((sys.executable, "-c", COUNTING, str(self._target)))


def test_a_frozen_server_and_its_children_do_nothing_until_they_are_let_go_on(
    tmp_path: Path,
) -> None:
    target = tmp_path / "time"
    files = target, tmp_path / "time.child"

    def written() -> list[str]:
        return [file.read_text() if file.exists() else "" for file in files]

    server = ProcessRunner(Counting(target)).launch(ImageRef("", "image"), "king")
    try:
        assert eventually(lambda: all(written()))
        server.pause()
        frozen = written()
        time.sleep(0.2)
        assert written() == frozen
        server.resume()
        assert eventually(lambda: all(a != b for a, b in zip(written(), frozen, strict=True)))
        server.pause()
    finally:
        server.stop()
    assert server.exit_code == -signal.SIGTERM  # it obeyed, though it was frozen
    last = written()
    time.sleep(0.1)
    assert written() == last


def proc_of(folder: Path, *threads: str) -> Path:
    """A list of processes: ``pid/tid state group session`` a thread, the first one first."""
    for thread in threads:
        where, state, group, session = thread.split()
        pid, tid = where.split("/")
        line = f"{tid} (a) b) {state} 1 {group} {session} 0"
        task = folder / pid / "task" / tid
        task.mkdir(parents=True)
        (task / "stat").write_text(line)
        if pid == tid:
            (folder / pid / "stat").write_text(line)
    return folder


def test_what_cannot_be_frozen_is_seen(tmp_path: Path) -> None:
    proc = proc_of(
        tmp_path,
        "1/1 S 7 7",
        "2/2 T 7 7",
        "3/3 R 8 8",
        # One of its threads is deep in the kernel and has not stopped yet.
        "4/4 T 7 7",
        "4/14 D 7 7",
        # A group of its own, the same session; and a group that another session's process joined.
        "5/5 S 5 7",
        "6/6 S 7 6",
    )
    assert running_of(7, proc) == [1, 4, 5, 6]
    assert running_of(8, proc) == [3]
    assert running_of(9, proc) == []
    assert members_of(7, proc) == [1, 2, 4, 5, 6]
    assert outside_of(7, proc) == [5]


def test_what_has_not_ended_is_seen_though_its_first_thread_has(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, "1/1 Z 7 7", "2/2 Z 7 7", "2/12 D 7 7", "3/3 X 7 7", "4/4 T 7 7")
    assert left_of(7, proc) == [2, 4]
    assert left_of(7, tmp_path / "no-list") == []


GROUPS_OF_ITS_OWN = """
import os, subprocess, sys, time
target = sys.argv[-1]
child = (
    "import os, signal, sys, time\\n"
    "os.setpgid(0, 0)\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n"
    "while True: open(sys.argv[1], 'w').write(str(time.monotonic_ns())); time.sleep(0.005)\\n"
)
print("child", subprocess.Popen([sys.executable, "-c", child, target]).pid, flush=True)
time.sleep(600)
"""


def test_a_child_in_a_group_of_its_own_is_frozen_and_ended_with_its_server(tmp_path: Path) -> None:
    target = tmp_path / "time"

    class Grouping(Scripts):
        def command(self, image_digest: str) -> ServerCommand:
            return ServerCommand((sys.executable, "-c", GROUPS_OF_ITS_OWN, str(target)))

    server = ProcessRunner(Grouping(), stop_grace_s=0.2).launch(ImageRef("", "image"), "king")
    try:
        assert eventually(lambda: target.exists() and bool(target.read_text()))
        child = int(server.log_tail().split()[1])
        assert os.getpgid(child) != server.pid
        server.pause()
        assert running_of(server.pid) == []
        frozen = target.read_text()
        server.resume()
        assert eventually(lambda: target.read_text() not in ("", frozen))
    finally:
        server.stop()
    assert not is_running(child)


def test_a_server_is_stopped_only_when_nothing_it_started_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What holds the memory of a GPU ends some time after it was killed; nothing else here does.
    looks: list[list[int]] = [[41, 42], [42], []]
    monkeypatch.setattr(process_module, "left_of", lambda _: looks.pop(0))
    with launched(SERVER) as server:
        server.stop()
        assert looks == []
        assert server.exit_code == -signal.SIGTERM


def test_what_cannot_be_ended_is_a_fault_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert END_S == 60
    with launched(SERVER) as server:
        with monkeypatch.context() as patched:
            patched.setattr(process_module, "END_S", 0.05)
            patched.setattr(process_module, "left_of", lambda _: [42])
            with pytest.raises(InfrastructureFaultError) as caught:
                server.stop()
        assert caught.value.cause is InfrastructureCause.HOST_FAILED
        assert caught.value.detail.startswith("the server's processes [42] could not be ended")
    assert not is_running(server.pid)


def test_a_server_that_says_nothing_is_found_by_its_port_and_its_own_health_path() -> None:
    port = free_port()
    program = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""

    class Silent(Scripts):
        def command(self, image_digest: str) -> ServerCommand:
            path = "/v1/models" if image_digest == "ready" else "/health"
            return ServerCommand((sys.executable, "-c", program), port=port, health_path=path)

    runner = ProcessRunner(Silent())
    server = runner.launch(ImageRef("", "ready"), "king")
    try:
        with pytest.raises(RuntimeError, match="wait until it is healthy"):
            _ = server.base_url
        server.wait_healthy(DEADLINE_S)
        assert server.base_url == f"http://127.0.0.1:{port}"
    finally:
        server.stop()
    server = runner.launch(ImageRef("", "other path"), "king")
    try:
        # The start-up time is over when the server is surely up, so that only its answer decides.
        assert eventually(lambda: takes_connections(port))
        with pytest.raises(NeverHealthyError, match="listened and was not healthy"):
            server.wait_healthy(1)
    finally:
        server.stop()
