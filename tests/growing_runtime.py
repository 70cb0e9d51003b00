"""What the growing node's blocks do: the effects and events of the few calls this program sends.

Not a runtime: each call here changes the storage and leaves the events that spec 293 was recorded
to leave for it, encoded by substrate-interface against the recorded metadata. Checks are those a
sender has to get right; whatever else a runtime checks is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ledger.rules.u16 import max_upscale_to_u16

FEE_RAO = 124_000
"""Taken for every call but those the runtime does not charge."""
WITHOUT_FEE = frozenset({"SubtensorModule.set_weights", "Commitments.set_commitment"})


class DispatchFailureError(Exception):
    """A call failed: the pallet and its error, as the metadata names them."""

    def __init__(self, module: str, name: str) -> None:
        super().__init__(f"{module}.{name}")
        self.module = module
        self.name = name


class State(Protocol):
    """The node's state and the library's encoding of it."""

    codec: Any

    def key(self, module: str, item: str, params: list[Any]) -> str: ...
    def encoded(self, module: str, item: str, value: Any) -> str | None: ...
    def decoded(self, module: str, item: str, raw: str | None) -> Any: ...
    def current(self, key: str) -> str | None: ...


class Run:
    """One block being made on the state of the newest one: what it changes, what it emits."""

    def __init__(self, state: State, number: int) -> None:
        self.number = number
        self.changes: dict[str, str | None] = {}
        self.records: list[dict[str, Any]] = []
        self._state = state
        self._index = 0

    def inherent(self) -> None:
        """The timestamp, first in every block."""
        self._finish(None, "Mandatory")

    def apply(
        self, index: int, extrinsic: Mapping[str, Any], fail_with: DispatchFailureError | None
    ) -> None:
        """One signed extrinsic: nonce and fee stay, what a failed call did does not."""
        self._index = index
        signer, call = str(extrinsic["address"]), extrinsic["call"]
        account = self.read("System", "Account", [signer])
        account["nonce"] += 1
        self.write("System", "Account", [signer], account)
        fee_rao = fee_of(call)
        if fee_rao:
            move_balance(self, signer, -fee_rao)
            self.emit("Balances", "Withdraw", {"who": signer, "amount": fee_rao})
        changes, count = dict(self.changes), len(self.records)
        failure: DispatchFailureError | None = fail_with
        if failure is None:
            try:
                dispatch(self, signer, call)
            except DispatchFailureError as error:
                failure = error
        if failure is not None:
            self.changes = changes
            del self.records[count:]
        paid = {"who": signer, "actual_fee": fee_rao, "tip": 0}
        self.emit("TransactionPayment", "TransactionFeePaid", paid)
        self._finish(failure, "Normal")

    def read(self, module: str, item: str, params: list[Any]) -> Any:
        """A storage value, decoded, with what this block changed."""
        key = self._state.key(module, item, params)
        raw = self.changes[key] if key in self.changes else self._state.current(key)
        return self._state.decoded(module, item, raw)

    def write(self, module: str, item: str, params: list[Any], value: Any) -> None:
        """Set a storage value; the library encodes it."""
        key = self._state.key(module, item, params)
        self.changes[key] = self._state.encoded(module, item, value)

    def emit(self, module: str, name: str, attributes: Any) -> None:
        """Leave an event of the extrinsic that runs."""
        phase = {"ApplyExtrinsic": self._index}
        event = {module: {name: attributes}}
        self.records.append({"phase": phase, "event": event, "topics": []})

    def _finish(self, failure: DispatchFailureError | None, kind: str) -> None:
        weight = {"ref_time": 1, "proof_size": 0}
        info = {"weight": weight, "class": kind, "pays_fee": "Yes"}
        if failure is None:
            self.emit("System", "ExtrinsicSuccess", {"dispatch_info": info})
            return
        pallet = self._state.codec.metadata.get_metadata_pallet(failure.module)
        names = [error.name for error in pallet.errors]
        code = f"0x{names.index(failure.name):02x}000000"
        error = {"Module": {"index": pallet.value["index"], "error": code}}
        attributes = {"dispatch_error": error, "dispatch_info": info}
        self.emit("System", "ExtrinsicFailed", attributes)


Dispatch = Callable[[Run, str, Mapping[str, Any]], None]


def fee_of(call: Mapping[str, Any]) -> int:
    """What the signer pays for the extrinsic, in rao."""
    name = f"{call['call_module']}.{call['call_function']}"
    return 0 if name in WITHOUT_FEE else FEE_RAO


def set_weights(block: Run, signer: str, args: Mapping[str, Any]) -> None:
    """The checks of spec 293 that a sender can fail, then the row and the last update."""
    netuid = args["netuid"]
    uid = block.read("SubtensorModule", "Uids", [netuid, signer])
    if uid is None:
        raise DispatchFailureError("SubtensorModule", "HotKeyNotRegisteredInSubNet")
    if args["version_key"] < block.read("SubtensorModule", "WeightsVersionKey", [netuid]):
        raise DispatchFailureError("SubtensorModule", "IncorrectWeightVersionKey")
    updates = list(block.read("SubtensorModule", "LastUpdate", [netuid]))
    limit = block.read("SubtensorModule", "WeightsSetRateLimit", [netuid])
    if updates[uid] and block.number - updates[uid] < limit:
        raise DispatchFailureError("SubtensorModule", "SettingWeightsTooFast")
    permits = block.read("SubtensorModule", "ValidatorPermit", [netuid])
    if not permits[uid] and list(args["dests"]) != [uid]:
        raise DispatchFailureError("SubtensorModule", "NeuronNoValidatorPermit")
    scaled = max_upscale_to_u16(list(args["weights"]))
    row = list(zip(args["dests"], scaled, strict=True))
    block.write("SubtensorModule", "Weights", [netuid, uid], row)
    updates[uid] = block.number
    block.write("SubtensorModule", "LastUpdate", [netuid], updates)
    block.emit("SubtensorModule", "WeightsSet", (netuid, uid))


def set_commitment(block: Run, signer: str, args: Mapping[str, Any]) -> None:
    """A plain commitment leaves one event, a timelocked one another; neither is kept here."""
    netuid = args["netuid"]
    if block.read("SubtensorModule", "Uids", [netuid, signer]) is None:
        raise DispatchFailureError("Commitments", "AccountNotAllowedCommit")
    fields = [entry[0] if isinstance(entry, tuple) else entry for entry in args["info"]["fields"]]
    sealed = [entry["TimelockEncrypted"] for entry in fields if "TimelockEncrypted" in entry]
    about = {"netuid": netuid, "who": signer}
    if sealed:
        about["reveal_round"] = sealed[0]["reveal_round"]
        block.emit("Commitments", "TimelockCommitment", about)
    else:
        block.emit("Commitments", "Commitment", about)


def transfer_keep_alive(block: Run, signer: str, args: Mapping[str, Any]) -> None:
    """Free balance from one account to another."""
    dest, rao = _address(args["dest"]), args["value"]
    move_balance(block, signer, -rao)
    move_balance(block, dest, rao)
    block.emit("Balances", "Transfer", {"from": signer, "to": dest, "amount": rao})


def batch_all(block: Run, signer: str, args: Mapping[str, Any]) -> None:
    """All or nothing; the caller drops what a failed one wrote."""
    for call in args["calls"]:
        dispatch(block, signer, call)
        block.emit("Utility", "ItemCompleted", None)
    block.emit("Utility", "BatchCompleted", None)


def add_stake_limit(block: Run, signer: str, args: Mapping[str, Any]) -> None:
    """Buys at the pool's price before the purchase, without slippage: the amounts are not a
    runtime's, the events are."""
    netuid, rao = args["netuid"], args["amount_staked"]
    tao, alpha_in = (
        int(block.read("SubtensorModule", item, [netuid]))
        for item in ("SubnetTAO", "SubnetAlphaIn")
    )
    if tao * 10**9 > args["limit_price"] * alpha_in:
        raise DispatchFailureError("SubtensorModule", "SlippageTooHigh")
    alpha = rao * alpha_in // tao
    move_balance(block, signer, -rao)
    block.emit("SubtensorModule", "StakeAdded", (signer, args["hotkey"], rao, alpha, netuid, 0))


