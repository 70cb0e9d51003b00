"""The typed view of storage: whose money, whose UID, whose weights, in the state of one block."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from chain.port import EpochRow, Neuron, StakeLock
from chain.simulated.accounts import public_key
from chain.simulated.storage import Item, Layer, Reads

REVEALS_KEPT = 10
"""``RevealedCommitments`` keeps the last ten of a hotkey (DOMAIN 1)."""


class Pool(msgspec.Struct, frozen=True):
    """The reserves of the subnet's pool: rao, and alpha in units of 10^-9."""

    tao_rao: int
    alpha: int


class WeightsSet(msgspec.Struct, frozen=True):
    """What a validator set and in which block; zero entries left out."""

    block: int
    weights: tuple[tuple[int, int], ...]


class Timelocked(msgspec.Struct, frozen=True):
    """A commitment nobody can read before its round; both its parts are on chain."""

    encrypted: str
    reveal_round: int
    due_block: int


class Revealed(msgspec.Struct, frozen=True):
    """One entry of ``RevealedCommitments``: payload in ``0x`` hex and the block of its reveal."""

    payload: str
    block: int


class LatestEpoch(msgspec.Struct, frozen=True):
    """The rows of the newest epoch and the block it ran in, and what it paid to the owner.

    ``owner_cut_alpha`` is None in files of before it was kept.
    """

    block: int
    rows: tuple[EpochRow, ...]
    owner_cut_alpha: int | None = None


class Total(StrEnum):
    """Running sums that close the books of the chain."""

    FEES_RAO = "fees_rao"
    BOUGHT_BURNED_ALPHA = "bought_burned_alpha"
    INCENTIVE_BURNED_ALPHA = "incentive_burned_alpha"
    UNPAID_ALPHA = "unpaid_alpha"


class Supply(msgspec.Struct, frozen=True):
    """Where all TAO (rao) and all alpha (10^-9) are. Both sums are conserved:

    balances + fees + pool TAO never changes; staked + pool + burned + unpaid alpha grows by
    ``Genesis.epoch_alpha`` at each epoch and by nothing else.
    """

    balances_rao: int
    fees_rao: int
    pool_tao_rao: int
    staked_alpha: int
    pool_alpha: int
    bought_burned_alpha: int
    incentive_burned_alpha: int
    unpaid_alpha: int

    @property
    def tao_rao(self) -> int:
        """All TAO there is."""
        return self.balances_rao + self.fees_rao + self.pool_tao_rao

    @property
    def alpha(self) -> int:
        """All alpha ever made, burned and unpaid included."""
        burned = self.bought_burned_alpha + self.incentive_burned_alpha
        return self.staked_alpha + self.pool_alpha + burned + self.unpaid_alpha


