"""What a block shows of the subnet besides holders, money and commits; asked for when it matters.

Nothing here costs a request unless an event of the block asks for it or an epoch ran in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from chain.burns import subtensor_events
from chain.port import Block, ChainReader, ChainUnavailableError, StakeLock, ValidatorWeights
from ledger.commands.block_facts import HeldWeights, LockSeen, PoolSeen
from ledger.rules.weights import held_form

WEIGHTS_MAY_CHANGE: Final[Mapping[str, tuple[str, str]]] = {
    "WeightsSet": ("0", "1"),
    "CRV3WeightsRevealed": ("0", "1"),
    "TimelockedWeightsRevealed": ("0", "1"),
    "WeightsRevealed": ("1", "0"),
    "WeightsBatchRevealed": ("1", "0"),
    "BatchWeightsCompleted": ("0", "1"),
}
"""By event: where it names the subnet (or several), and where the validator, by UID or hotkey."""

TREASURY_STAKES: Final = frozenset(
    {
        "AlphaBurned",
        "AlphaRecycled",
        "StakeAdded",
        "StakeAndHotkeyTransferred",
        "StakeMoved",
        "StakeRemoved",
        "StakeSwapped",
        "StakeTransferred",
    }
)
"""Events after which the pool or the treasury's alpha is worth a look, if they name its address."""

LOCK_MAY_CHANGE: Final[Mapping[str, tuple[str, ...]]] = {
    "ColdkeySwapped": ("old_coldkey", "new_coldkey"),
    "LockMoved": ("coldkey",),
    "PerpetualLockUpdated": ("coldkey",),
    "StakeAndHotkeyTransferred": ("origin_coldkey", "destination_coldkey"),
    "StakeLocked": ("coldkey",),
    "StakeTransferred": ("0", "1"),
    "StakeUnlocked": ("coldkey",),
}
"""By event: where it names the coldkeys whose lock it may have touched."""

MOST_SKIPPED_EPOCHS: Final = 256
"""The rarest that a node is asked again for alpha which it could not tell."""


def alpha_told(chain: ChainReader, treasury: str, netuid: int, block_hash: str) -> int | str:
    """The treasury's alpha in the state of a block, or why nobody can tell it.

    Not every node can; one that tells the TAO beside it and fails at alpha twice is such a node.
    Raises what the chain raises where it tells neither: that is an outage, or the state is gone.
    """
    try:
        return chain.stake_alpha(treasury, netuid, block_hash)
    except ChainUnavailableError:
        chain.balance_rao(treasury, block_hash)
    try:
        return chain.stake_alpha(treasury, netuid, block_hash)
    except ChainUnavailableError as error:
        return f"the ALPHA balance of {treasury} is unknown: {error}"


@dataclass(slots=True)
class AlphaQuestions:
    """Asks for the treasury's alpha, ever more rarely of a node that cannot tell it.

    The balance is then unknown at that block; the first one after an answer is worth an alert, a
    node that never answered has had its alert at the opening. An outage is none of this, and is
    raised.
    """

    answered: bool = False
    _failures: int = 0
    _to_skip: int = 0

    def ask(self, chain: ChainReader, treasury: str, netuid: int, block: Block) -> int | str | None:
        """Alpha in 10^-9; what failed, if that is news; else None."""
        if self._to_skip:
            self._to_skip -= 1
            return None
        answer = alpha_told(chain, treasury, netuid, block.hash)
        if isinstance(answer, str):
            news = answer if self.answered else None
            self.answered = False
            self._failures += 1
            self._to_skip = min(2**self._failures, MOST_SKIPPED_EPOCHS)
            return news
        self.answered, self._failures = True, 0
        return answer


@dataclass(slots=True)
class Beside:
    """What the log knows besides the registry, moved on with each block that is gathered.

    ``held`` is each validator's last known digest and update, ``locked`` the hotkey of each
    coldkey's lock. ``burn_uid`` is the policy's; None: nothing is said about it. It
    ``burn_uid_is_new`` where another one was before, or none.
    """

    burn_uid: int | None = None
    burn_uid_is_new: bool = False
    subnet_owner: tuple[str, str] | None = None
    held: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    locked: dict[str, str] = field(default_factory=dict)
    alpha: AlphaQuestions = field(default_factory=AlphaQuestions)

    def copy(self) -> Beside:
        """A copy to gather a block with; what a node was asked in vain is shared."""
        return replace(self, held=dict(self.held), locked=dict(self.locked))


def pool_of(chain: ChainReader, netuid: int, block_hash: str) -> PoolSeen | None:
    """The pool in the state of a block."""
    found = chain.reserves(netuid, block_hash)
    if found is None:
        return None
    return PoolSeen(found.tao_rao, found.alpha_in, found.alpha_out, found.price_rao)


