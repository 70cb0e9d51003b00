"""Who holds which UID, what epochs pay them, and the vectors a validator sends."""

from __future__ import annotations

from functools import partial

from benchmarks.year.mix import (
    COLDKEY_SWAPS_PER_DAY,
    EPOCH_DIVIDENDS_ALPHA,
    EPOCH_EVERY_BLOCKS,
    EPOCH_INCENTIVE_ALPHA,
    FIRST_MINER_UID,
    REGISTRATIONS_PER_DAY,
    UIDS,
)
from benchmarks.year.world import Tick, World, made_hash
from chain.simulated.accounts import account
from ledger.application import Unit
from ledger.commands.block_facts import (
    EpochPaid,
    NeuronChange,
    OpeningState,
    OwnerChange,
)
from ledger.commands.causes import after
from ledger.observations import WeightsReadBack, WeightsReceipt, WeightsSubmitted
from ledger.rules.weights import Throne, WeightVector, compute_vector

VALIDATOR_UID = 1
VERSION_KEY = 1
_JITTER = 997


class Subnet:
    """The 256 UIDs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.hotkeys = [account(f"hotkey-{uid}") for uid in range(UIDS)]
        self.coldkeys = [account(f"coldkey-{uid}") for uid in range(UIDS)]
        self._came = UIDS
        draw = world.random.randint
        self._incentive = _parts([draw(10, 1_000) for _ in range(UIDS)], EPOCH_INCENTIVE_ALPHA)
        validators = [draw(10, 1_000) if uid < FIRST_MINER_UID else 0 for uid in range(UIDS)]
        self._dividends = _parts(validators, EPOCH_DIVIDENDS_ALPHA)
        world.every(EPOCH_EVERY_BLOCKS, self._epoch)
        world.often(REGISTRATIONS_PER_DAY, self._register)
        world.often(COLDKEY_SWAPS_PER_DAY, self._swap)

    def opening(self, block_hash: str) -> OpeningState:
        """The state the arena opens with."""
        neurons = tuple(
            NeuronChange(uid, hotkey, coldkey, None)
            for uid, (hotkey, coldkey) in enumerate(zip(self.hotkeys, self.coldkeys, strict=True))
        )
        return OpeningState(block_hash, neurons, (self.hotkeys[0], self.coldkeys[0]))

    def a_miner(self) -> int:
        """A miner's UID, drawn."""
        return self._world.random.randrange(FIRST_MINER_UID, UIDS)

    def holds(self, hotkey: str) -> bool:
        """Whether the hotkey is registered."""
        return hotkey in self.hotkeys

    # -- registry -------------------------------------------------------------------------------

    def _register(self, tick: Tick) -> None:
        uid = self.a_miner()
        if any(change.uid == uid for change in tick.neurons):
            return
        replaced = self.hotkeys[uid]
        self.hotkeys[uid] = account(f"hotkey-{self._came}")
        self.coldkeys[uid] = account(f"coldkey-{self._came}")
        self._came += 1
        new = NeuronChange(uid, self.hotkeys[uid], self.coldkeys[uid], replaced)
        tick.neurons.append(new)

    def _swap(self, tick: Tick) -> None:
        uid = self.a_miner()
        if tick.neurons or tick.owners:
            return
        old, new = self.coldkeys[uid], account(f"coldkey-{uid}-{tick.number}")
        self.coldkeys[uid] = new
        tick.owners.append(OwnerChange(self.hotkeys[uid], old, new))

    # -- epochs and weights -----------------------------------------------------------------------

    def _epoch(self, tick: Tick) -> None:
        number = tick.number
        tick.epoch = EpochPaid(
            tuple(range(UIDS)),
            tuple(self.hotkeys),
            tuple(self.coldkeys),
            tuple(part + (number + uid) % _JITTER for uid, part in enumerate(self._incentive)),
            tuple(part + number % _JITTER if part else 0 for part in self._dividends),
        )
        tick.then.append(partial(self._send, number))

    def vector(self, block: int) -> WeightVector:
        """The vector at the arena's present state."""
        arena = self._world.ledger.arena_state()
        policy = arena.policy_at(block)
        thrones = {}
        for track in policy.tracks:
            king, second = arena.kings.get(track), arena.runners_up.get(track)
            thrones[track] = Throne(
                track,
                king.hotkey if king else None,
                king.score_ppm if king else None,
                second.hotkey if second else None,
                second.score_ppm if second else None,
            )
        return compute_vector(
            block,
            policy,
            thrones,
            {hotkey: uid for uid, hotkey in enumerate(self.hotkeys)},
            burn_uid=policy.weights.burn_uid,
            emission_paused="emission" in arena.paused,
        )

    def _send(self, block: int) -> None:
        vector = self.vector(block)
        share = dict(vector.shares)
        holder = {line.uid: line.hotkey for line in vector.explained}
        validator = self.hotkeys[VALIDATOR_UID]

        def note(unit: Unit) -> WeightsSubmitted:
            unit.context = after(unit, unit.arena)
            return unit.observe(
                WeightsSubmitted,
                f"weights-sent:{unit.context.arena}:{validator}:{block}:{vector.digest}",
                for_block=block,
                validator_hotkey=validator,
                uids=vector.uids,
                hotkeys=tuple(holder.get(uid) or "" for uid in vector.uids),
                shares_ppm=tuple(share[uid] for uid in vector.uids),
                values=vector.values,
                digest=vector.digest,
                version_key=VERSION_KEY,
                reason=f"{EPOCH_EVERY_BLOCKS} blocks old",
                nonce=block // EPOCH_EVERY_BLOCKS,
                sent_after=block,
            )

        sent = self._world.ledger.decide(note)
        self._world.at(block + 1, partial(self._landed, sent))

    def _landed(self, sent: WeightsSubmitted, tick: Tick) -> None:
        def note(unit: Unit) -> None:
            unit.because(sent)
            receipt = unit.observe(
                WeightsReceipt,
                sent.receipt_key,
                for_block=sent.for_block,
                validator_hotkey=sent.validator_hotkey,
                digest=sent.digest,
                block=tick.number,
                extrinsic_hash=made_hash("weights", tick.number),
                success=True,
                error=None,
            )
            unit.because(receipt)
            unit.observe(
                WeightsReadBack,
                f"weights-held:{unit.context.arena}:{sent.validator_hotkey}:{tick.number}",
                block=tick.number,
                validator_hotkey=sent.validator_hotkey,
                uids=sent.uids,
                values=sent.values,
                digest=sent.digest,
            )

        def record() -> None:
            self._world.ledger.decide(note)

        tick.then.append(record)


def _parts(weights: list[int], total: int) -> list[int]:
    whole = sum(weights)
    return [total * weight // whole for weight in weights]
