"""How statements are laid out: as tables for people, and as the columns of a CSV file."""

from __future__ import annotations

from typing import Final

from api.cli.cells import Kind
from api.cli.output import Column, Layout, Section

_SUMS: Final = (
    Column("entitled", "entitled_alpha", Kind.ALPHA),
    Column("paid", "paid_alpha", Kind.ALPHA),
    Column("difference", "difference_alpha", Kind.ALPHA),
    Column("withheld", "withheld_alpha", Kind.ALPHA),
    Column("meant for another", "misdirected_alpha", Kind.ALPHA),
    Column("went to another", "lost_alpha", Kind.ALPHA),
    Column("dividends", "dividends_alpha", Kind.ALPHA),
    Column("paid, TAO", "paid_rao", Kind.TAO),
    Column("dividends, TAO", "dividends_rao", Kind.TAO),
    Column("without price", "unpriced_alpha", Kind.ALPHA),
)
_PERIOD_COLUMNS: Final = (
    Column("period", "period", Kind.NUMBER),
    Column("after block", "from_block", Kind.NUMBER),
    Column("to block", "to_block", Kind.NUMBER),
    Column("lines", "total", Kind.NUMBER),
    *_SUMS,
)
_LINE_COLUMNS: Final = (
    Column("epoch", "epoch_block", Kind.NUMBER),
    Column("UID", "uid", Kind.NUMBER),
    Column("hotkey", "hotkey", Kind.ID),
    Column("coldkey", "coldkey", Kind.ID),
    Column("vector of", "vector_block", Kind.NUMBER),
    Column("share", "share_ppm", Kind.PPM),
    Column("entitled", "entitled_alpha", Kind.ALPHA),
    Column("paid", "paid_alpha", Kind.ALPHA),
    Column("difference", "difference_alpha", Kind.ALPHA),
    Column("withheld", "withheld_alpha", Kind.ALPHA),
    Column("of it meant for another", "misdirected_alpha", Kind.ALPHA),
    Column("for", "meant_for", Kind.ID),
    Column("went to another", "lost_alpha", Kind.ALPHA),
    Column("to", "lost_to", Kind.ID),
    Column("dividends", "dividends_alpha", Kind.ALPHA),
    Column("price", "price_rao", Kind.TAO),
    Column("of block", "price_block", Kind.NUMBER),
    Column("paid, TAO", "paid_rao", Kind.TAO),
    Column("dividends, TAO", "dividends_rao", Kind.TAO),
)
_EPOCHS: Final = Section(
    "Epochs (alpha; values in TAO at the epoch's price)",
    _LINE_COLUMNS,
    lambda data: data["lines"],
)
_PERIODS: Final = Section(
    "Periods (alpha; values in TAO at each epoch's price)",
    _PERIOD_COLUMNS,
    lambda data: data["periods"] or [],
)

PAYOUTS: Final[Layout] = (
    Section(
        "Statement (alpha)",
        (
            Column("address", "address", Kind.ID),
            Column("up to block", "block", Kind.NUMBER),
            *_SUMS,
        ),
        lambda data: [data],
    ),
    _EPOCHS,
)
PAYOUTS_BY_PERIOD: Final[Layout] = (PAYOUTS[0], _PERIODS)

MINER: Final[Layout] = (
    Section(
        "Statement (alpha)",
        (
            Column("address", "address", Kind.ID),
            Column("from block", "from_block", Kind.NUMBER),
            Column("to block", "to_block", Kind.NUMBER),
            *_SUMS,
        ),
        lambda data: [{**data, **data["sums"]}],
    ),
    _PERIODS,
    _EPOCHS,
)
VALIDATOR: Final[Layout] = (
    *MINER,
    Section(
        "Vectors sent",
        (
            Column("for block", "block", Kind.NUMBER),
            Column("digest", "digest", Kind.ID),
            Column("success", "success"),
            Column("landed in", "landed_block", Kind.NUMBER),
            Column("reason", "reason", Kind.PROSE),
            Column("error", "error", Kind.PROSE),
        ),
        lambda data: data["vectors"],
    ),
)
TREASURY: Final[Layout] = (
    Section(
        "Flows by account and period (smallest digits shown)",
        (
            Column("period", "period", Kind.NUMBER),
            Column("after block", "from_block", Kind.NUMBER),
            Column("to block", "to_block", Kind.NUMBER),
            Column("late, of period", "adjusts", Kind.NUMBER),
            Column("account", "account"),
            Column("asset", "asset"),
            Column("debits", "debits", Kind.AMOUNT),
            Column("credits", "credits", Kind.AMOUNT),
            Column("balance", "balance", Kind.AMOUNT),
        ),
        lambda data: data["flows"],
    ),
    Section(
        "Balances (debits above zero)",
        (
            Column("account", "account"),
            Column("asset", "asset"),
            Column("balance", "amount", Kind.AMOUNT),
        ),
        lambda data: data["balances"],
    ),
    Section(
        "What closings came to",
        (
            Column("period", "period", Kind.NUMBER),
            Column("after block", "from_block", Kind.NUMBER),
            Column("to block", "to_block", Kind.NUMBER),
            Column("fees", "fees_rao", Kind.TAO),
            Column("rental due, USD", "rental_due_usd_micros", Kind.USD),
            Column("USD a TAO", "price_usd_micros_per_tao", Kind.USD),
            Column("of", "price_source"),
            Column("block", "price_block", Kind.NUMBER),
            Column("rental due, TAO", "rental_due_rao", Kind.TAO),
            Column("carried in", "carried_in_rao", Kind.TAO),
            Column("surplus", "surplus_rao", Kind.TAO),
            Column("deficit", "deficit_rao", Kind.TAO),
            Column("reserve", "reserve_rao", Kind.TAO),
            Column("proposed buyback", "proposed_buyback_rao", Kind.TAO),
            Column("closed by", "actor"),
        ),
        lambda data: data["closings"],
        only_if_any=True,
    ),
)
