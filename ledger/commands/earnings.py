"""Recording the alpha that an epoch put under the treasury's coldkey (DOMAIN 3).

It arrives as stake, so no transfer shows it. Only what the rim could tell is recorded: an amount
that nobody can tell is no fact but an alert, and the books stay unresolved by that much.
"""

from __future__ import annotations

from ledger.application import Unit
from ledger.commands.block_facts import BlockFacts
from ledger.commands.money import fee_policy
from ledger.observations import AlphaEarned


def record_earned(unit: Unit, facts: BlockFacts) -> None:
    """Note what the epoch of a block paid to the treasury; nothing of an amount of zero."""
    coldkey = fee_policy(unit.arena, facts.number).treasury_ss58
    for earned in facts.earned:
        if earned.alpha:
            unit.observe(
                AlphaEarned,
                f"alpha-earned:{unit.context.arena}:{facts.number}:{earned.how}",
                block=facts.number,
                block_hash=facts.hash,
                coldkey=coldkey,
                how=earned.how,
                alpha=earned.alpha,
            )
