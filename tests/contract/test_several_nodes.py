"""Several nodes answer as one good node would, whoever fails, lags, prunes or is a stranger."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from chain.node import NodeChain
from chain.nodes import FAR_BEHIND_BLOCKS, FIRST_BACK_OFF_S, LOOK_AROUND_S, Nodes
from chain.port import (
    ChainReader,
    ChainUnavailableError,
    OtherChainError,
    PrunedStateError,
    UnknownBlockError,
)
from tests.cassette import needs_cassette, truth
from tests.scripted_node import (
    ERROR,
    OTHER_GENESIS,
    STRANGE,
    Script,
    ScriptedNode,
    scripted_node,
)

pytestmark = [needs_cassette, pytest.mark.cassette]

TIMEOUT_S = 10.0
SHORT_S = 1.0
HEAD = 77
OLD = 20


class Clock:
    """Seconds that pass when the test says so."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Several:
    """Scripted nodes, and the chain over them."""

    def __init__(self, stack: ExitStack, clock: Clock, *scripts: Script, **options: Any) -> None:
        self.nodes = [stack.enter_context(scripted_node(script)) for script in scripts]
        archive = options.pop("archive", None)
        self.archive: ScriptedNode | None = None
        if archive is not None:
            self.archive = stack.enter_context(scripted_node(archive))
        self.chain = Nodes(
            [node.url for node in self.nodes],
            archive=None if self.archive is None else self.archive.url,
            timeout_s=options.pop("timeout_s", TIMEOUT_S),
            clock=clock,
            **options,
        )
        stack.callback(self.chain.close)

    def asked(self, method: str) -> list[int]:
        return [node.asked[method] for node in self.nodes]


def block_hash(number: int) -> str:
    return str(truth()["blocks"][number]["hash"])


def test_it_offers_the_whole_reading_half_of_the_port(clock: Clock) -> None:
    promised = {name for name in vars(ChainReader) if not name.startswith("_")}
    assert promised <= set(dir(Nodes))
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script())
        reader: ChainReader = several.chain
        block = reader.block(48)
        treasury = truth()["treasury"]
        alone = NodeChain(several.nodes[0].url)
        assert reader.genesis_hash() == truth()["genesis_hash"]
        assert reader.finalized_head().number == HEAD
        assert reader.block_ref(block.hash) == block.ref
        assert reader.commits(block, 2) == alone.commits(block, 2)
        assert reader.neurons(2, block.hash) == alone.neurons(2, block.hash)
        hotkey = reader.neurons(2, block.hash)[0].hotkey
        assert reader.owner(hotkey, block.hash) == alone.owner(hotkey, block.hash)
        assert reader.subnet_owner(2, block.hash) == alone.subnet_owner(2, block.hash)
        assert reader.epoch(block, 2) == alone.epoch(block, 2)
        assert reader.balance_rao(treasury, block.hash) == alone.balance_rao(treasury, block.hash)
        assert reader.next_nonce(treasury) == alone.next_nonce(treasury)
        assert reader.validator_weights(2, block.hash) == alone.validator_weights(2, block.hash)
        alone.close()


# --- who fails ----------------------------------------------------------------------------------


def test_a_node_that_fails_is_left_for_the_next_and_tried_again_after_a_while(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script(), timeout_s=SHORT_S)
        first, second = several.nodes
        assert several.chain.block(4).number == 4
        first.is_silent = True
        assert several.chain.block(5).number == 5
        assert several.chain.place == second.url
        asked = first.asked.total()
        assert several.chain.block(6).number == 6
        assert first.asked.total() == asked  # left alone
        first.is_silent, second.is_silent = False, True
        clock.now += FIRST_BACK_OFF_S
        assert several.chain.block(7).number == 7
        assert several.chain.place == first.url


def test_the_pause_of_a_node_that_goes_on_failing_grows(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script(), timeout_s=SHORT_S)
        first, second = several.nodes
        several.chain.finalized_head()
        first.is_silent = True
        several.chain.block(5)
        clock.now += FIRST_BACK_OFF_S
        several.chain.leave()  # the second one; the first is due again, and fails again
        clock.now += FIRST_BACK_OFF_S
        several.chain.block(6)
        asked = first.asked.total()
        clock.now += FIRST_BACK_OFF_S
        several.chain.block(7)
        assert first.asked.total() == asked
        assert several.chain.place == second.url


