"""R1 to R10: does a commit's proof of payment hold? (DOMAIN 2)

:func:`judge_payment` is pure. The caller gathers what the chain showed (:mod:`chain.payments`),
says who already took the payment, and passes the fee that was in force **at the payment's block**.

How the rules are read:

- What a refused ``set_commitment`` (R9) says was never committed, and a malformed payload (R1)
  names no payment; neither is judged any further. Everything else is judged to the end and all
  broken rules are recorded, most specific first.
- Several ``transfer_keep_alive`` calls to the treasury in the one batch add up (R5): only direct
  children of that extrinsic with their own ``Balances.Transfer`` event, never a block's sum.
- The age of a payment (R10) is counted to the block where the commit became known (for a timelocked
  one: its reveal); a payment exactly ``payment_max_age_blocks`` old still counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ledger.codes import RefusalCode
from ledger.policy import FeePolicy
from ledger.rules.payload import CommitPayload, MalformedPayload

BATCH_ALL: Final = "Utility.batch_all"
REMARK_PREFIX: Final = "cacheon:"

MOST_SPECIFIC_FIRST: Final = (
    RefusalCode.COMMIT_EXTRINSIC_FAILED,
    RefusalCode.MALFORMED_PAYLOAD,
    RefusalCode.PAYMENT_BLOCK_UNKNOWN,
    RefusalCode.PAYMENT_TX_NOT_IN_BLOCK,
    RefusalCode.EXTRINSIC_FAILED,
    RefusalCode.WRONG_DESTINATION,
    RefusalCode.TRANSFER_NOT_EXECUTED,
    RefusalCode.AMOUNT_TOO_SMALL,
    RefusalCode.AMBIGUOUS_REMARKS,
    RefusalCode.REMARK_MISMATCH,
    RefusalCode.COLDKEY_UNKNOWN,
    RefusalCode.SIGNER_NOT_OWNER,
    RefusalCode.NOT_BATCH_ALL,
    RefusalCode.NO_TREASURY_TRANSFER,
    RefusalCode.REMARK_MISSING,
    RefusalCode.PAYMENT_ALREADY_USED,
    RefusalCode.PAYMENT_EXPIRED,
)
"""The order of a refusal's codes: the first one tells the miner most."""


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """The commit to be judged. ``block_number`` is where it became known (commit or reveal);
    ``succeeded`` is False for a ``set_commitment`` that the runtime refused."""

    submission_id: str
    hotkey: str
    block_number: int
    payload: CommitPayload | MalformedPayload
    succeeded: bool = True


@dataclass(frozen=True, slots=True)
class TransferSeen:
    """A ``transfer_keep_alive`` among the direct children; ``executed`` when the block holds its
    ``Balances.Transfer`` event with the same extrinsic index."""

    destination: str
    amount_rao: int
    executed: bool


@dataclass(frozen=True, slots=True)
class PaymentExtrinsic:
    """The extrinsic that ``payment_tx`` names. For a lone call the call itself stands in place of
    the children, so that the refusal can say more than that it is no batch.

    ``remarks`` are those of ``System.remark`` children: text, or ``0x`` hex where not UTF-8.
    ``received`` is all that the extrinsic moved, by destination, whatever calls did it.
    """

    index: int
    outer_call: str
    success: bool
    signer: str | None
    transfers: tuple[TransferSeen, ...] = ()
    remarks: tuple[str, ...] = ()
    received: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentEvidence:
    """What the chain showed about a commit's payment.

    ``block_number`` is None when no finalized block has the hash ``payment_block``; ``extrinsic``
    is None when that block does not hold ``payment_tx``; ``owner`` is the hotkey's coldkey in the
    state of that block; ``consumed_by`` the submission that already took the payment, if any.
    ``unread`` says why nobody can show what the block holds any longer; empty where it was read.
    """

    block_number: int | None = None
    extrinsic: PaymentExtrinsic | None = None
    owner: str | None = None
    consumed_by: str | None = None
    unread: str = ""

    def consumed(self, submission_id: str | None) -> PaymentEvidence:
        """The same evidence with who took the payment, which the ledger knows and the chain not."""
        return replace(self, consumed_by=submission_id)


@dataclass(frozen=True, slots=True)
class PaymentAccepted:
    """No rule is broken. ``overpaid_rao`` is ``paid_rao`` less the fee, booked as such."""

    paid_rao: int
    overpaid_rao: int


@dataclass(frozen=True, slots=True)
class PaymentRefused:
    """Every rule the commit breaks, most specific first; never empty."""

    codes: tuple[RefusalCode, ...]

    def __post_init__(self) -> None:
        if not self.codes:
            msg = "a refusal must name at least one broken rule"
            raise ValueError(msg)


PaymentVerdict = PaymentAccepted | PaymentRefused


def judge_payment(commit: CommitFacts, evidence: PaymentEvidence, fee: FeePolicy) -> PaymentVerdict:
    """Apply R1 to R10. ``fee`` is the policy in force at the payment's block (R5).

    Of an unread payment only what its block's number says is known. Raises ``ValueError`` for one
    that has not expired: whether it holds cannot be told.
    """
    broken = _broken_rules(commit, evidence, fee)
    if evidence.unread and not broken:
        msg = (
            f"only an expired payment is judged unread, and {evidence.block_number} is not too old"
        )
        raise ValueError(msg)
    if broken:
        return PaymentRefused(tuple(code for code in MOST_SPECIFIC_FIRST if code in broken))
    paid_rao = executed_to(evidence.extrinsic, fee.treasury_ss58)
    return PaymentAccepted(paid_rao=paid_rao, overpaid_rao=paid_rao - fee.fee_rao)


