"""Drawn chains: payments in every wrapping and with every flaw, and commits that name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from chain.simulated.accounts import account
from tests.property.payments.oracle import Rules, Said, attempts_in
from tests.property.payments.runtime import (
    RICH_RAO,
    Made,
    RawCall,
    Runtime,
    Tx,
    call,
    hash_of,
    multisig_of,
    shown,
)
from tests.unit.ledger.scenes import FEE_RAO, OPENED_AT, treasury_of

HERE, THERE = 14, 15
"""The netuids of two arenas of one installation."""

FIRST_BLOCK = OPENED_AT - 2
LAST_BLOCK = OPENED_AT + 7
NEW_FEE_RAO = FEE_RAO + 40
NEW_FEE_FROM = OPENED_AT + 4
MAX_AGE_BLOCKS = 4

COLD = [account(f"cold-{number}") for number in range(3)]
MULTISIG = multisig_of(COLD[0], COLD[1])
HOT = [account(f"hot-{number}") for number in range(5)]
OWNERS = {HOT[0]: COLD[0], HOT[1]: COLD[0], HOT[2]: COLD[1], HOT[3]: MULTISIG, MULTISIG: COLD[2]}
"""HOT[4] has no owner; the multisig is a hotkey, too."""
REGISTERED = {
    HERE: {HOT[0], HOT[1], HOT[2], HOT[4], MULTISIG},
    THERE: {HOT[0], HOT[2], MULTISIG},
}
TREASURIES = {netuid: treasury_of(netuid) for netuid in (HERE, THERE)}
ELSEWHERE = account("elsewhere")
DIGESTS = ["sha256:" + letter * 64 for letter in "abc"]

Draw = Callable[[st.SearchStrategy[Any]], Any]


class World:
    """A chain from :data:`FIRST_BLOCK` on, as the runtime knows it."""

    def __init__(self) -> None:
        self.chain: dict[int, Made] = {}
        self.said: dict[bytes, Said | None] = {}
        self.outages: set[tuple[int, ...]] = set()
        """Commits (netuid, block, order…) at which the node is silent about their payments."""

    def __repr__(self) -> str:
        lines = [
            f"{number}.{tx.index} {tx.signer[:6]} {tx.success} {_told(tx.call)}"
            for number, made in self.chain.items()
            for tx in made.txs
        ]
        reveals = [(number, made.reveals) for number, made in self.chain.items() if made.reveals]
        return "\n".join([*lines, f"reveals {reveals}", f"outages {sorted(self.outages)}"])

    def rules(self) -> dict[int, Rules]:
        """Both arenas' rules; only the first one changes its fee."""
        changed = [(0, FEE_RAO), (NEW_FEE_FROM, NEW_FEE_RAO)]
        return {
            HERE: Rules(TREASURIES[HERE], changed, MAX_AGE_BLOCKS),
            THERE: Rules(TREASURIES[THERE], [(0, FEE_RAO)], MAX_AGE_BLOCKS),
        }


@dataclass(frozen=True)
class Fee:
    """A payment extrinsic by its place, with whom it was meant for."""

    number: int
    index: int
    hotkey: str
    digest: str


def _told(made: RawCall) -> str:
    """A call in one line, for a failing example."""
    args = []
    for entry in made["call_args"]:
        value = entry["value"]
        if isinstance(value, list):
            value = [_told(one) if isinstance(one, dict) else one for one in value]
        elif isinstance(value, dict) and "call_args" in value:
            value = _told(value)
        args.append(f"{entry['name']}={value}")
    return f"{made['call_function']}({', '.join(args)})"


