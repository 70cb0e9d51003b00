"""What a stage made goes, whoever died: the process that held it, the engine, or nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.images import ImageRef
from evaluation.runners.docker.runner import DockerRunner
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause
from tests.containers.attack import SERVES
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.images import busybox_image
from tests.engine.undo import iptables, tools

HOLDER = """
import sys, time
from pathlib import Path
from evaluation.images import parse_image
from evaluation.runners.docker.runner import DockerRunner
from tests.containers.conftest import SMALL
url, model, worker, image = sys.argv[1:]
image = parse_image(image)
runner = DockerRunner(model_dir=Path(model), worker=worker, base_url=url)
with runner.stage("held", SMALL) as stage:
    stage.prepare(image, 60)
    server = stage.launch(image, "king")
    server.wait_healthy(60)
    print("holding", flush=True)
    time.sleep(1000)
"""


DEAD = {
    "cacheon-ledger.worker": "evaluator-8",
    "cacheon-ledger.owner": "0-1-2",
    "cacheon-ledger.stage": "of-the-dead",
}


def left(engine: Engine, worker: str, image: ImageRef) -> list[str]:
    """All that is on the machine with this worker's name on it."""
    api = engine.client.api
    filters = {"label": f"cacheon-ledger.worker={worker}"}
    found = [f"container {one['Id']}" for one in api.containers(all=True, filters=filters)]
    found += [f"network {one['Name']}" for one in api.networks(filters=filters)]
    found += [f"volume {one['Name']}" for one in api.volumes(filters=filters)["Volumes"] or ()]
    found += [
        f"image {one['Id']}" for one in api.images() if str(image) in (one["RepoDigests"] or ())
    ]
    for tool in tools():
        lines = iptables(tool, "-S").splitlines()
        found += [f"rule {line}" for line in lines if f"cacheon-ledger:{worker}:" in line]
    return found


Hold = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def image(engine: Engine) -> ImageRef:
    return busybox_image(engine, "held", SERVES)