class WorldView:
    """Reading the state of one block."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def _int(self, item: Item, key: str) -> int:
        return int(self._reads.value(item, key) or 0)

    def balance_rao(self, address: str) -> int:
        """Free TAO; 0 for an address the chain never saw, as on a real one."""
        return self._int(Item.BALANCE, address)

    def nonce(self, address: str) -> int:
        """How many extrinsics the address has signed."""
        return self._int(Item.NONCE, address)

    def owner(self, hotkey: str) -> str | None:
        """The coldkey of a hotkey; it outlives the hotkey's registration."""
        return self._reads.value(Item.OWNER, hotkey)

    def hotkeys_of(self, coldkey: str) -> list[str]:
        """All hotkeys a coldkey owns."""
        prefix = f"{coldkey}/"
        return [key.removeprefix(prefix) for key in self._reads.entries(Item.OWNED, prefix)]

    def neurons(self) -> list[Neuron]:
        """All UIDs and their holders, by UID."""
        owners = self._reads.entries(Item.OWNER)
        held = self._reads.entries(Item.NEURON)
        return [Neuron(int(uid), hotkey, owners[hotkey]) for uid, hotkey in held.items()]

    def hotkey_at(self, uid: int) -> str | None:
        """Who holds a UID."""
        return self._reads.value(Item.NEURON, f"{uid:05d}")

    def uid_of(self, hotkey: str) -> int | None:
        """The UID a hotkey holds, None if it is not registered."""
        uid = self._reads.value(Item.UID, hotkey)
        return None if uid is None else int(uid)

    def has_permit(self, uid: int) -> bool:
        """Whether the UID's holder may set weights."""
        return self._reads.value(Item.PERMIT, str(uid)) is not None

    def weights(self, uid: int) -> WeightsSet | None:
        """What the UID's holder set last."""
        stored = self._reads.value(Item.WEIGHTS, str(uid))
        return None if stored is None else msgspec.json.decode(stored, type=WeightsSet)

    def stake_alpha(self, coldkey: str) -> int:
        """Alpha a coldkey holds, all hotkeys together."""
        return sum(map(int, self._reads.entries(Item.STAKE, f"{coldkey}/").values()))

    def stake_on(self, coldkey: str, hotkey: str) -> int:
        """Alpha a coldkey holds on one hotkey."""
        return self._int(Item.STAKE, f"{coldkey}/{hotkey}")

    def stake_lock(self, coldkey: str) -> StakeLock | None:
        """The conviction lock of a coldkey, as its last touch left it."""
        stored = self._reads.value(Item.LOCK, coldkey)
        return None if stored is None else msgspec.json.decode(stored, type=StakeLock)

    def pool(self) -> Pool:
        """The pool's reserves."""
        return msgspec.json.decode(self._required(Item.POOL, ""), type=Pool)

    def subnet_owner(self) -> tuple[str, str]:
        """(hotkey, coldkey) of the subnet's owner."""
        return msgspec.json.decode(self._required(Item.SUBNET_OWNER, ""), type=tuple[str, str])

    def timelocked(self, hotkey: str) -> Timelocked | None:
        """The hotkey's commitment if it is one that waits for its reveal."""
        stored = self._reads.value(Item.COMMITMENT, hotkey)
        return msgspec.json.decode(stored, type=Timelocked) if stored else None

    def reveals_due(self, block: int) -> list[str]:
        """Hotkeys whose commitment reveals in ``block``, by public key as the runtime goes."""
        return [key.rsplit("/", 1)[1] for key in self._reads.entries(Item.REVEAL_DUE, f"{block}/")]

    def revealed(self, hotkey: str) -> list[Revealed]:
        """The hotkey's last reveals, oldest first."""
        stored = self._reads.value(Item.REVEALED, hotkey)
        return [] if stored is None else msgspec.json.decode(stored, type=list[Revealed])

    def latest_epoch(self) -> LatestEpoch | None:
        """The newest epoch that has run."""
        stored = self._reads.value(Item.EPOCH, "")
        return None if stored is None else msgspec.json.decode(stored, type=LatestEpoch)

    def supply(self) -> Supply:
        """Where all TAO and alpha are."""
        pool = self.pool()
        return Supply(
            balances_rao=sum(map(int, self._reads.entries(Item.BALANCE).values())),
            fees_rao=self._int(Item.TOTAL, Total.FEES_RAO),
            pool_tao_rao=pool.tao_rao,
            staked_alpha=sum(map(int, self._reads.entries(Item.STAKE).values())),
            pool_alpha=pool.alpha,
            bought_burned_alpha=self._int(Item.TOTAL, Total.BOUGHT_BURNED_ALPHA),
            incentive_burned_alpha=self._int(Item.TOTAL, Total.INCENTIVE_BURNED_ALPHA),
            unpaid_alpha=self._int(Item.TOTAL, Total.UNPAID_ALPHA),
        )

    def _required(self, item: Item, key: str) -> str:
        stored = self._reads.value(item, key)
        if stored is None:
            msg = f"the simulated chain's file holds no {item.value}; it was not made by this code"
            raise ValueError(msg)
        return stored


