"""Several nodes as one chain: who fails is left for the next, who serves another chain never used.

:class:`Nodes` is the reading half of :mod:`chain.port` over several URLs, each a
:class:`~chain.node.NodeChain`, and an archive node that is asked only for what the others have
thrown away. What it says is what one good node would say:

- a node that fails is left for the next, and tried again after a back-off that doubles;
- every new connection must show the genesis hash, so one balanced to another chain is noticed;
- the finalized head never goes back, whoever is asked; a node that does not have it yet may not
  deny a block;
- a node far behind the others is asked last.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from chain.kept import Kept
from chain.node import NodeChain
from chain.node_connection import NodeCannotError
from chain.port import (
    Block,
    BlockRef,
    ChainError,
    ChainUnavailableError,
    Commit,
    Epoch,
    Neuron,
    OtherChainError,
    PrunedStateError,
    Reserves,
    StakeLock,
    UnknownBlockError,
    ValidatorWeights,
)

FIRST_BACK_OFF_S: Final = 1.0
"""How long a node that failed once is left alone; it doubles with each failure in a row."""
LONGEST_BACK_OFF_S: Final = 60.0
DISOWNED_S: Final = 3_600.0
"""How long a node that gave a block of another chain is not asked at all."""
LOOK_AROUND_S: Final = 60.0
"""How often every node is asked for its head, to see who lags."""
FAR_BEHIND_BLOCKS: Final = 10
"""A node this far behind the best is asked after the others."""

MAX_GIVERS: Final = 256
"""Blocks of which is remembered who gave them; those read ahead are fewer."""

_SAYS_SO: Final = (NodeCannotError, PrunedStateError, UnknownBlockError)
"""Refusals of a node that is there and answers."""

T = TypeVar("T")
Question = Callable[[NodeChain], T]


@dataclass(slots=True)
class _Candidate:
    chain: NodeChain
    failures: int = 0
    left_until: float = 0.0
    lags: bool = False
    is_foreign: bool = False
    disowned_until: float = 0.0

    def failed(self, now: float, error: ChainError | None = None) -> None:
        self.is_foreign = isinstance(error, OtherChainError)
        self.left_until = now + min(FIRST_BACK_OFF_S * 2**self.failures, LONGEST_BACK_OFF_S)
        self.failures += 1


class Nodes:
    """:class:`~chain.port.ChainReader` over one or more nodes; safe to share between threads.

    ``urls`` in the order of preference; ``archive`` is a node that holds all states. ``genesis`` is
    the hash of block 0 that they must serve; without it, the first one that answers decides.
    ``timeout_s`` bounds each question to each node; ``clock`` gives seconds and never goes back.

    Raises :class:`~chain.port.ChainUnavailableError` where no node answered,
    :class:`~chain.port.PrunedStateError` where all nodes and the archive have thrown it away (an
    archive that merely fails is unavailability), :class:`~chain.port.OtherChainError` where every
    node serves another chain, and :class:`~chain.node_url.NodeUrlError` for a URL of none.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        archive: str | None = None,
        genesis: str | None = None,
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not urls:
            msg = "no node is named; give the URL of at least one"
            raise ValueError(msg)
        self._clock = clock
        self._nodes = [
            _Candidate(NodeChain(url, timeout_s=timeout_s, genesis=genesis)) for url in urls
        ]
        self._archive = (
            None if archive is None else NodeChain(archive, timeout_s=timeout_s, genesis=genesis)
        )
        self._lock = threading.Lock()
        self._current = self._nodes[0]
        self._genesis = genesis
        self._head: BlockRef | None = None
        self._looked_around: float | None = None
        self._givers: Kept[str, _Candidate] = Kept(MAX_GIVERS)

    @property
    def place(self) -> str:
        """The node that is asked first now: scheme, host and port."""
        return self._current.chain.place

    def close(self) -> None:
        """Close all connections; the next question opens another."""
        for chain in self._chains():
            chain.close()

    def leave(self) -> str:
        """Drop the connections to the node asked first and go to the next; that one's place.

        For whoever notices what no single question shows, such as the watchdog.
        """
        with self._lock:
            left = self._current
            left.failed(self._clock())
            self._current = next(iter(self._order()))
        left.chain.close()
        return self.place

    def disown(self, block: BlockRef) -> bool:
        """Ask the node that gave ``block``, or told of it as head, no more.

        For when it is of another chain than the log's. Whether somebody else is left to be asked;
        if not, nothing changes. The head that is known may be that node's, and is forgotten.
        """
        giver = self._givers.get(block.hash)
        with self._lock:
            now = self._clock()
            others = [node for node in self._in_use(now) if node is not giver]
            if giver is None or not others:
                return False
            giver.is_foreign, giver.disowned_until = True, now + DISOWNED_S
            if self._current is giver:
                self._current = others[0]
            for node in others:
                if node.is_foreign:  # it may be the one that was right
                    node.is_foreign, node.failures, node.left_until = False, 0, 0.0
            self._head = None
        giver.chain.close()
        for chain in self._chains():
            chain.forget_head()
        return True

    # --- the port -------------------------------------------------------------------------------

    def genesis_hash(self) -> str:
        """The hash of block 0 that all nodes in use serve."""
        if self._genesis is None:
            genesis = self._ask("the genesis block", lambda node: node.genesis_hash())
            with self._lock:
                # Of two threads that ask at once the first decides, and the other's node must obey.
                self._genesis = self._genesis or genesis
            for chain in self._chains():
                chain.expect_genesis(self._genesis)
        return self._genesis

    def finalized_head(self) -> BlockRef:
        """The newest finalized block that any node told of; it never goes back."""
        self.genesis_hash()
        self._look_around()
        head, giver = self._ask_whom("the finalized head", lambda node: node.finalized_head())
        return self._learn(head, giver)

    def block(self, number: int) -> Block:
        """The finalized block of that number, decoded by the runtime that made it."""
        answer, giver = self._ask_whom(f"block {number}", lambda node: node.block(number))
        if giver is not None:
            self._givers.put(answer.hash, giver)
        return answer

    def block_ref(self, block_hash: str) -> BlockRef:
        """The finalized block of that hash; unknown only if nobody who is up to date knows it."""
        return self._ask(f"block {block_hash}", lambda node: node.block_ref(block_hash))

    def commits(self, block: Block, netuid: int) -> Sequence[Commit]:
        """Commits and reveals that became known in ``block``, in the order they are judged."""
        return self._ask(f"commits of {block.number}", lambda node: node.commits(block, netuid))

    def neurons(self, netuid: int, block_hash: str) -> Sequence[Neuron]:
        """All UIDs and their holders in the state of that block, by UID."""
        return self._ask("neurons", lambda node: node.neurons(netuid, block_hash))

    def owner(self, hotkey: str, block_hash: str) -> str | None:
        """The coldkey owning ``hotkey`` in the state of that block; None if it has none."""
        return self._ask("an owner", lambda node: node.owner(hotkey, block_hash))

    def subnet_owner(self, netuid: int, block_hash: str) -> tuple[str, str] | None:
        """(hotkey, coldkey) of the subnet's owner in the state of that block."""
        return self._ask("the subnet's owner", lambda node: node.subnet_owner(netuid, block_hash))

    def epoch(self, block: Block, netuid: int) -> Epoch | None:
        """What was paid at ``block`` if an epoch of the subnet ran in it, else None."""
        return self._ask(f"the epoch of {block.number}", lambda node: node.epoch(block, netuid))

    def owner_cut(self, block: Block, netuid: int) -> int | None:
        """What the epoch that ran in ``block`` paid to the subnet's owner, None where unknown."""
        return self._ask(f"the cut at {block.number}", lambda node: node.owner_cut(block, netuid))

    def balance_rao(self, address: str, block_hash: str) -> int:
        """Free TAO of an address in the state of that block, in rao."""
        return self._ask("a balance", lambda node: node.balance_rao(address, block_hash))

    def stake_alpha(self, coldkey: str, netuid: int, block_hash: str) -> int:
        """Alpha that a coldkey holds as stake on a subnet, all hotkeys together, in 10^-9."""
        return self._ask("a stake", lambda node: node.stake_alpha(coldkey, netuid, block_hash))

    def next_nonce(self, address: str) -> int:
        """The nonce that the address's next extrinsic has, by the newest finalized block."""
        return self._ask("a nonce", lambda node: node.next_nonce(address))

    def validator_weights(
        self, netuid: int, block_hash: str, uids: Collection[int] | None = None
    ) -> Sequence[ValidatorWeights]:
        """The weights validators hold in the state of that block, by UID."""
        return self._ask("weights", lambda node: node.validator_weights(netuid, block_hash, uids))

    def reserves(self, netuid: int, block_hash: str) -> Reserves | None:
        """The pool and its price in the state of that block."""
        return self._ask("a pool", lambda node: node.reserves(netuid, block_hash))

    def stake_locks(
        self, netuid: int, coldkeys: Collection[str], block_hash: str
    ) -> Sequence[StakeLock]:
        """The conviction locks of these coldkeys on a subnet."""
        return self._ask("locks", lambda node: node.stake_locks(netuid, coldkeys, block_hash))

    # --- whom to ask ----------------------------------------------------------------------------

    def _ask(self, what: str, question: Question[T]) -> T:
        """Ask one node after the other until one answers; the archive for what they lack."""
        return self._ask_whom(what, question)[0]

    def _ask_whom(self, what: str, question: Question[T]) -> tuple[T, _Candidate | None]:
        """The answer and who gave it, None for the archive."""
        refusals: list[ChainError] = []
        with self._lock:
            order = self._order()
        asked = 0
        for node in order:
            if node.left_until > self._clock() and _of(refusals, *_SAYS_SO):
                break  # who is there has spoken; who is left alone is not waited for
            asked += 1
            try:
                answer = question(node.chain)
            except _SAYS_SO as error:
                refusals.append(error)  # no reason to leave it
            except (ChainUnavailableError, OtherChainError) as error:
                refusals.append(error)
                self._failed(node, error)
            else:
                self._answered(node)
                return answer, node
        with self._lock:
            others = [node for node in self._nodes if node not in order[:asked]]
            away = sum(not node.is_foreign for node in others)
        if self._archive is not None and _of(refusals, PrunedStateError, UnknownBlockError):
            try:
                return question(self._archive), None
            except UnknownBlockError as error:
                raise error
            except PrunedStateError as error:
                refusals.append(error)
            except ChainError as error:
                refusals.append(error)
                raise self._nobody(what, refusals) from error
        raise self._verdict(what, refusals, away) from refusals[-1]

    def _verdict(self, what: str, refusals: list[ChainError], away: int) -> ChainError:
        """What follows from the refusals of everyone; ``away`` nodes were not even asked."""
        unknown = _of(refusals, UnknownBlockError)
        if unknown:
            return unknown[0]
        foreign = _of(refusals, OtherChainError)
        pruned = _of(refusals, PrunedStateError)
        if pruned and len(pruned) + len(foreign) == len(refusals) and not away:
            return pruned[0]
        if len(foreign) == len(refusals) and not away:  # nobody of this chain is left
            return foreign[0]
        return self._nobody(what, refusals)

    def _nobody(self, what: str, refusals: list[ChainError]) -> ChainUnavailableError:
        if len(refusals) == 1 and type(refusals[0]) is ChainUnavailableError:
            return refusals[0]
        reasons = "; ".join(str(error) for error in refusals)
        return ChainUnavailableError(f"no node could tell {what}: {reasons}")

    def _order(self) -> list[_Candidate]:
        """Whom to ask, in order: never nobody. Holds the lock."""
        now = self._clock()
        ready = [node for node in self._in_use(now) if node.left_until <= now]
        left = [node for node in self._in_use(now) if node.left_until > now]
        # Sorting keeps the order of preference among equals. Should all of them fail, the one that
        # was left alone for longest is asked before nobody is.
        ready.sort(key=lambda node: (node.lags, node is not self._current))
        return ready + sorted(left, key=lambda node: node.left_until)[:1]

    def _in_use(self, now: float) -> list[_Candidate]:
        """All nodes but those disowned, of which one is always left."""
        return [node for node in self._nodes if node.disowned_until <= now]

    def _failed(self, node: _Candidate, error: ChainError) -> None:
        with self._lock:
            node.failed(self._clock(), error)

    def _answered(self, node: _Candidate) -> None:
        with self._lock:
            node.failures, node.left_until = 0, 0.0
            if self._current.failures or self._current.lags:
                self._current = node

    # --- heads ----------------------------------------------------------------------------------

    def _look_around(self) -> None:
        """Every minute, ask every node for its head: those far behind are asked last."""
        with self._lock:
            now = self._clock()
            if self._looked_around is not None and now - self._looked_around < LOOK_AROUND_S:
                return
            self._looked_around = now
            around = [node for node in self._in_use(now) if node.left_until <= now]
        if len(self._nodes) == 1:
            return
        heads: list[tuple[_Candidate, int]] = []
        for node in around:
            try:
                self._learn(node.chain.finalized_head(), node)
            except ChainError as error:
                self._failed(node, error)  # a question that needs it will tell why
                continue
            heads.append((node, node.chain.told_head))
        best = max((head for _, head in heads), default=0)
        with self._lock:
            for node, head in heads:
                node.lags = best - head > FAR_BEHIND_BLOCKS

    def _learn(self, head: BlockRef, giver: _Candidate | None = None) -> BlockRef:
        """Let all nodes know of a finalized head, and note who told of it; the newest one known."""
        with self._lock:
            if self._head is None or head.number > self._head.number:
                self._head = head
                if giver is not None:
                    self._givers.put(head.hash, giver)
            newest = self._head
        for chain in self._chains():
            chain.learn_head(newest)
        return newest

    def _chains(self) -> list[NodeChain]:
        archive = [] if self._archive is None else [self._archive]
        return [*(node.chain for node in self._nodes), *archive]


def _of(refusals: list[ChainError], *kinds: type[ChainError]) -> list[ChainError]:
    return [error for error in refusals if isinstance(error, kinds)]
