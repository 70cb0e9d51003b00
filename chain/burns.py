"""What a block burned: alpha by anybody on the subnet, and TAO for registrations.

Read from events, never from calls: so it does not matter whether a burn was made by a lone call, a
batch, a proxy or a multisig, and one that failed has no event. Five different things stay apart
(DOMAIN 3): ``AddStakeBurn`` (TAO buys alpha, which is burned), ``AlphaBurned``, ``AlphaRecycled``,
the cost of a registration, and weight on the burn UID, which no event tells of.
"""

from __future__ import annotations

from typing import Final

from chain.port import Block, ChainEvent
from ledger.commands.block_facts import AlphaBurned, RegistrationPaid

SUBTENSOR: Final = "SubtensorModule"


def alpha_burns(block: Block, netuid: int) -> tuple[AlphaBurned, ...]:
    """All alpha burned or recycled on a subnet in a block, in the order of its events.

    ``AlphaBurned`` and ``AlphaRecycled`` carry (coldkey, hotkey, alpha, netuid). An
    ``AddStakeBurn`` of the same extrinsic, hotkey and alpha says what was paid for one; each of
    them vouches for one burn only.
    """
    bought = [
        event
        for event in subtensor_events(block, "AddStakeBurn")
        if int(event.attributes["netuid"]) == netuid
    ]
    hashes = {extrinsic.index: extrinsic.hash for extrinsic in block.extrinsics}
    burns: list[AlphaBurned] = []
    for event in subtensor_events(block, "AlphaBurned", "AlphaRecycled"):
        coldkey, hotkey, alpha, on = (event.attributes[key] for key in ("0", "1", "2", "3"))
        if int(on) != netuid:
            continue
        recycled = event.name == "AlphaRecycled"
        purchase = None if recycled else _taken(bought, event.extrinsic_index, hotkey, int(alpha))
        how = "recycle_alpha" if recycled else "burn_alpha"
        index = event.extrinsic_index
        burns.append(
            AlphaBurned(
                # What the runtime itself burned has no extrinsic: a negative index keeps it apart.
                extrinsic_index=-1 - event.index if index is None else index,
                extrinsic_hash="" if index is None else hashes[index],
                how="add_stake_burn" if purchase else how,
                coldkey=coldkey,
                hotkey=hotkey,
                netuid=netuid,
                spent_rao=int(purchase.attributes["amount"]) if purchase else None,
                alpha=int(alpha),
            )
        )
    return tuple(burns)


def registration_costs(block: Block, netuid: int) -> tuple[RegistrationPaid, ...]:
    """What the registrations of a block cost, where the chain shows it.

    A registration withdraws its cost (``Balances.Withdraw``), raises the subnet's total
    (``RAORecycledForRegistrationSet``) and is told of (``NeuronRegistered``), in this order and in
    one extrinsic. One without the first two shows no cost and is left out.
    """
    costs: list[RegistrationPaid] = []
    withdrawn: ChainEvent | None = None
    paid: ChainEvent | None = None
    for event in block.events:
        name = (event.module, event.name)
        if name == ("Balances", "Withdraw"):
            withdrawn = event
        elif name == (SUBTENSOR, "RAORecycledForRegistrationSet"):
            paid = withdrawn if int(event.attributes["0"]) == netuid else None
            withdrawn = None
        elif name == (SUBTENSOR, "NeuronRegistered"):
            if (
                paid is not None
                and int(event.attributes["0"]) == netuid
                and paid.extrinsic_index == event.extrinsic_index
            ):
                costs.append(
                    RegistrationPaid(
                        event_index=event.index,
                        uid=int(event.attributes["1"]),
                        hotkey=str(event.attributes["2"]),
                        payer=str(paid.attributes["who"]),
                        cost_rao=int(paid.attributes["amount"]),
                    )
                )
            paid = None
    return tuple(costs)


def subtensor_events(block: Block, *names: str) -> list[ChainEvent]:
    """The subtensor pallet's events of a block, only those ``names`` if any are given."""
    return [
        event
        for event in block.events
        if event.module == SUBTENSOR and (not names or event.name in names)
    ]


def _taken(
    bought: list[ChainEvent], extrinsic: int | None, hotkey: object, alpha: int
) -> ChainEvent | None:
    for place, event in enumerate(bought):
        if (event.extrinsic_index, event.attributes["hotkey"], int(event.attributes["alpha"])) == (
            extrinsic,
            hotkey,
            alpha,
        ):
            return bought.pop(place)
    return None
