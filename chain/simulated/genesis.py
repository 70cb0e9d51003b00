"""What a simulated season starts from, and the rules its one subnet keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from chain.port import ChainError
from chain.simulated.accounts import blake2b_256, hex_hash

EXISTENTIAL_DEPOSIT_RAO = 500
"""What ``transfer_keep_alive`` leaves with its sender, as on the main network."""


class ScriptError(ChainError):
    """A genesis or a script that cannot be played; the message says which part."""


@dataclass(frozen=True, slots=True)
class GenesisNeuron:
    """Who holds a UID from the first block on; the UID is its place in ``Genesis.neurons``."""

    hotkey: str
    coldkey: str
    validator_permit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """The first block's state and the subnet's parameters.

    Money is rao, alpha its units of 10^-9. ``name`` seeds the genesis hash (its blake2b-256);
    ``start_block`` is the number of the first block there is, so that a season can begin near a
    chosen height. ``epoch_alpha`` is minted at every epoch. Raises :class:`ScriptError` for what
    cannot be.
    """

    name: str
    netuid: int
    owner_hotkey: str
    owner_coldkey: str
    balances_rao: Mapping[str, int]
    neurons: tuple[GenesisNeuron, ...]
    pool_tao_rao: int
    pool_alpha: int
    epoch_alpha: int
    tempo: int = 360
    max_uids: int = 256
    fee_rao: int = 124_000
    weights_rate_limit_blocks: int = 100
    version_key: int = 0
    start_block: int = 0
    start_ms: int = 1_750_000_000_000
    block_ms: int = 12_000

    def __post_init__(self) -> None:
        # A plain dict of our own: the caller's may change, and the fingerprint encodes it.
        object.__setattr__(self, "balances_rao", dict(self.balances_rao))
        hotkeys = [neuron.hotkey for neuron in self.neurons]
        wrong = {
            "no neuron may appear twice": len(set(hotkeys)) != len(hotkeys),
            "there are more neurons than max_uids": len(hotkeys) > self.max_uids,
            "both pool reserves must be positive": min(self.pool_tao_rao, self.pool_alpha) <= 0,
            "tempo must be at least 1": self.tempo < 1,
            "no amount may be negative": min(
                self.fee_rao, self.epoch_alpha, self.start_block, *self.balances_rao.values(), 0
            )
            < 0,
        }
        for reason, holds in wrong.items():
            if holds:
                msg = f"the genesis '{self.name}' cannot be: {reason}"
                raise ScriptError(msg)

    @property
    def hash(self) -> str:
        """The hash that names the chain, whatever ``start_block`` is."""
        return hex_hash(self.name.encode())

    def fingerprint(self) -> str:
        """A digest over every field: a chain's file opens only under the genesis it began with."""
        document = msgspec.json.encode(dataclasses.asdict(self), order="deterministic")
        return blake2b_256(document).hex()

    def timestamp_ms(self, number: int) -> int:
        """The time a block carries: ``block_ms`` apart, no clock involved."""
        return self.start_ms + (number - self.start_block) * self.block_ms

    def epoch_runs_at(self, number: int) -> bool:
        """The recorded runtime's rule (cassette README 9). Consumers observe epochs instead."""
        if number == self.start_block:
            return False
        return (number + self.netuid + 1) % (self.tempo + 1) == self.tempo
