"""A small runtime: carries out calls as a subtensor node does and shows them as a node does.

It is written from the pallets' behaviour (utility, proxy, multisig, balances, commitments),
forwards and with a roll-back for what fails; nothing of it is taken from the code that reads
blocks. What it gives out are the shapes of substrate-interface: bytes as text where they are UTF-8,
else ``0x`` hex.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from chain.node_decode import events_from, extrinsic_from
from chain.port import Block
from chain.simulated.accounts import account

RawCall = dict[str, Any]

EXISTENTIAL_RAO = 1
RICH_RAO = 5_000
"""What a coldkey begins with; a transfer of more fails."""


def hash_of(*parts: object) -> str:
    """A made-up hash."""
    return "0x" + hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()


def shown(data: bytes) -> str:
    """Bytes as substrate-interface shows them."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "0x" + data.hex()


def call(module: str, function: str, **args: Any) -> RawCall:
    """A decoded call."""
    return {
        "call_module": module,
        "call_function": function,
        "call_args": [{"name": name, "type": "?", "value": value} for name, value in args.items()],
    }


def arg(made: RawCall, name: str) -> Any:
    """An argument of a call."""
    return next(entry["value"] for entry in made["call_args"] if entry["name"] == name)


def name_of(made: RawCall) -> str:
    """``Module.function``."""
    return f"{made['call_module']}.{made['call_function']}"


class DispatchError(Exception):
    """The runtime refuses a call."""


@dataclass
class Tx:
    """An extrinsic and, once its block is made, what the runtime knows of it."""

    signer: str
    call: RawCall
    number: int = 0
    index: int = 0
    success: bool = False
    ran: set[int] = field(default_factory=set)
    """The ids of the calls that were carried out and not rolled back."""

    @property
    def hash(self) -> str:
        """Its hash."""
        return hash_of("tx", self.number, self.index)


@dataclass
class Made:
    """A block as the node shows it, and its extrinsics as the runtime knows them."""

    number: int
    block: Block
    txs: list[Tx]
    reveals: list[tuple[str, int, bytes]]
    """(hotkey, netuid, payload) in order."""
    owners: dict[str, str]