def expired(commit: CommitFacts, evidence: PaymentEvidence, fee: FeePolicy) -> bool:
    """Whether the payment's block lies too far before the commit's (R10)."""
    number = evidence.block_number
    return number is not None and commit.block_number - number > fee.payment_max_age_blocks


def expected_remark(hotkey: str, digest: str) -> str:
    """The exact remark of R6, e.g. ``cacheon:5F…:sha256:…``."""
    return f"{REMARK_PREFIX}{hotkey}:{digest}"


def executed_to(extrinsic: PaymentExtrinsic | None, treasury_ss58: str) -> int:
    """Rao that direct children of the extrinsic really moved to the treasury (R5)."""
    transfers = extrinsic.transfers if extrinsic else ()
    return sum(
        transfer.amount_rao
        for transfer in transfers
        if transfer.executed and transfer.destination == treasury_ss58
    )


def reached(extrinsic: PaymentExtrinsic, treasury_ss58: str) -> int | None:
    """Rao that came to the treasury by any of the extrinsic's calls; None where no event says so.

    That is more than R5 counts where other kinds of transfers stand beside the fee's.
    """
    if not extrinsic.success:
        return None
    for destination, amount_rao in extrinsic.received:
        if destination == treasury_ss58:
            return amount_rao
    moved = [
        transfer
        for transfer in extrinsic.transfers
        if transfer.executed and transfer.destination == treasury_ss58
    ]
    return sum(transfer.amount_rao for transfer in moved) if moved else None


def _broken_rules(
    commit: CommitFacts, evidence: PaymentEvidence, fee: FeePolicy
) -> set[RefusalCode]:
    if not commit.succeeded:
        return {RefusalCode.COMMIT_EXTRINSIC_FAILED}
    if isinstance(commit.payload, MalformedPayload):
        return {RefusalCode.MALFORMED_PAYLOAD}
    if evidence.block_number is None or evidence.block_number > commit.block_number:
        return {RefusalCode.PAYMENT_BLOCK_UNKNOWN}
    broken: set[RefusalCode] = set()
    if expired(commit, evidence, fee):
        broken.add(RefusalCode.PAYMENT_EXPIRED)
    if evidence.consumed_by is not None and evidence.consumed_by != commit.submission_id:
        broken.add(RefusalCode.PAYMENT_ALREADY_USED)
    if evidence.unread:
        return broken
    extrinsic = evidence.extrinsic
    if extrinsic is None:
        return broken | {RefusalCode.PAYMENT_TX_NOT_IN_BLOCK}
    if not extrinsic.success:
        broken.add(RefusalCode.EXTRINSIC_FAILED)
    if extrinsic.outer_call != BATCH_ALL:
        broken.add(RefusalCode.NOT_BATCH_ALL)
    broken |= _transfer_rule(extrinsic, fee)
    broken |= _remark_rule(extrinsic, expected_remark(commit.hotkey, commit.payload.digest))
    if evidence.owner is None:
        broken.add(RefusalCode.COLDKEY_UNKNOWN)
    elif extrinsic.signer != evidence.owner:
        broken.add(RefusalCode.SIGNER_NOT_OWNER)
    return broken


def _transfer_rule(extrinsic: PaymentExtrinsic, fee: FeePolicy) -> set[RefusalCode]:
    """R5. ``no_treasury_transfer`` stands whenever nothing reached the treasury."""
    meant = [item for item in extrinsic.transfers if item.destination == fee.treasury_ss58]
    broken: set[RefusalCode] = set()
    if not meant and extrinsic.transfers:
        broken.add(RefusalCode.WRONG_DESTINATION)
    if any(not item.executed for item in meant):
        broken.add(RefusalCode.TRANSFER_NOT_EXECUTED)
    if not any(item.executed for item in meant):
        broken.add(RefusalCode.NO_TREASURY_TRANSFER)
    elif executed_to(extrinsic, fee.treasury_ss58) < fee.fee_rao:
        broken.add(RefusalCode.AMOUNT_TOO_SMALL)
    return broken


def _remark_rule(extrinsic: PaymentExtrinsic, expected: str) -> set[RefusalCode]:
    """R6. The same remark twice is ambiguous too: there is then another one with the prefix."""
    claims = [remark for remark in extrinsic.remarks if _claims(remark)]
    if not claims:
        return {RefusalCode.REMARK_MISSING}
    broken: set[RefusalCode] = set()
    if expected not in claims:
        broken.add(RefusalCode.REMARK_MISMATCH)
    if len(claims) > 1:
        broken.add(RefusalCode.AMBIGUOUS_REMARKS)
    return broken


def _claims(remark: str) -> bool:
    """Whether its bytes start with the prefix.

    Bytes that are no UTF-8 are shown in hex. A remark that is itself the text of a hex number is
    shown alike; it is one where its digits stand for UTF-8, which would have been shown as text.
    """
    if not remark.startswith("0x"):
        return remark.startswith(REMARK_PREFIX)
    try:
        data = bytes.fromhex(remark[2:])
    except ValueError:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return remark == f"0x{data.hex()}" and data.startswith(REMARK_PREFIX.encode())
    return False