def test_where_no_node_answers_all_are_named(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script(), timeout_s=SHORT_S)
        several.chain.finalized_head()
        for node in several.nodes:
            node.is_silent = True
        with pytest.raises(ChainUnavailableError, match="no node could tell block 5") as failed:
            several.chain.block(5)
        assert all(node.url in str(failed.value) for node in several.nodes)
        assert type(failed.value) is ChainUnavailableError
        several.nodes[0].is_silent = False  # somebody is always asked, however many failed
        assert several.chain.block(5).number == 5


def test_a_nodes_own_error_is_no_reason_to_leave_it(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script())
        several.chain.finalized_head()
        with pytest.raises(ChainUnavailableError, match="not in the cassette"):
            several.chain.neurons(2, block_hash(49))
        assert several.chain.place == several.nodes[0].url
        spoilt = Several(stack, clock, Script(faults=(ERROR,), share=1.0, most=1), Script())
        assert spoilt.chain.finalized_head().number == HEAD


def test_whoever_is_told_to_leave_a_node_gets_the_next_one(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script())
        first, second = several.nodes
        assert several.chain.place == first.url
        assert several.chain.leave() == second.url
        assert several.chain.block(5).number == 5
        assert first.connections == 0
        alone = Several(stack, clock, Script())
        assert alone.chain.leave() == alone.chain.place
        assert alone.chain.block(5).number == 5


# --- another chain ------------------------------------------------------------------------------


@pytest.mark.parametrize("strange_at", [0, 1])
def test_a_node_of_another_chain_is_never_used(clock: Clock, strange_at: int) -> None:
    scripts = [Script(is_strange=place == strange_at) for place in range(2)]
    with ExitStack() as stack:
        several = Several(stack, clock, *scripts, genesis=truth()["genesis_hash"])
        assert several.chain.finalized_head().number == HEAD
        assert [several.chain.block(n).hash for n in (5, 6)] == [block_hash(5), block_hash(6)]
        strange = several.nodes[strange_at]
        assert set(strange.asked) <= {"chain_getBlockHash"}  # its genesis, and nothing else
        several.nodes[1 - strange_at].is_silent = True
        with pytest.raises(ChainUnavailableError):
            Nodes(
                [node.url for node in several.nodes],
                genesis=truth()["genesis_hash"],
                timeout_s=SHORT_S,
            ).block(5)


def test_where_only_nodes_of_another_chain_are_left_that_is_said_aloud(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(
            stack,
            clock,
            Script(is_strange=True),
            Script(is_strange=True),
            genesis=truth()["genesis_hash"],
        )
        with pytest.raises(OtherChainError, match=f"serves chain {OTHER_GENESIS} instead of"):
            several.chain.finalized_head()


def test_the_first_node_that_answers_decides_where_nobody_else_says_which_chain(
    clock: Clock,
) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script(is_strange=True))
        assert several.chain.genesis_hash() == truth()["genesis_hash"]
        several.chain.leave()
        clock.now += FIRST_BACK_OFF_S / 2
        assert several.chain.block(5).hash == block_hash(5)


def test_behind_a_load_balancer_every_new_connection_is_checked(clock: Clock) -> None:
    with scripted_node(Script()) as node:
        chain = NodeChain(node.url, timeout_s=TIMEOUT_S)
        assert chain.finalized_head().number == HEAD
        chain.close()
        object.__setattr__(node, "script", Script(faults=(STRANGE,), share=1.0, most=1))
        with pytest.raises(OtherChainError, match="it is not used"):
            chain.block(5)
        assert chain.block(5).hash == block_hash(5)


# --- heads --------------------------------------------------------------------------------------