@st.composite
def worlds(draw: Draw) -> World:
    """A chain in which anything that anybody can send is sent; half of them are mostly honest."""
    honest = draw(st.booleans())
    runtime = Runtime(
        balances=dict.fromkeys((*COLD, *HOT, MULTISIG), RICH_RAO),
        owners=OWNERS,
        registered={netuid: set(hotkeys) for netuid, hotkeys in REGISTERED.items()},
        proxies={HOT[0]: {COLD[0], COLD[1]}, COLD[0]: {COLD[2]}, HOT[2]: {HOT[1]}},
    )
    world = World()
    fees: list[Fee] = []
    waiting: list[tuple[int, str, int, bytes]] = []
    for number in range(FIRST_BLOCK, LAST_BLOCK + 1):
        if number == OPENED_AT + 3 and draw(st.booleans()):
            runtime.owners[HOT[0]] = COLD[1]  # a coldkey swap
        due = [(hot, netuid, said) for at, hot, netuid, said in waiting if at == number]
        txs: list[Tx] = []
        for index in range(draw(st.integers(0, 3))):
            usual = honest and draw(st.integers(0, 5)) > 0
            if not fees or draw(st.integers(0, 2)) == 0:
                make = _honest_payment if usual else _payment
                txs.append(make(draw, number, index, fees))
            else:
                commit = _honest_commitment if usual else _commitment
                txs.append(commit(draw, world, fees))
        made = runtime.make(number, txs, due)
        world.chain[number] = made
        waiting += _sealed_in(draw, world, made, fees)
        for netuid in (HERE, THERE):
            for attempt in attempts_in(made, netuid):
                if draw(st.integers(0, 4)) == 0:
                    world.outages.add((netuid, number, *attempt.order))
    return world


# -- payments ---------------------------------------------------------------------------------


def _honest_payment(draw: Draw, number: int, index: int, fees: list[Fee]) -> Tx:
    """A fee as it should be, perhaps one to the other arena as well, or one claim too many."""
    hotkey, digest = draw(st.sampled_from([HOT[0], HOT[2]])), draw(st.sampled_from(DIGESTS))
    calls = [transfer(TREASURIES[HERE], draw(_enough)), remark(_remark_of(hotkey, digest))]
    match draw(st.integers(0, 9)):
        case 0 | 1:
            calls.append(transfer(TREASURIES[THERE], draw(_enough)))
        case 2:
            calls.append(remark(draw(_remarks(hotkey, digest))))
        case 3:
            dest = {"Id": TREASURIES[HERE]}
            calls.append(call("Balances", "transfer_allow_death", dest=dest, value=30))
    fees.append(Fee(number, index, hotkey, digest))
    return Tx(OWNERS[hotkey], batch("batch_all", calls))


def _payment(draw: Draw, number: int, index: int, fees: list[Fee]) -> Tx:
    hotkey = draw(st.sampled_from(HOT[:4])) if draw(st.booleans()) else HOT[0]
    digest = draw(st.sampled_from(DIGESTS))
    signer = OWNERS.get(hotkey, COLD[0])
    if signer == MULTISIG or draw(st.integers(0, 5)) == 0:
        signer = draw(st.sampled_from(COLD))
    if draw(st.integers(0, 4)):
        calls = [transfer(TREASURIES[HERE], draw(_enough)), remark(_remark_of(hotkey, digest))]
        for _ in range(draw(st.sampled_from([0] * 4 + [1, 2]))):
            further = draw(st.integers(0, len(calls)))
            calls.insert(further, _atom(draw, hotkey, digest))
        if draw(st.integers(0, 7)) == 0:
            calls.pop(draw(st.integers(0, len(calls) - 1)))
        outer = draw(st.sampled_from(["batch_all"] * 20 + WRAPPINGS))
    else:
        calls = [_atom(draw, hotkey, digest) for _ in range(draw(st.integers(1, 4)))]
        outer = draw(st.sampled_from(WRAPPINGS))
    fees.append(Fee(number, index, hotkey, digest))
    return Tx(signer, _wrapped(draw, outer, calls, signer))


