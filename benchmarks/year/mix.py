"""What happens in a year and how often: the one place with the numbers of the generated log.

Everything is a rate, so a log of N events is the first N events of the same year: with N =
1,000,000 it is a whole one, with N = 10,000 its first three days.
"""

from __future__ import annotations

from typing import Final

from ledger.keys import ArenaKey

ARENA: Final = ArenaKey("0x" + "2f" * 32, 14)
NETWORK: Final = "year"
OPENED_AT: Final = 8_350_000
"""A day and a half before phase 3's ramp begins, so that the year runs through all of it."""

# -- time -------------------------------------------------------------------------------------

BLOCKS_PER_DAY: Final = 7_200
BLOCKS_PER_YEAR: Final = 365 * BLOCKS_PER_DAY
BLOCKS_PER_100_TICKS: Final = 330
"""How far the arena's clock moves with each recorded block, times 100. The chain makes 2.6 million
blocks a year; this log records every third or fourth one, so that the year with all that happens in
it has a million events."""

# -- the subnet -------------------------------------------------------------------------------

UIDS: Final = 256
FIRST_MINER_UID: Final = 64
"""UID 0 burns and is the owner's, 1 to 63 are validators, the rest are miners."""
EPOCH_EVERY_BLOCKS: Final = 360
"""20 epochs a day, 7,300 a year."""
REGISTRATIONS_PER_DAY: Final = 8.0
COLDKEY_SWAPS_PER_DAY: Final = 0.5
EPOCH_INCENTIVE_ALPHA: Final = 148_000_000_000
"""Miners' part of an epoch. All 256 UIDs get some of it, which is more rows than the chain's."""
EPOCH_DIVIDENDS_ALPHA: Final = 148_000_000_000

# -- submissions ------------------------------------------------------------------------------

COMMITS_PER_DAY: Final = 50.0
COMMIT_AFTER_BLOCKS: Final = (3, 60)
"""A commit follows its payment by that many blocks."""
TIMELOCKED_PPM: Final = 300_000
DEFERRED_PPM: Final = 20_000
"""The node could not answer about the payment at first."""
COPY_PPM: Final = 15_000
REFUSED_PPM: Final = {
    "malformed_payload": 50_000,
    "payment_already_used": 40_000,
    "amount_too_small": 30_000,
    "remark_mismatch": 30_000,
    "signer_not_owner": 20_000,
    "payment_tx_not_in_block": 20_000,
    "commit_extrinsic_failed": 10_000,
}
"""Commits that break a rule, by the rule."""
OVERPAID_PPM: Final = 50_000
STRAY_PAYMENTS_PER_DAY: Final = 1.0
"""Payments that no commit ever claims: half of them expire, half are sent back."""

# -- contests ---------------------------------------------------------------------------------

CONTESTS_PER_DAY: Final = 5.0
CHALLENGERS: Final = 12
"""At most so many in one contest; the rest waits for the next one."""
MEASURED_AFTER_BLOCKS: Final = 25
"""From one entrant's measurement to the next."""
VOID_PPM: Final = 50_000
DISQUALIFIED_PPM: Final = 80_000
INFRASTRUCTURE_PPM: Final = 20_000
"""Images that no machine can pull: after three attempts their miner is credited."""
PROMPTS: Final = 10
PAUSES_PER_DAY: Final = 1 / 15
PAUSED_BLOCKS: Final = (600, 7_200)
POLICY_EVERY_BLOCKS: Final = 90 * BLOCKS_PER_DAY

# -- money ------------------------------------------------------------------------------------

PRICES_EVERY_BLOCKS: Final = 300
BALANCES_EVERY_BLOCKS: Final = BLOCKS_PER_DAY
CONVERSIONS_PER_DAY: Final = 1.0
BUYBACK_EVERY_BLOCKS: Final = 7 * BLOCKS_PER_DAY
PERIOD_EVERY_BLOCKS: Final = 30 * BLOCKS_PER_DAY
ALERT_EVERY_BLOCKS: Final = 10 * BLOCKS_PER_DAY
PROVIDER: Final = "shadeform"
RENTAL_USD_MICROS_PER_HOUR: Final = 23_920_000
SECONDS_PER_BLOCK: Final = 12
EPOCH_START_S: Final = 1_780_000_000
"""The Unix time of the block the arena opens at."""