def test_the_head_never_goes_back(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(head=40), Script(head=35))
        first, second = several.nodes
        assert several.chain.finalized_head().number == 40
        several.chain.leave()
        assert several.chain.place == second.url
        assert several.chain.finalized_head().number == 40
        second.head = 41
        assert several.chain.finalized_head().number == 41
        first.head = 30
        clock.now += LOOK_AROUND_S
        assert several.chain.finalized_head().number == 41


def test_a_node_behind_the_known_head_may_not_deny_a_block(clock: Clock) -> None:
    """The head came from one node; of a block before it, another one says that it has it not."""
    with ExitStack() as stack:
        several = Several(stack, clock, Script(), Script(head=40))
        ahead, behind = several.nodes
        head = several.chain.finalized_head()
        assert head.number == HEAD
        ahead.is_silent = True
        fresh = Nodes([behind.url], timeout_s=TIMEOUT_S)
        fresh._learn(head)
        absent = "0x" + "1" * 64
        with pytest.raises(ChainUnavailableError, match="behind 77"):
            fresh.block_ref(absent)
        behind.head = HEAD
        with pytest.raises(UnknownBlockError, match="has no block"):
            fresh.block_ref(absent)
        fresh.close()


def test_a_node_far_behind_the_others_is_asked_last(clock: Clock) -> None:
    with ExitStack() as stack:
        slow = Script(head=HEAD - FAR_BEHIND_BLOCKS - 1)
        several = Several(stack, clock, slow, Script())
        assert several.chain.finalized_head().number == HEAD
        assert several.chain.block(5).number == 5
        assert several.asked("chain_getBlock") == [0, 1]
        assert several.chain.place == several.nodes[1].url
        several.nodes[0].head = HEAD
        several.chain.leave()  # it has caught up: after the next look around it is as good
        clock.now += LOOK_AROUND_S
        several.chain.finalized_head()
        assert several.chain.place == several.nodes[0].url


def test_a_little_behind_is_no_reason(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, Script(head=HEAD - FAR_BEHIND_BLOCKS), Script())
        several.chain.finalized_head()
        several.chain.block(5)
        assert several.asked("chain_getBlock") == [1, 0]


# --- pruned -------------------------------------------------------------------------------------

PRUNED = Script(keeps_states=10)
NO_BODIES = Script(keeps_states=10, prunes_bodies=True)


@pytest.mark.parametrize("script", [PRUNED, NO_BODIES])
def test_what_a_node_discarded_is_an_error_of_its_own(script: Script) -> None:
    with scripted_node(script) as node:
        chain = NodeChain(node.url, timeout_s=TIMEOUT_S)
        assert chain.block(HEAD).number == HEAD
        with pytest.raises(PrunedStateError, match=f"{node.url} "):
            chain.block(OLD)
        with pytest.raises(PrunedStateError, match="already discarded"):
            chain.balance_rao(truth()["treasury"], block_hash(OLD))
        assert chain.block_ref(block_hash(OLD)).number == OLD  # the header is there


def test_a_body_alone_that_is_gone_is_pruned_too(clock: Clock) -> None:
    with scripted_node(Script()) as node:
        chain = NodeChain(node.url, timeout_s=TIMEOUT_S)
        found = node.answer
        node.answer = (  # type: ignore[method-assign]
            lambda method, params: None if method == "chain_getBlock" else found(method, params)
        )
        with pytest.raises(PrunedStateError, match="no longer holds it"):
            chain.block(OLD)


def test_a_finalized_block_that_an_up_to_date_node_lacks_by_number_is_pruned() -> None:
    """So does a node that began at a recent state answer, and never fetched what was before."""
    with scripted_node(Script()) as node:
        chain = NodeChain(node.url, timeout_s=TIMEOUT_S)
        found = node.answer
        node.answer = (  # type: ignore[method-assign]
            lambda method, params: (
                None if (method, params) == ("chain_getBlockHash", [OLD]) else found(method, params)
            )
        )
        with pytest.raises(PrunedStateError, match=f"no longer holds block {OLD}"):
            chain.block(OLD)


