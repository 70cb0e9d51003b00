"""How much a question may ask for, at whichever face it is asked. Loads nothing."""

from __future__ import annotations

from typing import Final

MAX_BLOCK: Final = 2**32 - 1
"""Block numbers are u32 on the chain."""
DEFAULT_LIMIT: Final = 1_000
"""Items of each list in an answer, unless told."""
MAX_LIMIT: Final = 10_000
MAX_OFFSET: Final = 2**31 - 1
MAX_NETUID: Final = 65_535
"""Subnets are numbered by a u16."""
MAX_CHALLENGERS: Final = 254
"""A subnet has 256 slots, of which king and runner-up hold two."""
MAX_CLAIM_BLOCKS: Final = 7_200
"""How long a contest may be kept for somebody: a day of blocks, as the ledger bounds it."""
MAX_GPUS: Final = 64
"""GPUs of one server; as a track's policy bounds them."""
