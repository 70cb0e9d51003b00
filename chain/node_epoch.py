"""How an epoch's ``Emission`` is split into incentive and dividends. Pure integers.

``Emission[uid]`` holds a UID's incentive and dividends together (DOMAIN 5), in alpha units (10^-9).
The epoch pays half of the total by the incentive shares and half by the dividend shares; the
vectors ``Incentive`` and ``Dividends`` keep those shares as u16 proportions. So, per UID,

    incentive : dividends  =  incentive_u16 / sum of incentive_u16  :  dividend_u16 / sum of them

and the two parts add up to ``Emission[uid]`` exactly. A UID that is only miner or only validator,
the usual case, is split without any error; for one that is both the error is that of the u16
proportions, at most about 1/65,535 of a half.
"""

from __future__ import annotations

from collections.abc import Sequence


def split_emission(
    emission: Sequence[int],
    incentive_u16: Sequence[int],
    dividends_u16: Sequence[int],
    permits: Sequence[bool],
) -> list[tuple[int, int]]:
    """(incentive, dividends) in alpha units for each UID; both add up to ``emission``.

    ``permits`` are the validator permits the epoch started with. They decide only where a UID was
    paid but both of its u16 shares are zero: without any weights on the subnet the epoch pays by
    active stake, that is to validators; with weights, the share was below one part in 65,535 of a
    half, and it is dividends for a holder of a permit and incentive for anyone else.

    Raises :class:`ValueError` when the vectors do not belong to one epoch (lengths differ).
    """
    count = len(emission)
    if len(incentive_u16) != count or len(dividends_u16) != count:
        msg = (
            f"the epoch's vectors do not belong together: {count} emissions, "
            f"{len(incentive_u16)} incentives, {len(dividends_u16)} dividends"
        )
        raise ValueError(msg)
    incentive_total, dividends_total = sum(incentive_u16), sum(dividends_u16)
    no_shares = incentive_total == 0 and dividends_total == 0
    rows: list[tuple[int, int]] = []
    for uid, paid in enumerate(emission):
        # Both sides multiplied by the product of the totals; a half without shares weighs nothing.
        miner = incentive_u16[uid] * (dividends_total or 1)
        validator = dividends_u16[uid] * (incentive_total or 1)
        if miner + validator > 0:
            incentive = paid * miner // (miner + validator)
        elif no_shares or (uid < len(permits) and permits[uid]):
            incentive = 0
        else:
            incentive = paid
        rows.append((incentive, paid - incentive))
    return rows
