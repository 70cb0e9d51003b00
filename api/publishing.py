"""Publishing a validator's weights from the log: one look at a time, and what came of it."""

from __future__ import annotations

import msgspec

from api.app import Services
from chain.publish import Published, WeightPublisher
from ledger.queries.standing import gaps, missing_blocks
from ledger.queries.weights import burn_uid_eligible, policy_in_force, vector_in_force
from ledger.rules.weights import WeightVector


class SentNow(msgspec.Struct, frozen=True):
    """What became of a vector that was sent: where it landed, or why it did not."""

    success: bool
    block: int | None
    extrinsic_hash: str | None
    error: str | None


class PublishView(msgspec.Struct, frozen=True):
    """The vector at ``block`` and whether it is, or would be, sent, and ``why``.

    ``sent`` is None where nothing was sent or its answer is not known yet. ``next_block`` is the
    block that could hold it, ``allowed_from`` the first one the chain's rate limit allows; these
    and ``version_key`` are None where the chain was not asked, because nothing is due.
    """

    block: int
    validator_hotkey: str
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    send: bool
    why: str
    alert: str | None
    dry_run: bool
    version_key: int | None
    next_block: int | None
    allowed_from: int | None
    commit_reveal: bool | None
    sent: SentNow | None


class Publishing:
    """One validator's publishing over one arena's log."""

    def __init__(
        self,
        services: Services,
        publisher: WeightPublisher,
        *,
        network: str,
        netuid: int,
        validator_hotkey: str,
    ) -> None:
        self._services = services
        self._publisher = publisher
        self._where = (network, netuid)
        self._validator = validator_hotkey

    def look(self, *, dry_run: bool) -> PublishView:
        """Send the newest vector if it is due; with ``dry_run`` only say what would happen."""
        with self._services.at(*self._where) as scope:
            vector, policy = vector_in_force(scope), policy_in_force(scope).weights
            eligible, missing = burn_uid_eligible(scope), missing_blocks(gaps(scope))
        if dry_run:
            outlook = self._publisher.outlook(
                vector, policy, burn_uid_eligible=eligible, missing=missing
            )
            return self._view(vector, Published(outlook), dry_run=True)
        published = self._publisher.publish(
            vector, policy, burn_uid_eligible=eligible, missing=missing
        )
        return self._view(vector, published, dry_run=False)

    def _view(self, vector: WeightVector, published: Published, *, dry_run: bool) -> PublishView:
        outlook, receipt = published.outlook, published.receipt
        terms = outlook.terms
        return PublishView(
            block=vector.block,
            validator_hotkey=self._validator,
            uids=vector.uids,
            values=vector.values,
            digest=vector.digest,
            send=outlook.send,
            why=outlook.why,
            alert=outlook.alert,
            dry_run=dry_run,
            version_key=None if terms is None else terms.version_key,
            next_block=None if terms is None else terms.block.number + 1,
            allowed_from=None if terms is None else terms.allowed_from,
            commit_reveal=None if terms is None else terms.commit_reveal,
            sent=None
            if receipt is None
            else SentNow(receipt.success, receipt.block, receipt.extrinsic_hash, receipt.error),
        )
