"""How each read is laid out as tables, over the keys of its JSON: both show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.cli.cells import Kind, percent
from api.cli.output import Column, Layout, Rows, Section
from api.words import in_words
from ledger.units import decimal_text


def _one(title: str, *columns: Column) -> Section:
    return Section(title, columns, lambda data: [data])


def _share_rows(data: Mapping[str, Any]) -> Rows:
    values = dict(zip(data["uids"], data["values"], strict=True))
    return [{**share, "u16": values.get(share["uid"], 0)} for share in data["shares"]]


def _sent_rows(data: Mapping[str, Any]) -> Rows:
    return [
        {
            **vector,
            "vector": ", ".join(
                f"{uid}: {percent(ppm)}"
                for uid, ppm in zip(vector["uids"], vector["shares_ppm"], strict=True)
            ),
        }
        for vector in data["items"]
    ]


def _paused_rows(data: Mapping[str, Any]) -> Rows:
    return [{"switch": switch, "reason": reason} for switch, reason in data["paused"].items()]


def _gap_rows(data: Mapping[str, Any]) -> Rows:
    return [
        {**gap, "still": ", ".join(f"{first}-{last}" for first, last in gap["missing"]) or "none"}
        for gap in data["gaps"]
    ]


def _entrant_rows(data: Mapping[str, Any]) -> Rows:
    return [
        {**entrant, "track": contest["track"], "seed_block": contest["seed_block"]}
        for contest in data["items"]
        for entrant in contest["entrants"]
    ]


def _break_rows(data: Mapping[str, Any]) -> Rows:
    return [
        {**found, "asset": line["asset"], "period": line["period"]}
        for line in data["lines"]["items"]
        for found in line["breaks"]
    ]


def _reason_rows(data: Mapping[str, Any]) -> Rows:
    return [
        {**line, "reasons": "; ".join(in_words(code) for code in line["codes"])}
        for line in data["items"]
    ]


def _log_rows(data: Mapping[str, Any]) -> Rows:
    return [line for line in data["items"] if line["log_tail"]]


def _policy_rows(data: Mapping[str, Any]) -> Rows:
    return [{"rule": path, "value": value} for path, value in _leaves("", data["policy"])]


def _leaves(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [
            leaf
            for name, inner in value.items()
            for leaf in _leaves(f"{path}.{name}" if path else name, inner)
        ]
    if path.endswith("_rao") and isinstance(value, int):
        return [(path, f"{value} ({decimal_text(value, 'TAO')} TAO)")]
    return [(path, value)]


WEIGHTS: Final[Layout] = (
    _one(
        "Vector",
        Column("block", "block", Kind.NUMBER),
        Column("policy", "policy"),
        Column("emission paused", "emission_paused"),
        Column("burn UID", "burn_uid", Kind.NUMBER),
        Column("burn UID is the owner's", "burn_uid_eligible"),
        Column("digest", "digest", Kind.ID),
    ),
    Section(
        "Shares",
        (
            Column("UID", "uid", Kind.NUMBER),
            Column("u16 of the UID", "u16", Kind.NUMBER),
            Column("share", "ppm", Kind.PPM),
            Column("reason", "reason"),
            Column("track", "track"),
            Column("hotkey", "hotkey", Kind.ID),
        ),
        _share_rows,
    ),
)

SENT_WEIGHTS: Final[Layout] = (
    Section(
        "Vectors sent",
        (
            Column("for block", "block", Kind.NUMBER),
            Column("landed at", "landed_block", Kind.NUMBER),
            Column("success", "success"),
            Column("reason", "reason", Kind.PROSE),
            Column("shares by UID", "vector", Kind.PROSE),
            Column("digest", "digest", Kind.ID),
            Column("validator", "validator_hotkey", Kind.ID),
            Column("error", "error", Kind.PROSE),
        ),
        _sent_rows,
    ),
)

_RAMP: Final = Section(
    "Pool",
    (
        Column("block", "block", Kind.NUMBER),
        Column("track", "track"),
        Column("phase", "phase"),
        Column("pool", "pool_ppm", Kind.PPM),
        Column("paused", "paused"),
    ),
    lambda data: data["ramp"],
)

EMISSIONS: Final[Layout] = (
    _RAMP,
    Section(
        "Epochs (alpha)",
        (
            Column("epoch", "epoch_block", Kind.NUMBER),
            Column("track", "track"),
            Column("phase", "phase"),
            Column("paused", "paused"),
            Column("pool", "pool_ppm", Kind.PPM),
            Column("king", "king_hotkey", Kind.ID),
            Column("score", "king_score_ppm", Kind.PPM),
            Column("miner incentive", "miner_incentive_alpha", Kind.ALPHA),
            Column("of it burned", "burned_alpha", Kind.ALPHA),
            Column("dividends", "validator_dividends_alpha", Kind.ALPHA),
        ),
        lambda data: data["epochs"]["items"],
    ),
)

TREASURY: Final[Layout] = (
    Section(
        "Closed periods: opening + inflows - outflows + residual = closing",
        (
            Column("period", "period", Kind.NUMBER),
            Column("after", "from_block", Kind.NUMBER),
            Column("up to", "to_block", Kind.NUMBER),
            Column("asset", "asset"),
            Column("opening", "opening", Kind.AMOUNT),
            Column("inflows", "inflows", Kind.AMOUNT),
            Column("outflows", "outflows", Kind.AMOUNT),
            Column("residual", "residual", Kind.AMOUNT),
            Column("closing", "closing", Kind.AMOUNT),
            Column("status", "status"),
            Column("unexplained", "unexplained", Kind.AMOUNT),
        ),
        lambda data: data["lines"]["items"],
    ),
    Section(
        "Breaks",
        (
            Column("period", "period", Kind.NUMBER),
            Column("asset", "asset"),
            Column("kind", "kind"),
            Column("amount", "amount", Kind.AMOUNT),
            Column("reference", "reference", Kind.ID),
        ),
        _break_rows,
        only_if_any=True,
    ),
)

ACCOUNTS: Final[Layout] = (
    Section(
        "Balances of the journal (debits above zero)",
        (
            Column("account", "account"),
            Column("asset", "asset"),
            Column("balance", "amount", Kind.AMOUNT),
        ),
    ),
)

RENTALS: Final[Layout] = (
    Section(
        "Rentals (USD)",
        (
            Column("provider", "provider"),
            Column("tier", "tier"),
            Column("status", "status"),
            Column("instance", "instance"),
            Column("per hour", "usd_micros_per_hour", Kind.USD),
            Column("seconds", "seconds", Kind.NUMBER),
            Column("cost", "cost_usd_micros", Kind.USD),
            Column("billed", "billed_usd_micros", Kind.USD),
            Column("round", "round"),
            Column("contest", "contest_id", Kind.ID),
            Column("rental", "rental_id", Kind.ID),
        ),
    ),
)

BUYBACKS: Final[Layout] = (
    Section(
        "Buybacks",
        (
            Column("number", "number", Kind.NUMBER),
            Column("status", "status"),
            Column("at most TAO", "max_rao", Kind.TAO),
            Column("price limit", "max_price_rao", Kind.TAO),
            Column("planned by", "planned_by"),
            Column("approved by", "approved_by"),
            Column("spent TAO", "spent_rao", Kind.TAO),
            Column("burned alpha", "burned_alpha", Kind.ALPHA),
            Column("block", "block", Kind.NUMBER),
            Column("extrinsic", "extrinsic_hash", Kind.ID),
            Column("detail", "detail", Kind.PROSE),
        ),
    ),
)

BUYBACK_PLANS: Final[Layout] = (
    Section(
        "Buybacks",
        (
            Column("number", "number", Kind.NUMBER),
            Column("request", "request"),
            Column("status", "status"),
            Column("at most TAO", "max_rao", Kind.TAO),
            Column("price limit", "max_price_rao", Kind.TAO),
            Column("price seen", "price_rao", Kind.TAO),
            Column("at block", "price_block", Kind.NUMBER),
            Column("slippage", "max_slippage_ppm", Kind.PPM),
            Column("planned by", "planned_by"),
            Column("key", "planned_key", Kind.ID),
            Column("approved by", "approved_by"),
            Column("key", "approved_key", Kind.ID),
            Column("sent as", "how"),
            Column("nonce", "nonce", Kind.NUMBER),
            Column("spent TAO", "spent_rao", Kind.TAO),
            Column("burned alpha", "burned_alpha", Kind.ALPHA),
            Column("block", "block", Kind.NUMBER),
            Column("extrinsic", "extrinsic_hash", Kind.ID),
            Column("detail", "detail", Kind.PROSE),
        ),
    ),
)

QUOTE: Final[Layout] = (
    Section(
        "Fee",
        (
            Column("TAO", "fee_rao", Kind.TAO),
            Column("to", "treasury_ss58", Kind.ID),
            Column("valid for blocks", "window_blocks", Kind.NUMBER),
            Column("remark", "remark", Kind.PROSE),
        ),
        rows=lambda data: [data],
    ),
    Section(
        "Commit",
        (
            Column("passes", "passes"),
            Column("because", "detail", Kind.PROSE),
            Column("bytes", "payload_bytes", Kind.NUMBER),
            Column("Raw fields", "raw_fields", Kind.NUMBER),
            Column("fits BigRaw", "fits_big_raw"),
            Column("bytes timelocked", "timelocked_bytes", Kind.NUMBER),
            Column("fits timelocked", "fits_timelocked"),
            Column("an epoch", "commits_an_epoch", Kind.NUMBER),
            Column("payload", "payload", Kind.PROSE),
        ),
        rows=lambda data: [data],
    ),
    Section(
        "Hotkey",
        (
            Column("hotkey", "hotkey", Kind.ID),
            Column("at block", "block", Kind.NUMBER),
            Column("registered", "registered"),
            Column("must be signed by", "owner", Kind.ID),
            Column("which holds", "owner_balance_rao", Kind.TAO),
            Column("needs", "needed_rao", Kind.TAO),
            Column("suffices", "balance_suffices"),
        ),
        rows=lambda data: [data["hotkey"]] if data["hotkey"] else [],
        only_if_any=True,
    ),
    Section(
        "Unused credits: the hotkey's next commit names one of these, and nothing is paid",
        (
            Column("payment_tx", "payment_tx", Kind.ID),
            Column("payment_block", "payment_block", Kind.ID),
        ),
        rows=lambda data: data["credits"],
        only_if_any=True,
    ),
)

PAYMENTS: Final[Layout] = (
    Section(
        "Payments to the treasury (TAO)",
        (
            Column("block", "block", Kind.NUMBER),
            Column("index", "extrinsic_index", Kind.NUMBER),
            Column("amount", "amount_rao", Kind.TAO),
            Column("overpaid", "overpaid_rao", Kind.TAO),
            Column("status", "status"),
            Column("sender", "sender", Kind.ID),
            Column("hotkey", "hotkey", Kind.ID),
            Column("extrinsic", "extrinsic_hash", Kind.ID),
            Column("of block", "block_hash", Kind.ID),
            Column("call", "outer_call"),
            Column("remarks", "remarks", Kind.PROSE),
            Column("submission", "submission_id", Kind.ID),
            Column("claim", "claim_state"),
            Column("wants", "claim_wants"),
            Column("credit of", "credit_of", Kind.ID),
            Column("decided by", "decided_by"),
            Column("reason", "reason", Kind.PROSE),
        ),
    ),
)

CLAIMS: Final[Layout] = (
    Section(
        "Claims of payments (TAO)",
        (
            Column("payment", "extrinsic_hash", Kind.ID),
            Column("block", "block", Kind.NUMBER),
            Column("amount", "amount_rao", Kind.TAO),
            Column("claimant", "sender", Kind.ID),
            Column("number", "claim_number", Kind.NUMBER),
            Column("wants", "claim_wants"),
            Column("for hotkey", "claim_hotkey", Kind.ID),
            Column("claim", "claim_state"),
            Column("payment is", "status"),
            Column("decided by", "decided_by"),
            Column("reason", "reason", Kind.PROSE),
        ),
    ),
)

_SUBMISSION_COLUMNS: Final = (
    Column("block", "block", Kind.NUMBER),
    Column("track", "track"),
    Column("hotkey", "hotkey", Kind.ID),
    Column("UID", "uid", Kind.NUMBER),
    Column("status", "status"),
    Column("queue", "queue_place", Kind.NUMBER),
    Column("score", "score_ppm", Kind.PPM),
    Column("codes", "codes"),
    Column("rules", "rules"),
    Column("reasons", "reasons", Kind.PROSE),
    Column("detail", "detail", Kind.PROSE),
    Column("fee TAO", "fee_rao", Kind.TAO),
    Column("submission", "submission_id", Kind.ID),
)

SUBMISSIONS: Final[Layout] = (
    Section("Submissions", _SUBMISSION_COLUMNS, _reason_rows),
    Section(
        "Timelocked and not revealed",
        (
            Column("block", "block", Kind.NUMBER),
            Column("hotkey", "hotkey", Kind.ID),
            Column("UID", "uid", Kind.NUMBER),
            Column("state", "state"),
            Column("drand round", "reveal_round", Kind.NUMBER),
            Column("extrinsic", "extrinsic_hash", Kind.ID),
        ),
        lambda data: data["sealed"],
        only_if_any=True,
    ),
)

SUBMISSIONS_OF_HOTKEY: Final[Layout] = (
    *SUBMISSIONS,
    Section(
        "What its server logged last",
        (Column("submission", "submission_id", Kind.ID), Column("log", "log_tail", Kind.PROSE)),
        _log_rows,
        only_if_any=True,
    ),
)

QUEUE: Final[Layout] = (
    Section(
        "Queue",
        (
            Column("place", "queue_place", Kind.NUMBER),
            Column("track", "track"),
            Column("block", "block", Kind.NUMBER),
            Column("hotkey", "hotkey", Kind.ID),
            Column("attempts", "attempts", Kind.NUMBER),
            Column("image", "image", Kind.PROSE),
            Column("submission", "submission_id", Kind.ID),
        ),
    ),
)

REIGNS: Final[Layout] = (
    Section(
        "Reigns",
        (
            Column("track", "track"),
            Column("reign", "number", Kind.NUMBER),
            Column("king", "hotkey", Kind.ID),
            Column("won at", "won_at_block", Kind.NUMBER),
            Column("ended at", "ended_at_block", Kind.NUMBER),
            Column("ended by", "ended_by"),
            Column("defended", "defended", Kind.NUMBER),
            Column("score", "won_score_ppm", Kind.PPM),
            Column("last score", "last_score_ppm", Kind.PPM),
            Column("needed", "needed_ppm", Kind.PPM),
            Column("reached", "reached_ppm", Kind.PPM),
            Column("why", "why", Kind.PROSE),
            Column("note", "annotation", Kind.PROSE),
        ),
    ),
)

CONTESTS: Final[Layout] = (
    Section(
        "Contests",
        (
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("track", "track"),
            Column("attempt", "attempt", Kind.NUMBER),
            Column("status", "status"),
            Column("ended at", "ended_at_block", Kind.NUMBER),
            Column("void because", "void_cause"),
            Column("baseline e2e (µs)", "baseline_median_e2e_us", Kind.NUMBER),
            Column("king after", "king_hotkey", Kind.ID),
            Column("detail", "detail", Kind.PROSE),
            Column("contest", "contest_id", Kind.ID),
        ),
    ),
    Section(
        "Entrants",
        (
            Column("seed block", "seed_block", Kind.NUMBER),
            Column("track", "track"),
            Column("place", "place", Kind.NUMBER),
            Column("role", "role"),
            Column("hotkey", "hotkey", Kind.ID),
            Column("status", "status"),
            Column("score", "score_ppm", Kind.PPM),
            Column("lower", "lower_ppm", Kind.PPM),
            Column("e2e (µs)", "median_e2e_us", Kind.NUMBER),
            Column("code", "code"),
            Column("detail", "detail", Kind.PROSE),
        ),
        _entrant_rows,
    ),
)

STATUS: Final[Layout] = (
    _one(
        "Arena",
        Column("network", "network"),
        Column("netuid", "netuid", Kind.NUMBER),
        Column("block", "block", Kind.NUMBER),
        Column("facts", "position", Kind.NUMBER),
        Column("policy", "policy"),
        Column("queued", "queue_length", Kind.NUMBER),
        Column("burn UID", "burn_uid", Kind.NUMBER),
        Column("burn UID is the owner's", "burn_uid_eligible"),
        Column("safe up to block", "last_safe_block", Kind.NUMBER),
    ),
    Section(
        "Gaps",
        (
            Column("from", "from_block", Kind.NUMBER),
            Column("to", "to_block", Kind.NUMBER),
            Column("filled", "filled", Kind.NUMBER),
            Column("missing still", "still"),
            Column("why", "reason", Kind.PROSE),
        ),
        _gap_rows,
        only_if_any=True,
    ),
    Section(
        "Thrones",
        (
            Column("track", "track"),
            Column("king", "king_hotkey", Kind.ID),
            Column("since", "since_block", Kind.NUMBER),
            Column("score", "king_score_ppm", Kind.PPM),
            Column("runner-up", "runner_up_hotkey", Kind.ID),
            Column("score", "runner_up_score_ppm", Kind.PPM),
        ),
        lambda data: data["thrones"],
    ),
    _RAMP,
    Section(
        "Paused",
        (Column("switch", "switch"), Column("reason", "reason", Kind.PROSE)),
        _paused_rows,
        only_if_any=True,
    ),
)

ARENAS: Final[Layout] = (
    Section(
        "Arenas",
        (
            Column("network", "network"),
            Column("netuid", "netuid", Kind.NUMBER),
            Column("newest block", "head_block", Kind.NUMBER),
            Column("facts", "head_position", Kind.NUMBER),
            Column("genesis", "genesis", Kind.ID),
        ),
        lambda data: data["arenas"],
    ),
)

POLICY: Final[Layout] = (
    _one(
        "Policy in force",
        Column("at block", "block", Kind.NUMBER),
        Column("since block", "from_block", Kind.NUMBER),
        Column("digest", "digest", Kind.ID),
    ),
    Section(
        "Rules",
        (Column("rule", "rule"), Column("value", "value", Kind.PROSE)),
        _policy_rows,
    ),
)
