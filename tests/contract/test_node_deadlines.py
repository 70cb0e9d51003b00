"""A question ends by its deadline whatever the node sends meanwhile; so does connecting."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from chain.deadlines import cutting, within
from chain.node import NodeChain
from chain.port import ChainUnavailableError
from tests.cassette import needs_cassette, truth
from tests.scripted_node import DRIP, HANG, LATE, Script, scripted_node

SHORT_S = 1.0
LONG_S = 60.0


@needs_cassette
@pytest.mark.cassette
@pytest.mark.parametrize("fault", [DRIP, HANG, LATE])
def test_a_node_that_sends_everything_but_the_answer_is_given_up(fault: str) -> None:
    script = Script(faults=(fault,), share=1.0, late_s=LONG_S)
    with scripted_node(script) as node:
        chain = NodeChain(node.url, timeout_s=SHORT_S)
        with pytest.raises(ChainUnavailableError, match=f"{node.url} did not answer .* within"):
            chain.finalized_head()
        assert node.did[fault] == 1


@needs_cassette
@pytest.mark.cassette
def test_the_next_question_goes_over_a_connection_of_its_own_and_is_answered() -> None:
    with scripted_node(Script(faults=(DRIP,), share=1.0, most=1)) as node:
        chain = NodeChain(node.url, timeout_s=SHORT_S)
        with pytest.raises(ChainUnavailableError):
            chain.finalized_head()
        assert chain.finalized_head().number == truth()["head"]
        assert node.connections == 2


@needs_cassette
@pytest.mark.cassette
def test_bittensors_reads_end_by_the_same_deadline() -> None:
    with scripted_node(Script()) as node:
        chain = NodeChain(node.url, timeout_s=SHORT_S)
        head = chain.finalized_head()
        block = chain.block_ref(head.hash)
        node.is_silent = True
        with pytest.raises(ChainUnavailableError, match="did not answer"):
            chain._node.ask_bittensor(
                block.number,
                block.hash,
                "stake_for_coldkey",
                list,
                coldkey_ss58=truth()["treasury"],
            )


@contextmanager
def a_server_that(does: Callable[[socket.socket], None]) -> Iterator[str]:
    """A plain TCP server that takes one connection; the URL of it as a node."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            try:
                connection, _ = server.accept()
                with connection:
                    does(connection)
            except OSError:
                return  # the one who connected hung up

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"
        server.close()
        thread.join(timeout=10)


def test_who_takes_the_connection_and_never_greets_is_given_up() -> None:
    over = threading.Event()
    with a_server_that(lambda _: over.wait(LONG_S) and None) as url:
        with pytest.raises(ChainUnavailableError, match=f"{url} did not answer"):
            NodeChain(url, timeout_s=SHORT_S).genesis_hash()
        over.set()


def test_who_greets_a_byte_at_a_time_for_ever_is_given_up() -> None:
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        while not over.wait(0.01):
            connection.sendall(b"x")

    with a_server_that(drip) as url:
        with pytest.raises(ChainUnavailableError, match=f"{url} did not answer"):
            NodeChain(url, timeout_s=SHORT_S).genesis_hash()
        over.set()


def test_what_ended_in_time_is_never_cut() -> None:
    cut: list[int] = []
    for number in range(50):
        with cutting(LONG_S, lambda number=number: cut.append(number)):  # type: ignore[misc]
            pass
    struck = threading.Event()
    with cutting(0.01, struck.set):  # a later deadline is not waited for
        assert struck.wait(LONG_S)
    assert cut == []


def test_work_that_is_late_is_left_behind_and_what_it_made_thrown_away() -> None:
    go, thrown_away = threading.Event(), threading.Event()

    def work() -> str:
        go.wait(LONG_S)
        return "late"

    with pytest.raises(TimeoutError, match="no answer within"):
        within(0.01, work, discard=lambda late: thrown_away.set() if late == "late" else None)
    go.set()
    assert thrown_away.wait(LONG_S)


def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    def work() -> None:
        msg = "its own"
        raise TimeoutError(msg)

    with pytest.raises(TimeoutError, match="its own"):
        within(LONG_S, work)