@pytest.fixture
def hold(engine: Engine, model_dir: Path, image: ImageRef) -> Hold:
    """Start a process that holds a stage with a running server."""

    def started(worker: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-c", textwrap.dedent(HOLDER)),
                *(engine.base_url, str(model_dir), worker, str(image)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        return process

    return started


def test_what_a_killed_process_left_is_swept_by_whoever_comes_next(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef, hold: Hold
) -> None:
    process = hold("evaluator-1")
    kinds = {one.split()[0] for one in left(engine, "evaluator-1", image)}
    assert kinds == {"container", "network", "volume", "image", "rule"}

    assert new_runner("evaluator-1").sweep() == (), "its process is alive"
    assert {one.split()[0] for one in left(engine, "evaluator-1", image)} == kinds

    process.send_signal(signal.SIGKILL)
    process.wait()
    said = " ".join(new_runner("evaluator-2").sweep())
    for word in ("container", "(king)", "pulled image", "network", "firewall rule"):
        assert word in said
    assert left(engine, "evaluator-1", image) == []
    assert new_runner("evaluator-1").sweep() == ()


def test_nothing_is_swept_from_under_a_running_stage(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef
) -> None:
    with new_runner("evaluator-9").stage("uses", SMALL) as stage:
        stage.prepare(image, 60)
        mark = engine.client.volumes.create(
            "of-the-dead", labels={**DEAD, "cacheon-ledger.image": str(image)}
        )
        assert new_runner("evaluator-8").sweep() == ()
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        server.stop()
        mark.reload()
    said = new_runner("evaluator-8").sweep()
    assert said == (f"removed the pulled image {image}",)


def test_what_any_dead_evaluator_left_is_gone_before_a_contest_begins(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef, hold: Hold
) -> None:
    process = hold("evaluator-12")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left(engine, "evaluator-12", image) != []
    with new_runner("evaluator-13").stage("alone", SMALL):
        assert left(engine, "evaluator-12", image) == []


def test_a_stage_waits_until_another_process_has_left_the_machine(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef, hold: Hold
) -> None:
    process = hold("evaluator-10")
    entered = threading.Event()

    def second() -> None:
        with new_runner("evaluator-11").stage("second", SMALL):
            entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.wait(1)  # a runner that does not wait may enter later still, and pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    thread.join()
    assert entered.is_set()
    assert left(engine, "evaluator-10", image) == []


def test_the_sweep_works_after_the_engine_was_killed_too(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef, hold: Hold
) -> None:
    process = hold("evaluator-3")
    engine.kill()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(InfrastructureFaultError, match="could not"):
        new_runner("evaluator-3").sweep()
    engine.start()
    assert new_runner("evaluator-3").sweep() != ()
    assert left(engine, "evaluator-3", image) == []


def test_an_engine_that_dies_in_mid_contest_is_a_fault_of_ours_and_swept_later(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef
) -> None:
    runner = new_runner("evaluator-4")
    with (
        pytest.raises(InfrastructureFaultError, match="could not be cleared away") as leaving,
        runner.stage("dies", SMALL) as stage,
    ):
        stage.prepare(image, 60)
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        engine.kill()
        for ask in (lambda: server.exit_code, server.pause, server.log_tail, server.stop):
            with pytest.raises(InfrastructureFaultError) as asked:
                ask()
            assert asked.value.cause is InfrastructureCause.HOST_FAILED
    assert leaving.value.cause is InfrastructureCause.HOST_FAILED
    with (
        pytest.raises(InfrastructureFaultError, match="could not be reached"),
        runner.stage("no-engine", SMALL),
    ):
        pass
    engine.start()
    assert runner.sweep() != (), "the same process clears away what it could not before"
    assert left(engine, "evaluator-4", image) == []


def test_an_engine_that_comes_back_under_a_server_does_not_fault_it(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef
) -> None:
    """It ends what ran under the earlier one, and shows it as if it had ended by itself."""
    runner = new_runner("evaluator-7")
    with runner.stage("comes-back", SMALL) as stage:
        stage.prepare(image, 60)
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        engine.kill()
        engine.start()
        shown = engine.client.api.inspect_container(server.container_id)["State"]
        assert shown["Status"] == "exited"
        with pytest.raises(InfrastructureFaultError, match="went away under it") as raised:
            _ = server.exit_code
        assert raised.value.cause is InfrastructureCause.HOST_FAILED
        server.stop()
    assert left(engine, "evaluator-7", image) == []


@pytest.mark.parametrize("how", ["kill", "stop", "restart"])
def test_a_server_that_an_operator_ends_through_the_engine_is_not_faulted(
    engine: Engine, runner: DockerRunner, image: ImageRef, how: str
) -> None:
    with runner.stage("ended", SMALL) as stage:
        stage.prepare(image, 60)
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        found = engine.client.containers.get(server.container_id)
        {"kill": found.kill, "stop": found.stop, "restart": found.restart}[how]()
        with pytest.raises(InfrastructureFaultError, match="send it signal"):
            _ = server.exit_code
        server.stop()


def test_leaving_by_an_error_clears_away_all_the_same(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef
) -> None:
    runner = new_runner("evaluator-5")
    with pytest.raises(KeyboardInterrupt), runner.stage("interrupted", SMALL) as stage:
        stage.prepare(image, 60)
        stage.launch(image, "king")
        raise KeyboardInterrupt
    assert left(engine, "evaluator-5", image) == []


def test_a_running_stage_of_this_process_is_not_swept(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef
) -> None:
    runner = new_runner("evaluator-6")
    with runner.stage("runs", SMALL) as stage:
        stage.prepare(image, 60)
        server = stage.launch(image, "king")
        assert runner.sweep() == ()
        server.wait_healthy(60)
        server.stop()
    assert left(engine, "evaluator-6", image) == []