class World(WorldView):
    """Reading and writing the state of the block being made."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.layer = layer

    def change_balance(self, address: str, rao: int) -> None:
        """Add to a balance; the caller has made sure that it does not fall below zero."""
        self.layer.put(Item.BALANCE, address, str(self.balance_rao(address) + rao))

    def count_nonce(self, address: str) -> None:
        """One more extrinsic signed by the address."""
        self.layer.put(Item.NONCE, address, str(self.nonce(address) + 1))

    def add_total(self, total: Total, amount: int) -> None:
        """Add to a running sum."""
        self.layer.put(Item.TOTAL, total, str(self._int(Item.TOTAL, total) + amount))

    def set_owner(self, hotkey: str, coldkey: str) -> None:
        """Give a hotkey to a coldkey."""
        before = self.owner(hotkey)
        if before is not None:
            self.layer.put(Item.OWNED, f"{before}/{hotkey}", None)
        self.layer.put(Item.OWNER, hotkey, coldkey)
        self.layer.put(Item.OWNED, f"{coldkey}/{hotkey}", "")

    def set_neuron(self, uid: int, hotkey: str) -> None:
        """Give a UID to a hotkey. The holder before loses registration, permit and weights."""
        before = self.hotkey_at(uid)
        if before is not None:
            self.layer.put(Item.UID, before, None)
        self.layer.put(Item.PERMIT, str(uid), None)
        self.layer.put(Item.WEIGHTS, str(uid), None)
        self.layer.put(Item.NEURON, f"{uid:05d}", hotkey)
        self.layer.put(Item.UID, hotkey, str(uid))

    def swap_neuron(self, uid: int, hotkey: str) -> None:
        """Give a UID to a hotkey that takes over permit and weights of its holder."""
        self.layer.put(Item.UID, self._required(Item.NEURON, f"{uid:05d}"), None)
        self.layer.put(Item.NEURON, f"{uid:05d}", hotkey)
        self.layer.put(Item.UID, hotkey, str(uid))

    def empty_neuron(self, uid: int) -> None:
        """Nobody holds the UID from here on."""
        self.layer.put(Item.UID, self._required(Item.NEURON, f"{uid:05d}"), None)
        self.layer.put(Item.PERMIT, str(uid), None)
        self.layer.put(Item.WEIGHTS, str(uid), None)
        self.layer.put(Item.NEURON, f"{uid:05d}", None)

    def set_stake_lock(self, lock: StakeLock) -> None:
        """A coldkey's lock from here on."""
        self.layer.put(Item.LOCK, lock.coldkey, _json(lock))

    def give_permit(self, uid: int) -> None:
        """Let the UID's holder set weights."""
        self.layer.put(Item.PERMIT, str(uid), "")

    def set_weights(self, uid: int, weights: WeightsSet) -> None:
        """Keep what the UID's holder set."""
        self.layer.put(Item.WEIGHTS, str(uid), _json(weights))

    def add_stake(self, coldkey: str, hotkey: str, alpha: int) -> None:
        """Add to the stake of a coldkey on a hotkey."""
        key = f"{coldkey}/{hotkey}"
        self.layer.put(Item.STAKE, key, str(self._int(Item.STAKE, key) + alpha))

    def move_stakes(self, old: str, new: str) -> None:
        """Make all stake of one coldkey another's."""
        for key, alpha in self._reads.entries(Item.STAKE, f"{old}/").items():
            self.layer.put(Item.STAKE, key, None)
            self.add_stake(new, key.removeprefix(f"{old}/"), int(alpha))

    def set_pool(self, pool: Pool) -> None:
        """The pool's reserves from here on."""
        self.layer.put(Item.POOL, "", _json(pool))

    def set_subnet_owner(self, hotkey: str, coldkey: str) -> None:
        """The subnet's owner from here on."""
        self.layer.put(Item.SUBNET_OWNER, "", _json((hotkey, coldkey)))

    def set_commitment(self, hotkey: str, timelocked: Timelocked | None) -> None:
        """The hotkey's one commitment from here on; one that waited for its reveal is gone."""
        before = self.timelocked(hotkey)
        if before is not None:
            self.layer.put(Item.REVEAL_DUE, _due_key(hotkey, before), None)
        if timelocked is None:
            self.layer.put(Item.COMMITMENT, hotkey, "")
            return
        self.layer.put(Item.COMMITMENT, hotkey, _json(timelocked))
        self.layer.put(Item.REVEAL_DUE, _due_key(hotkey, timelocked), "")

    def reveal(self, hotkey: str, revealed: Revealed) -> None:
        """Keep a reveal; the commitment itself is gone, as on the real chain."""
        kept = [*self.revealed(hotkey), revealed][-REVEALS_KEPT:]
        self.layer.put(Item.REVEALED, hotkey, _json(kept))
        self.set_commitment(hotkey, None)
        self.layer.put(Item.COMMITMENT, hotkey, None)

    def set_epoch(self, epoch: LatestEpoch) -> None:
        """Keep what an epoch paid."""
        self.layer.put(Item.EPOCH, "", _json(epoch))


def _due_key(hotkey: str, timelocked: Timelocked) -> str:
    return f"{timelocked.due_block}/{public_key(hotkey)}/{hotkey}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