def test_an_unknown_header_under_the_same_code_is_not_pruned() -> None:
    """Code 4003 says both: "State already discarded" and that the header was not found."""
    from tests.scripted_node import _ErrorAnswerError

    def answer(method: str, params: list[Any]) -> Any:
        if method == "state_getStorage":
            msg = "Client error: UnknownBlock: Header was not found in the database: 0x12"
            raise _ErrorAnswerError(4003, msg)
        return found(method, params)

    with scripted_node(Script()) as node:
        chain = NodeChain(node.url, timeout_s=TIMEOUT_S)
        found = node.answer
        node.answer = answer  # type: ignore[method-assign]
        with pytest.raises(ChainUnavailableError, match="Header was not found") as failed:
            chain.balance_rao(truth()["treasury"], block_hash(HEAD))
        assert not isinstance(failed.value, PrunedStateError)


def test_what_one_node_discarded_another_one_may_hold(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, PRUNED, Script())
        assert several.chain.block(OLD).number == OLD
        assert several.chain.place == several.nodes[0].url  # it is good for all the rest
        assert several.chain.block(HEAD).number == HEAD
        assert several.asked("chain_getBlock") == [2, 1]


def test_the_archive_is_asked_for_what_all_nodes_discarded_and_for_nothing_else(
    clock: Clock,
) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, PRUNED, NO_BODIES, archive=Script())
        assert several.archive is not None
        assert several.chain.block(HEAD).number == HEAD
        assert several.archive.asked.total() == 0
        block = several.chain.block(OLD)
        assert block.number == OLD
        assert several.archive.asked["chain_getBlock"] == 1
        assert (
            several.chain.balance_rao(truth()["treasury"], block.hash)
            == dict(truth()["treasury_balance"]["by_block"])[OLD]
        )


def test_what_nobody_holds_is_pruned(clock: Clock) -> None:
    with ExitStack() as stack:
        for options in ({}, {"archive": PRUNED}):
            several = Several(stack, clock, PRUNED, NO_BODIES, **options)
            with pytest.raises(PrunedStateError):
                several.chain.block(OLD)


def test_what_somebody_may_still_hold_who_does_not_answer_is_merely_unavailable(
    clock: Clock,
) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, PRUNED, archive=Script(), timeout_s=SHORT_S)
        assert several.archive is not None
        several.chain.finalized_head()
        several.archive.is_silent = True
        with pytest.raises(ChainUnavailableError, match="no node could tell") as failed:
            several.chain.block(OLD)
        assert not isinstance(failed.value, PrunedStateError)
        other = Several(stack, clock, PRUNED, Script(), timeout_s=SHORT_S)
        other.chain.finalized_head()
        other.nodes[1].is_silent = True
        for _ in range(2):  # also while that one is left alone, and not even asked
            with pytest.raises(ChainUnavailableError) as failed:
                other.chain.block(OLD)
            assert not isinstance(failed.value, PrunedStateError)


def test_a_pruned_archive_does_not_speak_for_a_node_that_did_not_answer(clock: Clock) -> None:
    with ExitStack() as stack:
        several = Several(stack, clock, PRUNED, Script(), archive=PRUNED, timeout_s=SHORT_S)
        several.chain.finalized_head()
        several.nodes[1].is_silent = True
        for _ in range(2):
            with pytest.raises(ChainUnavailableError, match="no node could tell") as failed:
                several.chain.block(OLD)
            assert not isinstance(failed.value, PrunedStateError)
        several.nodes[1].is_silent = False
        clock.now += FIRST_BACK_OFF_S * 2
        assert several.chain.block(OLD).number == OLD


def test_an_archive_knows_the_old_block_that_a_node_denies(clock: Clock) -> None:
    def answer(method: str, params: list[Any]) -> Any:
        if method == "chain_getHeader" and params == [block_hash(OLD)]:
            return None
        return found(method, params)

    with ExitStack() as stack:
        several = Several(stack, clock, Script(), archive=Script())
        found = several.nodes[0].answer
        several.nodes[0].answer = answer  # type: ignore[method-assign]
        several.chain.finalized_head()
        assert several.chain.block_ref(block_hash(OLD)).number == OLD
        with pytest.raises(UnknownBlockError):
            several.chain.block_ref("0x" + "1" * 64)