_enough = st.sampled_from([FEE_RAO, FEE_RAO, FEE_RAO, FEE_RAO + 7, NEW_FEE_RAO, 2 * FEE_RAO])
_amounts = st.sampled_from([0, 1, FEE_RAO - 1, FEE_RAO, FEE_RAO // 2, NEW_FEE_RAO, 10 * RICH_RAO])
WRAPPINGS = [
    "batch_all", "batch", "force_batch", "lone", "proxy", "multisig", "approval", "nested",
    "proxied child",
]  # fmt: skip


def _atom(draw: Draw, hotkey: str, digest: str) -> RawCall:
    kind = draw(st.sampled_from(["keep_alive", "keep_alive", "allow_death", "all", "remark"]))
    to = draw(st.sampled_from([TREASURIES[HERE], TREASURIES[HERE], TREASURIES[THERE], ELSEWHERE]))
    if kind == "all":
        return call("Balances", "transfer_all", dest={"Id": to}, keep_alive=draw(st.booleans()))
    if kind == "allow_death":
        return call("Balances", "transfer_allow_death", dest=to, value=draw(_amounts))
    if kind == "keep_alive":
        return transfer(to, draw(_amounts))
    return remark(draw(_remarks(hotkey, digest)))


def _remarks(hotkey: str, digest: str) -> st.SearchStrategy[bytes]:
    exact = _remark_of(hotkey, digest)
    return st.sampled_from(
        [
            exact,
            exact,
            _remark_of(HOT[1], digest),
            _remark_of(hotkey, DIGESTS[2]),
            exact + b" ",
            b"cacheon:",
            *[b"cacheon:\xff\xfe"] * 4,
            b"\xff\xfe" + exact,
            b"Cacheon:" + exact,
            b"for lunch",
            b"",
            *[b"0x" + exact.hex().encode()] * 4,
            b"0xcacheon:",
        ]
    )


def _remark_of(hotkey: str, digest: str) -> bytes:
    return f"cacheon:{hotkey}:{digest}".encode()


def transfer(to: str, amount_rao: int) -> RawCall:
    """A ``transfer_keep_alive``."""
    return call("Balances", "transfer_keep_alive", dest={"Id": to}, value=amount_rao)


def remark(data: bytes) -> RawCall:
    """A remark, as the node shows its bytes; ``said`` is what they are."""
    return {**call("System", "remark", remark=shown(data)), "said": data}


def _wrapped(draw: Draw, outer: str, calls: list[RawCall], signer: str) -> RawCall:
    match outer:
        case "lone":
            return calls[0]
        case "proxy":
            return _proxy(
                draw(st.sampled_from([COLD[0], HOT[0], HOT[2]])), batch("batch_all", calls)
            )
        case "multisig" | "approval":
            return _as_multi(batch("batch_all", calls), signer, final=outer == "multisig")
        case "nested":
            kinds = st.sampled_from(["batch_all", "batch", "force_batch"])
            cut = draw(st.integers(0, len(calls)))
            inner = batch(draw(kinds), calls[cut:])
            return batch(draw(kinds), [*calls[:cut], inner])
        case "proxied child":
            return batch("batch_all", [*calls[1:], _proxy(COLD[0], calls[0])])
        case _:
            return batch(outer, calls)


def batch(function: str, calls: list[RawCall]) -> RawCall:
    """A batch."""
    return call("Utility", function, calls=calls)


def _proxy(real: str, inner: RawCall) -> RawCall:
    return call("Proxy", "proxy", real=real, force_proxy_type=None, call=inner)


def _as_multi(inner: RawCall, signer: str, *, final: bool) -> RawCall:
    other = COLD[1] if signer == COLD[0] else COLD[0]
    timepoint = {"height": 1, "index": 0} if final else None
    return call(
        "Multisig", "as_multi", threshold=2, other_signatories=[other], maybe_timepoint=timepoint,
        call=inner, max_weight={},
    )  # fmt: skip


# -- commits ----------------------------------------------------------------------------------


def _honest_commitment(draw: Draw, world: World, fees: list[Fee]) -> Tx:
    """A commit of a recent fee by whom it was for; often there was one before it."""
    fee = draw(st.sampled_from(fees[-2:]))
    made = [
        _plain(draw, world, fee, flawless=True) for _ in range(draw(st.sampled_from([1, 1, 2])))
    ]
    if len(made) == 1:
        return Tx(fee.hotkey, made[0])
    if draw(st.booleans()):  # the first one fails, for it is not for a hotkey that is registered
        made[0] = _as_multi(made[0], fee.hotkey, final=True)
    return Tx(fee.hotkey, batch("force_batch", made))


def _commitment(draw: Draw, world: World, fees: list[Fee]) -> Tx:
    fee = draw(st.sampled_from(fees[-3:] if draw(st.integers(0, 3)) else fees))
    hotkey = fee.hotkey if draw(st.integers(0, 4)) else draw(st.sampled_from(HOT))
    made = [_set_commitment(draw, world, fee)]
    if hotkey == MULTISIG:
        return Tx(COLD[0], _as_multi(made[0], COLD[0], final=draw(st.booleans())))
    match draw(st.sampled_from(["lone"] * 5 + ["two", "batch", "force", "proxy", "nested"])):
        case "lone":
            wrapped = made[0]
        case "two":
            made.append(_set_commitment(draw, world, draw(st.sampled_from(fees))))
            if draw(st.booleans()):
                made[1] = {**made[0], "call_args": [*made[0]["call_args"]]}
            wrapped = batch(draw(st.sampled_from(["batch_all", "force_batch"])), made)
        case "batch":
            made.insert(draw(st.integers(0, 1)), transfer(ELSEWHERE, 10 * RICH_RAO))
            wrapped = batch(draw(st.sampled_from(["batch", "batch_all", "force_batch"])), made)
        case "force":
            wrapped = batch("force_batch", [*made, remark(b"x")])
        case "proxy":
            hotkey = draw(st.sampled_from([COLD[0], COLD[1], COLD[2], HOT[1]]))
            wrapped = _proxy(draw(st.sampled_from([HOT[0], HOT[2]])), made[0])
        case _:
            further = _set_commitment(draw, world, draw(st.sampled_from(fees)))
            inner = _proxy(draw(st.sampled_from([HOT[0], HOT[2]])), batch("force_batch", made))
            hotkey = draw(st.sampled_from([HOT[1], HOT[0]]))
            wrapped = batch("force_batch", [inner, further])
    return Tx(hotkey, wrapped)


def _set_commitment(draw: Draw, world: World, fee: Fee) -> RawCall:
    netuid = draw(st.sampled_from([HERE, HERE, HERE, THERE]))
    if draw(st.integers(0, 5)) == 0:
        field_ = {"TimelockEncrypted": {"encrypted": "0x00", "reveal_round": 1_000}}
        return {**call("Commitments", "set_commitment", netuid=netuid, info={"fields": [field_]}),
                "said": b""}  # fmt: skip
    return _plain(draw, world, fee, netuid=netuid)


def _plain(
    draw: Draw, world: World, fee: Fee, *, netuid: int | None = None, flawless: bool = False
) -> RawCall:
    if netuid is None:
        netuid = draw(st.sampled_from([HERE, HERE, THERE]))
    payload = _payload(draw, world, fee, flawless=flawless)
    fields = [{"BigRaw": shown(payload)}]
    if draw(st.integers(0, 3)) == 0:
        parts = [payload[at : at + 128] for at in range(0, len(payload), 128)]
        fields = [{f"Raw{len(part)}": "0x" + part.hex()} for part in parts]
    made = call("Commitments", "set_commitment", netuid=netuid, info={"fields": fields})
    return {**made, "said": payload}


def _payload(draw: Draw, world: World, fee: Fee, *, flawless: bool = False) -> bytes:
    digest, flaw = fee.digest, None
    if not flawless:
        digest = digest if draw(st.integers(0, 7)) else draw(st.sampled_from(DIGESTS))
        flaw = draw(st.sampled_from([None] * 12 + ["block", "tx", "next", "form", "text", "upper"]))
    tx, block = hash_of("tx", fee.number, fee.index), hash_of("block", fee.number)
    match flaw:
        case "block":
            block = hash_of("no block")
        case "tx":
            tx = hash_of("no tx")
        case "next":
            tx, block = hash_of("tx", fee.number + 2, 0), hash_of("block", fee.number + 2)
    fields = {"image": "ghcr.io/a/b:v1", "digest": digest, "payment_tx": tx, "payment_block": block}
    said: Said | None = Said(digest, tx, block)
    if flaw == "upper":
        fields["payment_tx"] = "0x" + tx[2:].upper()
    if flaw == "form":
        fields["digest"], said = "sha256:x", None
    payload = json.dumps(fields).encode() if flaw != "text" else b"\xffno json"
    world.said[payload] = None if flaw == "text" else said
    return payload


def _sealed_in(
    draw: Draw, world: World, made: Made, fees: list[Fee]
) -> list[tuple[int, str, int, bytes]]:
    """When each sealed commitment of the block is revealed, and what it then says."""
    reveals = []
    for netuid in (HERE, THERE):
        for attempt in attempts_in(made, netuid):
            if attempt.sealed and attempt.succeeded and fees and draw(st.booleans()):
                at = made.number + draw(st.integers(1, 4))
                payload = _payload(draw, world, draw(st.sampled_from(fees)))
                reveals.append((at, attempt.hotkey, netuid, payload))
    return reveals
