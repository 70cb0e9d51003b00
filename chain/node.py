"""A real subtensor node, read through substrate-interface 1.8.1 and bittensor 11.3.

:class:`NodeChain` is the reading half of :mod:`chain.port`. It does not write: what it would send
cannot be tried against a recording, and a writer that has never run would be a promise only.

Every read names its block and has a deadline. What the node cannot answer (no connection, no answer
in time, an error of its own, pruned state) is :class:`~chain.port.ChainUnavailableError`; what it
answers with "there is no such block" is :class:`~chain.port.UnknownBlockError`. No default stands
in for an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from chain.commits import committed_bytes, plain_commits, unshown_commits
from chain.node_connection import NodeConnection, Parse, T
from chain.node_decode import (
    account,
    events_from,
    extrinsic_from,
    revealed_bytes,
    revealed_hotkeys,
    timestamp_ms,
)
from chain.node_epoch import split_emission
from chain.port import (
    Block,
    BlockRef,
    ChainUnavailableError,
    Commit,
    Epoch,
    EpochRow,
    Neuron,
    UnknownBlockError,
    ValidatorWeights,
)


class NodeChain:
    """:class:`~chain.port.ChainReader` over one node's WebSocket (``ws://`` or ``wss://``).

    ``timeout_s`` bounds each wait for the node. Safe to share between threads.
    """

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self._node = NodeConnection(url, timeout_s)
        self.place = self._node.place
        self._finalized: BlockRef | None = None

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        self._node.close()

    # --- blocks ---------------------------------------------------------------------------------

    def genesis_hash(self) -> str:
        """The hash of block 0."""
        return self._hash_of(0)

    def finalized_head(self) -> BlockRef:
        """The newest finalized block the node knows."""
        head = self._node.rpc("chain_getFinalizedHead", [], _hash)
        self._finalized = BlockRef(self._header_number(head), head)
        return self._finalized

    def block_ref(self, block_hash: str) -> BlockRef:
        """The finalized block of that hash; a block on a fork or not final yet is unknown."""
        wanted = block_hash.lower()
        number = self._header_number(wanted)
        self._check_finalized(number, wanted)
        if self._hash_of(number) != wanted:
            msg = f"block {wanted} is not on the finalized chain of {self.place}"
            raise UnknownBlockError(msg)
        return BlockRef(number, wanted)

    def block(self, number: int) -> Block:
        """The finalized block of that number, decoded by the runtime that made it."""
        self._check_finalized(number, f"number {number}")
        block_hash = self._hash_of(number)

        def read(node: Any) -> Block | None:
            decoded = node.get_block(block_hash=block_hash)
            if decoded is None:
                return None
            events = events_from([record.value for record in node.get_events(block_hash)])
            extrinsics = tuple(
                extrinsic_from(index, item.value, events, self._node.error_name)
                for index, item in enumerate(decoded["extrinsics"])
            )
            return Block(
                number=number,
                hash=block_hash,
                parent_hash=_hash(decoded["header"]["parentHash"]),
                timestamp_ms=timestamp_ms(extrinsics),
                spec_version=int(node.runtime_version),
                extrinsics=extrinsics,
                events=events,
            )

        block = self._node.ask(f"block {number}", read)
        if block is None:
            msg = f"{self.place} knows block {number} but no longer holds it; ask an archive node"
            raise ChainUnavailableError(msg)
        return block

    def _hash_of(self, number: int) -> str:
        block_hash = self._node.rpc("chain_getBlockHash", [number], _hash_or_none)
        if block_hash is None:
            self._deny(f"block {number}")
        return block_hash

    def _header_number(self, block_hash: str) -> int:
        number = self._node.rpc("chain_getHeader", [block_hash], _number_or_none)
        if number is None:
            self._deny(f"block {block_hash}")
        return number

    def _check_finalized(self, number: int, what: str) -> None:
        head = self._finalized
        if head is None or number > head.number:
            head = self.finalized_head()
        if number > head.number:
            msg = f"block {what} is not finalized at {self.place}, whose head is {head.number}"
            raise UnknownBlockError(msg)

    def _deny(self, what: str) -> NoReturn:
        """A node still catching up does not know what it lacks: it defers, it never refuses."""
        if self._node.rpc("system_health", [], lambda health: bool(health["isSyncing"])):
            msg = f"{self.place} is still syncing and does not have {what} yet; ask again later"
            raise ChainUnavailableError(msg)
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
        emission, incentive, dividends = (
            self._subnet(name, netuid, block.hash, _whole_numbers)
            for name in ("Emission", "Incentive", "Dividends")
        )
        permits = self._subnet("ValidatorPermit", netuid, block.parent_hash, _flags)
        neurons = self.neurons(netuid, block.parent_hash)
        if [neuron.uid for neuron in neurons] != list(range(len(emission))):
            msg = (
                f"{self.place} holds {len(neurons)} UIDs before block {block.number} but its epoch "
                f"paid {len(emission)}"
            )
            raise ChainUnavailableError(msg)
        try:
            parts = split_emission(emission, incentive, dividends, permits)
        except ValueError as error:
            msg = f"the epoch of block {block.number} from {self.place} cannot be read: {error}"
            raise ChainUnavailableError(msg) from error
        rows = (
            EpochRow(neuron.uid, neuron.hotkey, neuron.coldkey, *part)
            for neuron, part in zip(neurons, parts, strict=True)
        )
        return Epoch(block=block.ref, rows=tuple(rows))

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

        number = self.block_ref(block_hash).number
        return self._node.ask_bittensor(number, "stake_for_coldkey", parse, coldkey_ss58=coldkey)

    def validator_weights(self, netuid: int, block_hash: str) -> Sequence[ValidatorWeights]:
        """Rows of ``Weights``, u16 as the chain holds them; zeros and empty rows are left out."""
        hotkeys = self._node.query_map("SubtensorModule", "Keys", [netuid], block_hash, str)
        rows = self._node.query_map("SubtensorModule", "Weights", [netuid], block_hash, _weights)
        missing = [uid for uid, row in rows.items() if row and uid not in hotkeys]
        if missing:
            msg = (
                f"{self.place} holds weights of UID {missing[0]} at {block_hash} but not its hotkey"
            )
            raise ChainUnavailableError(msg)
        return [ValidatorWeights(u, hotkeys[u], row) for u, row in sorted(rows.items()) if row]

    def _subnet(self, name: str, netuid: int, block_hash: str, parse: Parse[T]) -> T:
        return self._node.query("SubtensorModule", name, [netuid], block_hash, parse)


def _hash(value: Any) -> str:
    if not isinstance(value, str):
        msg = f"{value!r} is no block hash"
        raise TypeError(msg)
    return value.lower()


def _hash_or_none(value: Any) -> str | None:
    return None if value is None else _hash(value)


def _number_or_none(header: Any) -> int | None:
    return None if header is None else int(header["number"], 16)


def _whole_numbers(values: Any) -> list[int]:
    return [int(value) for value in values]


def _flags(values: Any) -> list[bool]:
    return [bool(value) for value in values]


def _weights(row: Any) -> tuple[tuple[int, int], ...]:
    return tuple((int(uid), int(weight)) for uid, weight in row if int(weight))