def burn_alpha(block: Run, signer: str, args: Mapping[str, Any]) -> None:
    """Burns what is asked for."""
    block.emit(
        "SubtensorModule", "AlphaBurned", (signer, args["hotkey"], args["amount"], args["netuid"])
    )


CALLS: dict[str, Dispatch] = {
    "SubtensorModule.set_weights": set_weights,
    "Commitments.set_commitment": set_commitment,
    "Balances.transfer_keep_alive": transfer_keep_alive,
    "System.remark": lambda _block, _signer, _args: None,
    "Utility.batch_all": batch_all,
    "SubtensorModule.add_stake_limit": add_stake_limit,
    "SubtensorModule.burn_alpha": burn_alpha,
}


def dispatch(block: Run, signer: str, call: Mapping[str, Any]) -> None:
    """Carry out a decoded call; raises :class:`DispatchFailureError`."""
    name = f"{call['call_module']}.{call['call_function']}"
    if name not in CALLS:
        raise DispatchFailureError("System", "CallFiltered")
    CALLS[name](block, signer, {arg["name"]: arg["value"] for arg in call["call_args"]})


def move_balance(block: Run, address: str, rao: int) -> None:
    """Add to a free balance; it cannot fall below zero."""
    account = block.read("System", "Account", [address])
    free = account["data"]["free"] + rao
    if free < 0:
        raise DispatchFailureError("Balances", "InsufficientBalance")
    account["data"]["free"] = free
    block.write("System", "Account", [address], account)


def _address(value: Any) -> str:
    return str(value["Id"]) if isinstance(value, Mapping) else str(value)
