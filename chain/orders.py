"""What this program sends to a chain, in the field's words.

An order says what is wanted; a :class:`~chain.port.ChainWriter` makes the runtime's call of it.
Each knows which key signs it and whether a call found in a block is the one that it asked for, so
that what was sent is recognised without trusting any answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from chain.encoding import bytes_as_shown, unwrap
from chain.port import Call

Role = Literal["hotkey", "coldkey"]
"""Which of a wallet's two keys signs."""

SUBTENSOR: Final = "SubtensorModule"
PLAIN_WEIGHTS: Final = frozenset(
    {"SubtensorModule.set_weights", "SubtensorModule.set_mechanism_weights"}
)
SEALED_WEIGHTS: Final = frozenset(
    {
        "SubtensorModule.commit_timelocked_weights",
        "SubtensorModule.commit_timelocked_mechanism_weights",
    }
)
MAIN_MECHANISM: Final = 0
"""The one incentive mechanism of a subnet that has no others; arenas are of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsOrder:
    """A validator's weights: u16 by UID, ascending, the largest 65,535 (DOMAIN 5)."""

    signed_by: ClassVar[Role] = "hotkey"

    netuid: int
    uids: tuple[int, ...]
    values: tuple[int, ...]
    version_key: int

    def is_call(self, call: Call) -> bool:
        """A plain call with exactly these values. A sealed one shows none: see the next."""
        args = call.args
        return (
            call.name in PLAIN_WEIGHTS
            and self._is_for(call)
            and _ints(args["dests"]) == self.uids
            and _ints(args["weights"]) == self.values
            and int(args["version_key"]) == self.version_key
        )

    def may_be_sealed_in(self, call: Call) -> bool:
        """Sealed weights of the subnet, which ones nobody can see: its hash must say the rest."""
        return call.name in SEALED_WEIGHTS and self._is_for(call)

    def _is_for(self, call: Call) -> bool:
        mechanism = int(call.args.get("mecid", MAIN_MECHANISM))
        return _of_subnet(call, self.netuid) and mechanism == MAIN_MECHANISM


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeBurnOrder:
    """Buy alpha for ``amount_rao`` and burn it, in one extrinsic (``add_stake_burn``).

    ``max_price_rao`` is rao per whole alpha; above it the extrinsic fails and nothing is bought.
    """

    signed_by: ClassVar[Role] = "coldkey"

    netuid: int
    hotkey: str
    amount_rao: int
    max_price_rao: int

    def is_call(self, call: Call) -> bool:
        """The call with exactly these arguments."""
        return (
            call.name == "SubtensorModule.add_stake_burn"
            and _of_subnet(call, self.netuid)
            and call.args["hotkey"] == self.hotkey
            and int(call.args["amount"]) == self.amount_rao
            and _int_or_none(call.args["limit"]) == self.max_price_rao
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StakeOrder:
    """Buy alpha for the whole of ``amount_rao`` or not at all (``add_stake_limit``).

    For runtimes without ``add_stake_burn``; ``max_price_rao`` is rao per whole alpha.
    """

    signed_by: ClassVar[Role] = "coldkey"

    netuid: int
    hotkey: str
    amount_rao: int
    max_price_rao: int

    def is_call(self, call: Call) -> bool:
        """The call with exactly these arguments."""
        return (
            call.name == "SubtensorModule.add_stake_limit"
            and _of_subnet(call, self.netuid)
            and call.args["hotkey"] == self.hotkey
            and int(call.args["amount_staked"]) == self.amount_rao
            and int(call.args["limit_price"]) == self.max_price_rao
            and not call.args["allow_partial"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnOrder:
    """Burn ``amount_alpha`` (10^-9) of the signer's stake on a hotkey (``burn_alpha``)."""

    signed_by: ClassVar[Role] = "coldkey"

    netuid: int
    hotkey: str
    amount_alpha: int

    def is_call(self, call: Call) -> bool:
        """The call with exactly these arguments."""
        return (
            call.name == "SubtensorModule.burn_alpha"
            and _of_subnet(call, self.netuid)
            and call.args["hotkey"] == self.hotkey
            and int(call.args["amount"]) == self.amount_alpha
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeOrder:
    """A submission fee: ``batch_all`` of one ``transfer_keep_alive`` and one remark (DOMAIN 2)."""

    signed_by: ClassVar[Role] = "coldkey"

    destination: str
    amount_rao: int
    remark: str

    def is_call(self, call: Call) -> bool:
        """The batch with exactly these two calls, in this order."""
        if call.name != "Utility.batch_all" or len(call.children) != 2:
            return False
        transfer, remark = call.children
        return (
            transfer.name == "Balances.transfer_keep_alive"
            and transfer.args["dest"] == self.destination
            and int(transfer.args["value"]) == self.amount_rao
            and remark.name == "System.remark"
            and bytes_as_shown(remark.args["remark"]) == self.remark.encode()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitOrder:
    """A hotkey's commitment of ``payload``, plain or timelocked (DOMAIN 1).

    ``reveal_in_blocks`` None is plain; otherwise the runtime reveals it about that many blocks
    later, when its drand round arrives.
    """

    signed_by: ClassVar[Role] = "hotkey"

    netuid: int
    payload: bytes
    reveal_in_blocks: int | None = None

    def is_call(self, call: Call) -> bool:
        """The commitment of exactly this payload; a sealed one cannot be looked into."""
        if call.name != "Commitments.set_commitment" or not _of_subnet(call, self.netuid):
            return False
        fields = [_field(entry) for entry in call.args["info"]["fields"]]
        sealed = any("TimelockEncrypted" in entry for entry in fields)
        if self.reveal_in_blocks is not None or sealed:
            return sealed and self.reveal_in_blocks is not None
        joined = b"".join(
            bytes_as_shown(value or b"") for entry in fields for value in entry.values()
        )
        return unwrap(joined) == unwrap(self.payload)


Order = WeightsOrder | StakeBurnOrder | StakeOrder | BurnOrder | FeeOrder | CommitOrder


def _of_subnet(call: Call, netuid: int) -> bool:
    return int(call.args.get("netuid", -1)) == netuid


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _int_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


def _field(entry: Any) -> dict[str, Any]:
    """One field of a commitment; older codecs wrap it into a one-tuple."""
    inner = entry[0] if isinstance(entry, list | tuple) and len(entry) == 1 else entry
    return dict(inner) if isinstance(inner, dict) else {}
