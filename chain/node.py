"""A real subtensor node, read through substrate-interface 1.8.1 and bittensor 11.3.

:class:`NodeChain` is the reading half of :mod:`chain.port`. It does not write: what it would send
cannot be tried against a recording, and a writer that has never run would be a promise only.

Every read names its block and has a deadline. What the node cannot answer (no connection, no answer
in time, an error of its own) is :class:`~chain.port.ChainUnavailableError`; what it
answers with "there is no such block" is :class:`~chain.port.UnknownBlockError`, provided that it is
up to date. What it says that it once had is :class:`~chain.port.PrunedStateError`. No default
stands in for an answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from chain.commits import committed_bytes, plain_commits, unshown_commits
from chain.kept import Kept
from chain.node_answers import HEADER, block_hash_from
from chain.node_connection import (
    FINALIZED_HEAD,
    AskAll,
    NodeCannotError,
    NodeConnection,
    Parse,
    T,
    number_from,
)
from chain.node_decode import (
    account,
    events_from,
    extrinsics_from,
    revealed_bytes,
    revealed_hotkeys,
    timestamp_ms,
)
from chain.node_epoch import split_emission
from chain.node_owner_cut import (
    cut_of,
    pending_since,
    read_cut_state,
    read_emission,
    read_pending,
)
from chain.node_subnet import (
    Item,
    last_update_of,
    read_items,
    read_locks,
    read_reserves,
    read_weights,
    weights_row,
)
from chain.node_wire import Request
from chain.port import (
    Block,
    BlockRef,
    ChainUnavailableError,
    Commit,
    Epoch,
    EpochRow,
    Neuron,
    OtherChainError,
    PrunedStateError,
    Reserves,
    StakeLock,
    UnknownBlockError,
    ValidatorWeights,
)

MAX_KEPT_BLOCKS: Final = 32
"""Decoded blocks kept, for payments are looked up in blocks that were read a moment ago."""
MAX_KEPT_HASHES: Final = 4_096
"""Hashes of finalized blocks kept, by number."""
HEADERS_LOOKED_AT: Final = 64
HEADERS_BETWEEN: Final = 512
"""Before a node may deny a block by its hash, that many headers of its finalized chain, so far
apart, are looked at, and others at doubling distances from its head down to block 1: a node that
began at a recent state has none of what was before, or fetches them by and by. A payment may be
7,200 blocks old."""
_BLOCK_HASH: Final = "chain_getBlockHash"


class NodeChain:
    """:class:`~chain.port.ChainReader` over one node's WebSocket (``ws://`` or ``wss://``).

    ``timeout_s`` bounds each question. ``genesis`` is the hash of block 0 that the node must serve
    on every new connection; without it, the first connection decides. Safe to share between
    threads.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0, genesis: str | None = None) -> None:
        self._node = NodeConnection(url, timeout_s, genesis=genesis)
        self.place = self._node.place
        self._finalized: BlockRef | None = None
        self._blocks: Kept[int, Block] = Kept(MAX_KEPT_BLOCKS)
        self._hashes: Kept[int, str] = Kept(MAX_KEPT_HASHES)
        self.told_head = -1
        """The number of the finalized head as the node itself told it last; -1 before that."""

    def close(self) -> None:
        """Close the connections; the next read opens another."""
        self._node.close()

    def expect_genesis(self, genesis: str) -> None:
        """From now on the node must serve the chain whose block 0 has that hash."""
        self._node.expect_genesis(genesis)

    # --- blocks ---------------------------------------------------------------------------------

    def genesis_hash(self) -> str:
        """The hash of block 0."""
        return self._hash_of(0)

    def finalized_head(self) -> BlockRef:
        """The newest finalized block that the node ever told of."""

        def talk(ask: AskAll) -> BlockRef:
            head = block_hash_from(ask(FINALIZED_HEAD)[0])
            return BlockRef(number_from(ask((HEADER, [head]))[0]), head)

        told = self._node.converse("its finalized head", talk)
        self.told_head = told.number
        return self.learn_head(told)

    def learn_head(self, head: BlockRef) -> BlockRef:
        """Note a finalized block, whoever told of it; the newest one known.

        It never goes back: behind one URL there may be several nodes, and some are slower.
        """
        known = self._finalized
        if known is None or head.number > known.number:
            self._finalized = head
            return head
        if head.number == known.number and head.hash != known.hash:
            msg = (
                f"{self.place} has {head.hash} as finalized block {head.number}, which was "
                f"{known.hash}; it is on another chain"
            )
            raise OtherChainError(msg)
        return known

    def forget_head(self) -> None:
        """Forget the finalized head: whoever told of it is of another chain."""
        self._finalized = None

    def block_ref(self, block_hash: str) -> BlockRef:
        """The finalized block of that hash; a block on a fork or not final yet is unknown."""
        wanted = block_hash.lower()
        number = self._node.rpc(HEADER, [wanted], _number_or_none)
        if number is None:
            number = number_from(self._deny(f"block {wanted}", (HEADER, [wanted])))
        self._check_finalized(number, wanted)
        if self._hash_of(number) != wanted:
            msg = f"block {wanted} is not on the finalized chain of {self.place}"
            raise UnknownBlockError(msg)
        return BlockRef(number, wanted)

    def block(self, number: int) -> Block:
        """The finalized block of that number, decoded by the runtime that made it."""
        kept = self._blocks.get(number)
        if kept is not None:
            return kept
        self._check_finalized(number, f"number {number}")
        block_hash = self._hash_of(number)
        parent_hash = self._hashes.get(number - 1)

        def read(node: Any) -> Block:
            decoded = node.get_block(block_hash=block_hash)
            header = decoded["header"]
            if int(header["number"]) != number or parent_hash not in (None, header["parentHash"]):
                msg = f"what it gave is block {header['number']} on {header['parentHash']}"
                raise ValueError(msg)
            events = events_from(
                [record.value for record in node.value("System", "Events", [], block_hash)]
            )

            def error_name(module_index: int, error_index: int) -> str:
                return str(node.metadata.get_module_error(module_index, error_index).name)

            extrinsics = extrinsics_from(
                [item.value for item in decoded["extrinsics"]], events, error_name
            )
            return Block(
                number=number,
                hash=block_hash,
                parent_hash=block_hash_from(header["parentHash"]),
                timestamp_ms=timestamp_ms(extrinsics),
                spec_version=int(node.runtime_version),
                extrinsics=extrinsics,
                events=events,
            )

        block = self._node.read_block(f"block {number}", block_hash, parent_hash, read)
        self._blocks.put(number, block)
        return block

    def _hash_of(self, number: int) -> str:
        """The hash of a block that is finalized; asks for its parent's too, which is used next."""
        kept = self._hashes.get(number)
        if kept is not None:
            return kept
        numbers = [number]
        if number > 0 and self._hashes.get(number - 1) is None:
            numbers.append(number - 1)

        def talk(ask: AskAll) -> list[str | None]:
            # By number a node tells its best chain, which past its own finalized head may be a fork
            # that is not finalized ever.
            reached = self._node.finalized_here(number)
            if reached < number:
                msg = (
                    f"{self.place} is at block {reached}, before {number}, which is finalized; ask "
                    "again later"
                )
                raise NodeCannotError(msg)
            return [_hash_or_none(h) for h in ask(*((_BLOCK_HASH, [n]) for n in numbers))]

        found = self._node.converse(_BLOCK_HASH, talk)
        mine = found[0] or block_hash_from(self._deny(f"block {number}", (_BLOCK_HASH, [number])))
        for each, block_hash in zip(numbers, [mine, *found[1:]], strict=True):
            if block_hash is not None:
                self._hashes.put(each, block_hash)
        return mine

    def _check_finalized(self, number: int, what: str) -> None:
        head = self._finalized
        if head is None or number > head.number:
            head = self.finalized_head()
        if number > head.number:
            msg = f"block {what} is not finalized at {self.place}, whose head is {head.number}"
            raise UnknownBlockError(msg)

    def _deny(self, what: str, request: Request) -> Any:
        """The answer after all, from a node that may deny ``what``; raises what follows if it does.

        A node still catching up does not know what it lacks: it defers, it never refuses. So does
        one behind the head that is known, which may be another one of several behind the URL. One
        that is up to date and lacks a finalized block by its number has thrown it away. And one
        that lacks headers of its own chain cannot know whether a hash is among them.
        """

        def talk(ask: AskAll) -> tuple[bool, int, Any, int | None]:
            health, finalized = ask(("system_health", []), FINALIZED_HEAD)
            (header,) = ask((HEADER, [finalized]))
            head = number_from(header)
            answer, *hashes = ask(request, *((_BLOCK_HASH, [n]) for n in _looked_at(head)))
            lacks = [n for n, h in zip(_looked_at(head), hashes, strict=True) if h is None]
            return bool(health["isSyncing"]), head, answer, max(lacks, default=None)

        is_syncing, head, answer, lacks = self._node.converse(what, talk)
        if answer is not None:
            return answer
        if is_syncing:
            msg = f"{self.place} is still syncing and does not have {what} yet; ask again later"
            raise NodeCannotError(msg)
        known = self._finalized
        if known is not None and head < known.number:
            msg = (
                f"{self.place} is at block {head}, behind {known.number}, and does not have {what} "
                "yet; ask again later"
            )
            raise NodeCannotError(msg)
        if request[0] == _BLOCK_HASH:
            msg = f"{self.place} no longer holds {what}; ask an archive node"
            raise PrunedStateError(msg)
        if lacks is not None:
            msg = (
                f"{self.place} does not have {what}, nor some blocks of its own chain, such as "
                f"{lacks}; ask an archive node"
            )
            raise PrunedStateError(msg)
        msg = f"{self.place} has no {what}"
        raise UnknownBlockError(msg)

    # --- commits --------------------------------------------------------------------------------

    def commits(self, block: Block, netuid: int) -> Sequence[Commit]:
        """Reveals in the order of their events, then the block's plain commitments."""
        plain = [*plain_commits(block, netuid), *self._unshown(block, netuid)]
        return [*self._reveals(block, netuid), *sorted(plain, key=lambda commit: commit.order)]

    def _unshown(self, block: Block, netuid: int) -> list[Commit]:
        """Commitments that no call of the block shows, with what ``CommitmentOf`` holds of them.

        One that a later commitment overwrote in the same block said what nobody can know any more:
        it is told with an empty payload, which R1 refuses, and is not hidden.
        """
        return [
            Commit(
                hotkey=made.hotkey,
                block=block.ref,
                index=made.index,
                form="plain",
                payload=b"" if made.overwritten else self._held(block, netuid, made.hotkey),
                extrinsic_hash=made.extrinsic_hash,
                nth=made.nth,
            )
            for made in unshown_commits(block, netuid)
        ]

    def _held(self, block: Block, netuid: int, hotkey: str) -> bytes:
        def parse(value: Any) -> bytes:
            return b"" if value is None else committed_bytes(value["info"]["fields"]) or b""

        return self._node.query("Commitments", "CommitmentOf", [netuid, hotkey], block.hash, parse)

    def _reveals(self, block: Block, netuid: int) -> list[Commit]:
        """The i-th event of a hotkey belongs to its i-th entry of this block in
        ``RevealedCommitments``; entries without an event of their own follow the last one."""
        hotkeys = revealed_hotkeys(block, netuid)
        payloads: list[tuple[str, bytes]] = []
        left: dict[str, list[bytes]] = {}
        for place, hotkey in enumerate(hotkeys):
            if hotkey not in left:
                left[hotkey] = self._revealed_in(block, netuid, hotkey)
            if not left[hotkey]:
                msg = (
                    f"block {block.number} reveals a commitment of {hotkey} that {self.place} does "
                    "not hold in RevealedCommitments; ask an archive node"
                )
                raise ChainUnavailableError(msg)
            is_last = hotkey not in hotkeys[place + 1 :]
            taken = len(left[hotkey]) if is_last else 1
            payloads += [(hotkey, payload) for payload in left[hotkey][:taken]]
            del left[hotkey][:taken]
        return [
            Commit(hotkey=hotkey, block=block.ref, index=index, form="timelocked", payload=payload)
            for index, (hotkey, payload) in enumerate(payloads)
        ]

    def _revealed_in(self, block: Block, netuid: int, hotkey: str) -> list[bytes]:
        def parse(entries: Any) -> list[bytes]:
            return [revealed_bytes(data) for data, at in entries or () if int(at) == block.number]

        return self._node.query(
            "Commitments", "RevealedCommitments", [netuid, hotkey], block.hash, parse
        )

    # --- who is who -----------------------------------------------------------------------------

    def neurons(self, netuid: int, block_hash: str) -> Sequence[Neuron]:
        """All UIDs by ``Keys``, with the coldkey that ``Owner`` names for each hotkey."""
        hotkeys = self._node.query_map("SubtensorModule", "Keys", [netuid], block_hash, str)
        owners = self._node.query_many(
            "SubtensorModule", "Owner", sorted(set(hotkeys.values())), block_hash, account
        )
        neurons: list[Neuron] = []
        for uid, hotkey in sorted(hotkeys.items()):
            coldkey = owners.get(hotkey)
            if coldkey is None:
                msg = (
                    f"{self.place} names no owner at {block_hash} for {hotkey}, which has UID {uid}"
                )
                raise ChainUnavailableError(msg)
            neurons.append(Neuron(uid=uid, hotkey=hotkey, coldkey=coldkey))
        return neurons

    def owner(self, hotkey: str, block_hash: str) -> str | None:
        """The coldkey of a hotkey; None where ``Owner`` holds nothing (its zero account)."""
        return self._node.query("SubtensorModule", "Owner", [hotkey], block_hash, account)

    def subnet_owner(self, netuid: int, block_hash: str) -> tuple[str, str] | None:
        """(hotkey, coldkey) of the subnet's owner; None where the subnet does not exist."""
        hotkey = self._subnet("SubnetOwnerHotkey", netuid, block_hash, account)
        coldkey = self._subnet("SubnetOwner", netuid, block_hash, account)
        return None if hotkey is None or coldkey is None else (hotkey, coldkey)

    # --- money ----------------------------------------------------------------------------------

    def epoch(self, block: Block, netuid: int) -> Epoch | None:
        """What was paid if an epoch of the subnet ran in ``block``.

        Observed: an epoch writes its own block number into ``LastMechansimStepBlock`` (the pallet
        spells it so). It runs before the block's extrinsics, so its UIDs belong to whoever held
        them, and is paid to whoever owned them, in the state of the parent block. The split into
        incentive and dividends is :func:`chain.node_epoch.split_emission`.
        """
        if block.number == 0:
            return None
        if self._subnet("LastMechansimStepBlock", netuid, block.hash, int) != block.number:
            return None
        vectors = [Item(name, (netuid,)) for name in ("Emission", "Incentive", "Dividends")]
        emission, incentive, dividends = (
            [int(value) for value in vector]
            for vector in read_items(self._node, vectors, block.hash)
        )
        parent = [Item(name, (netuid,)) for name in ("ValidatorPermit", "LastMechansimStepBlock")]
        permits, previous = read_items(self._node, parent, block.parent_hash)
        neurons = self.neurons(netuid, block.parent_hash)
        if [neuron.uid for neuron in neurons] != list(range(len(emission))):
            msg = (
                f"{self.place} holds {len(neurons)} UIDs before block {block.number} but its epoch "
                f"paid {len(emission)}"
            )
            raise ChainUnavailableError(msg)
        try:
            parts = split_emission(emission, incentive, dividends, [bool(one) for one in permits])
        except ValueError as error:
            msg = f"the epoch of block {block.number} from {self.place} cannot be read: {error}"
            raise ChainUnavailableError(msg) from error
        rows = (
            EpochRow(neuron.uid, neuron.hotkey, neuron.coldkey, *part)
            for neuron, part in zip(neurons, parts, strict=True)
        )
        return Epoch(block=block.ref, rows=tuple(rows), previous_block=int(previous))

    def owner_cut(self, block: Block, netuid: int) -> int | None:
        """What an epoch in ``block`` paid to the subnet's owner, by :mod:`chain.node_owner_cut`."""
        before = read_cut_state(self._node, netuid, block.parent_hash)
        own = cut_of(read_emission(self._node, netuid, block.hash), before.cut_u16)
        if not pending_since(before, own):
            earlier = read_pending(self._node, netuid, self._hash_of(block.number - 2))
            if before.pending - earlier != own:
                return None
        return before.pending + own

    def balance_rao(self, address: str, block_hash: str) -> int:
        """Free balance from ``System.Account``, in rao; an address never seen holds zero."""
        return self._node.query(
            "System", "Account", [address], block_hash, lambda value: int(value["data"]["free"])
        )

    def next_nonce(self, address: str) -> int:
        """``System.Account``'s nonce in the state of the finalized head."""
        return self._node.query(
            "System",
            "Account",
            [address],
            self.finalized_head().hash,
            lambda value: int(value["nonce"]),
        )

    def stake_alpha(self, coldkey: str, netuid: int, block_hash: str) -> int:
        """Alpha staked on a subnet over all hotkeys, through bittensor's ``stake_for_coldkey``.

        The runtime works the amounts out of its share pools; bittensor asks it to.
        """

        def parse(positions: Any) -> int:
            return sum(int(item.stake.rao) for item in positions if item.netuid == netuid)

        ref = self.block_ref(block_hash)
        return self._node.ask_bittensor(
            ref.number, ref.hash, "stake_for_coldkey", parse, coldkey_ss58=coldkey
        )

    # --- the subnet -----------------------------------------------------------------------------

    def validator_weights(
        self, netuid: int, block_hash: str, uids: Collection[int] | None = None
    ) -> Sequence[ValidatorWeights]:
        """Rows of ``Weights``, u16 as the chain holds them; zeros and empty rows are left out.

        With ``uids`` only theirs, in one request, and empty ones too.
        """
        if uids is not None:
            return read_weights(self._node, netuid, uids, block_hash)
        hotkeys = self._node.query_map("SubtensorModule", "Keys", [netuid], block_hash, str)
        rows = self._node.query_map("SubtensorModule", "Weights", [netuid], block_hash, weights_row)
        (updates,) = read_items(self._node, [Item("LastUpdate", (netuid,))], block_hash)
        missing = [uid for uid, row in rows.items() if row and uid not in hotkeys]
        if missing:
            msg = (
                f"{self.place} holds weights of UID {missing[0]} at {block_hash} but not its hotkey"
            )
            raise ChainUnavailableError(msg)
        return [
            ValidatorWeights(uid, hotkeys[uid], row, last_update_of(updates, uid))
            for uid, row in sorted(rows.items())
            if row
        ]

    def reserves(self, netuid: int, block_hash: str) -> Reserves | None:
        """The pool's reserves and the runtime's price; None for a subnet that is not."""
        return read_reserves(self._node, netuid, block_hash)

    def stake_locks(
        self, netuid: int, coldkeys: Collection[str], block_hash: str
    ) -> Sequence[StakeLock]:
        """The conviction locks of these coldkeys; unverified until a recording has any."""
        return read_locks(self._node, netuid, coldkeys, block_hash)

    def _subnet(self, name: str, netuid: int, block_hash: str, parse: Parse[T]) -> T:
        return self._node.query("SubtensorModule", name, [netuid], block_hash, parse)


def _hash_or_none(value: Any) -> str | None:
    return None if value is None else block_hash_from(value)


def _looked_at(head: int) -> list[int]:
    """The blocks whose headers a node must have to deny a hash, in order."""
    evenly = {head - place * HEADERS_BETWEEN for place in range(HEADERS_LOOKED_AT)}
    doubling = {head - (1 << power) for power in range(head.bit_length())}
    return sorted(number for number in {1, *evenly, *doubling} if 0 < number <= head)


def _number_or_none(header: Any) -> int | None:
    return None if header is None else number_from(header)
