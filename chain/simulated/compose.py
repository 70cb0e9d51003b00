"""From what people do to the signed calls a block holds."""

from __future__ import annotations

from typing import NamedTuple

from chain.port import Call
from chain.simulated import script
from chain.simulated.genesis import Genesis, ScriptError
from chain.simulated.pallets.commitments import fields_of


class Submission(NamedTuple):
    """A call, who signs it (None: the runtime or root) and the label it is remembered under."""

    signer: str | None
    call: Call
    label: str | None = None


def timestamp(genesis: Genesis, number: int) -> Submission:
    """The inherent every block begins with."""
    return Submission(None, Call("Timestamp", "set", {"now": genesis.timestamp_ms(number)}))


def compose(genesis: Genesis, act: script.ScriptedExtrinsic, labels: script.Labels) -> Submission:
    """The extrinsic for one scripted act; ``labels`` are those of earlier blocks.

    Raises :class:`ScriptError` for an act that no extrinsic can carry.
    """
    match act:
        case script.Pay():
            return _payment(act)
        case script.Commit():
            return _commit(genesis, act, labels)
        case script.Transfer():
            return Submission(act.source, _transfer(act.destination, act.rao), act.label)
        case script.SetSubnetOwner() | script.TrimUids():
            return Submission(None, _by_root(genesis, act))
        case script.SwapHotkey() | script.LockStake() | script.SetPerpetualLock():
            function, args = _keys_and_locks(genesis, act)
            return Submission(act.coldkey, Call("SubtensorModule", function, args))
        case _:
            signer, function, args = _subtensor(genesis, act)
            return Submission(signer, Call("SubtensorModule", function, args))


def _by_root(genesis: Genesis, act: script.SetSubnetOwner | script.TrimUids) -> Call:
    if isinstance(act, script.TrimUids):
        trim = {"netuid": genesis.netuid, "max_n": act.max_uids}
        return Call("AdminUtils", "sudo_trim_to_max_allowed_uids", trim)
    owner = {"netuid": genesis.netuid, "hotkey": act.hotkey, "coldkey": act.coldkey}
    return Call("AdminUtils", "sudo_set_subnet_owner", owner)


def _keys_and_locks(
    genesis: Genesis, act: script.SwapHotkey | script.LockStake | script.SetPerpetualLock
) -> tuple[str, dict[str, object]]:
    """Function and arguments of a call of the subnet's pallet that the coldkey signs."""
    match act:
        case script.SwapHotkey():
            return "swap_hotkey", {"hotkey": act.old, "new_hotkey": act.new}
        case script.LockStake():
            lock = {"hotkey": act.hotkey, "netuid": genesis.netuid, "amount": act.alpha}
            return "lock_stake", lock
        case script.SetPerpetualLock():
            return "set_perpetual_lock", {"netuid": genesis.netuid, "enabled": act.enabled}


def _subtensor(
    genesis: Genesis,
    act: script.Register | script.SwapColdkey | script.SetWeights | script.BuyAndBurn,
) -> tuple[str, str, dict[str, object]]:
    """Signer, function and arguments of a call of the subnet's pallet, named as there."""
    match act:
        case script.Register():
            args: dict[str, object] = {"netuid": genesis.netuid, "hotkey": act.hotkey}
            if act.replacing_uid is not None:
                args["replacing_uid"] = act.replacing_uid
            return act.coldkey, "burned_register", args
        case script.SwapColdkey():
            swap: dict[str, object] = {
                "old_coldkey": act.old,
                "new_coldkey": act.new,
                "swap_cost": 0,
            }
            return act.old, "swap_coldkey", swap
        case script.SetWeights():
            return (
                act.hotkey,
                "set_weights",
                {
                    "netuid": genesis.netuid if act.netuid is None else act.netuid,
                    "dests": list(act.uids),
                    "weights": list(act.values),
                    "version_key": act.version_key,
                },
            )
        case script.BuyAndBurn():
            return (
                act.coldkey,
                "add_stake_burn",
                {
                    "netuid": genesis.netuid if act.netuid is None else act.netuid,
                    "hotkey": act.hotkey,
                    "amount": act.amount_rao,
                    "limit": act.max_price_rao,
                },
            )


def _payment(pay: script.Pay) -> Submission:
    signer = pay.signer or pay.coldkey
    transfer = _transfer(pay.destination or pay.treasury, pay.amount_rao)
    if pay.outer == "transfer":
        return Submission(signer, transfer, pay.label)
    remarks = pay.remarks
    if remarks is None:
        remarks = (script.fee_remark(pay.hotkey, pay.digest),)
    children = (transfer, *(Call("System", "remark", {"remark": text}) for text in remarks))
    return Submission(signer, Call("Utility", pay.outer, {}, children), pay.label)


def _commit(genesis: Genesis, commit: script.Commit, labels: script.Labels) -> Submission:
    payload = commit.payload if isinstance(commit.payload, bytes) else commit.payload(labels)
    try:
        fields = fields_of(genesis.hash, payload, commit.reveal_at)
    except ValueError as error:
        msg = f"the commit of {commit.hotkey} cannot be written: {error}"
        raise ScriptError(msg) from error
    info = {"netuid": genesis.netuid, "info": {"fields": fields}}
    return Submission(commit.hotkey, Call("Commitments", "set_commitment", info), commit.label)


def _transfer(dest: str, rao: int) -> Call:
    return Call("Balances", "transfer_keep_alive", {"dest": dest, "value": rao})