def treasury_staked(block: Block, treasury: str) -> bool:
    """Whether an event of the block tells of the treasury's stake or of alpha it burned."""
    return any(
        treasury in event.attributes.values()
        for event in subtensor_events(block)
        if event.name in TREASURY_STAKES
    )


def held_weights(
    chain: ChainReader,
    netuid: int,
    block: Block,
    registry: Mapping[int, tuple[str, str]],
    beside: Beside,
    *,
    all_of_them: bool,
) -> tuple[HeldWeights, ...]:
    """The weights that a block changed: of validators its events name, or (``all_of_them``) of all.

    Of the latter only what differs from what is known: an epoch looks at every row, so that a way
    of setting weights that no event tells of is noticed, and says nothing new of the others.
    """
    named = set(_uids_named(block, netuid, registry))
    if all_of_them:
        rows = list(chain.validator_weights(netuid, block.hash))
        rows += _emptied(rows, registry, beside)
    elif named:
        rows = list(chain.validator_weights(netuid, block.hash, named))
    else:
        return ()
    found = []
    for row in rows:
        held = held_from(row)
        known = (held_form(held.uids, held.values).digest, held.last_update)
        if row.uid in named or beside.held.get(row.hotkey) != known:
            found.append(held)
        beside.held[row.hotkey] = known
    return tuple(found)


def held_from(row: ValidatorWeights) -> HeldWeights:
    """A row of the chain as a block's facts have it."""
    uids, values = tuple(uid for uid, _ in row.weights), tuple(value for _, value in row.weights)
    return HeldWeights(row.hotkey, uids, values, row.last_update)


def touched_locks(
    chain: ChainReader, netuid: int, block: Block, beside: Beside
) -> tuple[LockSeen, ...]:
    """The conviction locks that a block touched, as they are after it.

    Event names and fields are those of the runtime that bittensor 11.3 is made for. Unverified
    until a recording has locks.
    """
    coldkeys = set(_coldkeys_touched(block, netuid))
    if not coldkeys:
        return ()
    found = {lock.coldkey: lock for lock in chain.stake_locks(netuid, coldkeys, block.hash)}
    seen = [_lock_seen(lock) for _, lock in sorted(found.items())]
    for coldkey in sorted(coldkeys - found.keys()):
        hotkey = beside.locked.pop(coldkey, None)
        if hotkey is not None:
            seen.append(LockSeen(coldkey, hotkey, 0, 0, block.number, False, 1, 1))
    beside.locked.update((lock.coldkey, lock.hotkey) for lock in found.values())
    return tuple(seen)


def _uids_named(
    block: Block, netuid: int, registry: Mapping[int, tuple[str, str]]
) -> Iterator[int]:
    by_hotkey = {hotkey: uid for uid, (hotkey, _) in registry.items()}
    for event in subtensor_events(block):
        places = WEIGHTS_MAY_CHANGE.get(event.name)
        if places is None:
            continue
        subnets, validator = (event.attributes[place] for place in places)
        if netuid not in (subnets if isinstance(subnets, list | tuple) else (subnets,)):
            continue
        uid = validator if isinstance(validator, int) else by_hotkey.get(str(validator))
        if uid is not None:
            yield uid


def _emptied(
    rows: list[ValidatorWeights], registry: Mapping[int, tuple[str, str]], beside: Beside
) -> list[ValidatorWeights]:
    """Validators that are registered, were known to hold weights and hold none any more."""
    nothing = held_form((), ()).digest
    there = {row.hotkey for row in rows}
    return [
        ValidatorWeights(uid, hotkey, (), beside.held[hotkey][1])
        for uid, (hotkey, _) in sorted(registry.items())
        if hotkey not in there and beside.held.get(hotkey, (nothing, None))[0] != nothing
    ]


def _coldkeys_touched(block: Block, netuid: int) -> Iterator[str]:
    for event in subtensor_events(block):
        places = LOCK_MAY_CHANGE.get(event.name, ())
        if places and _elsewhere(event.attributes, netuid):
            continue
        for place in places:
            yield str(event.attributes[place])


def _elsewhere(attributes: Mapping[str, Any], netuid: int) -> bool:
    """Whether an event names subnets, and this one is not among them."""
    tuple_like = [attributes[place] for place in ("3", "4") if place in attributes]
    named = [
        attributes[name]
        for name in ("netuid", "origin_netuid", "destination_netuid")
        if name in attributes
    ]
    subnets = named or tuple_like
    return bool(subnets) and netuid not in subnets


def _lock_seen(lock: StakeLock) -> LockSeen:
    return LockSeen(
        coldkey=lock.coldkey,
        hotkey=lock.hotkey,
        locked_alpha=lock.locked_alpha,
        conviction_alpha=lock.conviction_alpha,
        last_update=lock.last_update,
        perpetual=lock.perpetual,
        unlock_blocks=lock.unlock_blocks,
        maturity_blocks=lock.maturity_blocks,
    )