class Runtime:
    """The state between blocks."""

    def __init__(
        self,
        *,
        balances: dict[str, int],
        owners: dict[str, str],
        registered: dict[int, set[str]],
        proxies: dict[str, set[str]],
    ) -> None:
        self.balances = dict(balances)
        self.owners = dict(owners)
        self.registered = registered
        self.proxies = proxies

    def make(
        self, number: int, txs: list[Tx], reveals: list[tuple[str, int, bytes]] | None = None
    ) -> Made:
        """Carry out a block: reveals first, then its extrinsics."""
        records: list[dict[str, Any]] = []
        for hotkey, netuid, _ in reveals or []:
            records.append(
                _record(None, "Commitments.CommitmentRevealed", netuid=netuid, who=hotkey)
            )
        for index, tx in enumerate(txs):
            tx.number, tx.index = number, index
            records += self._apply(tx)
        events = events_from(records)
        extrinsics = tuple(
            extrinsic_from(
                tx.index,
                {"extrinsic_hash": tx.hash, "address": tx.signer, "nonce": 0, "call": tx.call},
                events,
                lambda module, error: f"{module}/{error}",
            )
            for tx in txs
        )
        block = Block(
            number, hash_of("block", number), hash_of("block", number - 1), None, 293,
            extrinsics, events,
        )  # fmt: skip
        return Made(number, block, txs, reveals or [], dict(self.owners))

    def _apply(self, tx: Tx) -> list[dict[str, Any]]:
        own = [_record(tx.index, "Balances.Withdraw", who=tx.signer, amount=1)]
        inner: list[tuple[str, dict[str, Any]]] = []
        before, tx.ran = dict(self.balances), set()
        try:
            self._dispatch(tx.call, tx.signer, inner, tx.ran)
            tx.success = True
        except DispatchError as error:
            self.balances, tx.ran, inner = before, set(), []
            inner.append(("System.ExtrinsicFailed", {"dispatch_error": {"Other": str(error)}}))
        own += [_record(tx.index, name, **attributes) for name, attributes in inner]
        own.append(_record(tx.index, "Balances.Deposit", who=tx.signer, amount=1))
        if tx.success:
            own.append(_record(tx.index, "System.ExtrinsicSuccess", dispatch_info={}))
        return own

    # -- calls --------------------------------------------------------------------------------

    def _dispatch(
        self, made: RawCall, origin: str, out: list[tuple[str, dict[str, Any]]], ran: set[int]
    ) -> None:
        name = name_of(made)
        if name in ("Balances.transfer_keep_alive", "Balances.transfer_allow_death"):
            keep = EXISTENTIAL_RAO if name.endswith("keep_alive") else 0
            self._transfer(origin, arg(made, "dest"), arg(made, "value"), keep, out)
        elif name == "Balances.transfer_all":
            keep = EXISTENTIAL_RAO if arg(made, "keep_alive") else 0
            amount = max(0, self.balances.get(origin, 0) - keep)
            self._transfer(origin, arg(made, "dest"), amount, keep, out)
        elif name == "System.remark":
            pass
        elif name == "Commitments.set_commitment":
            self._commit(made, origin, out)
        elif name == "Utility.batch_all":
            for child in arg(made, "calls"):
                self._dispatch(child, origin, out, ran)
                out.append(("Utility.ItemCompleted", {}))
            out.append(("Utility.BatchCompleted", {}))
        elif name == "Utility.batch":
            for place, child in enumerate(arg(made, "calls")):
                if not self._try(child, origin, out, ran):
                    out.append(("Utility.BatchInterrupted", {"index": place, "error": "e"}))
                    break
                out.append(("Utility.ItemCompleted", {}))
            else:
                out.append(("Utility.BatchCompleted", {}))
        elif name == "Utility.force_batch":
            done = []
            for child in arg(made, "calls"):
                done.append(self._try(child, origin, out, ran))
                mark = ("ItemCompleted", {}) if done[-1] else ("ItemFailed", {"error": "e"})
                out.append((f"Utility.{mark[0]}", mark[1]))
            end = "BatchCompleted" if all(done) else "BatchCompletedWithErrors"
            out.append((f"Utility.{end}", {}))
        elif name == "Proxy.proxy":
            real = arg(made, "real")
            if origin not in self.proxies.get(real, set()):
                raise DispatchError("NotProxy")
            result = self._try(arg(made, "call"), real, out, ran)
            out.append(("Proxy.ProxyExecuted", {"result": _result(result)}))
        elif name == "Multisig.as_multi":
            self._as_multi(made, origin, out, ran)
        else:
            raise DispatchError(f"CallFiltered {name}")
        ran.add(id(made))

    def _try(
        self, made: RawCall, origin: str, out: list[tuple[str, dict[str, Any]]], ran: set[int]
    ) -> bool:
        balances, events, known = dict(self.balances), len(out), set(ran)
        try:
            self._dispatch(made, origin, out, ran)
        except DispatchError:
            self.balances = balances
            del out[events:]
            ran.clear()
            ran.update(known)
            return False
        return True

    def _transfer(
        self, source: str, dest: Any, amount: int, keep: int, out: list[tuple[str, dict[str, Any]]]
    ) -> None:
        to = dest["Id"] if isinstance(dest, dict) else dest
        if self.balances.get(source, 0) - amount < keep:
            raise DispatchError("FundsUnavailable")
        self.balances[source] = self.balances.get(source, 0) - amount
        self.balances[to] = self.balances.get(to, 0) + amount
        out.append(("Balances.Transfer", {"from": source, "to": to, "amount": amount}))

    def _commit(self, made: RawCall, origin: str, out: list[tuple[str, dict[str, Any]]]) -> None:
        netuid = arg(made, "netuid")
        if origin not in self.registered.get(netuid, set()):
            raise DispatchError("AccountNotAllowedCommit")
        sealed = [
            held["TimelockEncrypted"]["reveal_round"]
            for held in arg(made, "info")["fields"]
            if "TimelockEncrypted" in held
        ]
        said: dict[str, Any] = {"netuid": netuid, "who": origin}
        if sealed:
            out.append(("Commitments.TimelockCommitment", {**said, "reveal_round": sealed[0]}))
        else:
            out.append(("Commitments.Commitment", said))

    def _as_multi(
        self, made: RawCall, origin: str, out: list[tuple[str, dict[str, Any]]], ran: set[int]
    ) -> None:
        account = multisig_of(origin, *arg(made, "other_signatories"))
        if arg(made, "maybe_timepoint") is None:
            out.append(("Multisig.NewMultisig", {"approving": origin, "multisig": account}))
            return
        result = self._try(arg(made, "call"), account, out, ran)
        out.append(
            ("Multisig.MultisigExecuted",
             {"approving": origin, "multisig": account, "result": _result(result)})
        )  # fmt: skip


def multisig_of(*signatories: str) -> str:
    """The account of a multisig."""
    return account("multisig of " + ",".join(sorted(signatories)))


def _result(done: bool) -> dict[str, Any]:
    return {"Ok": []} if done else {"Err": "BadOrigin"}


def _record(extrinsic: int | None, name: str, /, **attributes: Any) -> dict[str, Any]:
    module, _, event = name.partition(".")
    return {
        "phase": "ApplyExtrinsic",
        "extrinsic_idx": extrinsic,
        "event": {"module_id": module, "event_id": event, "attributes": attributes or None},
    }
