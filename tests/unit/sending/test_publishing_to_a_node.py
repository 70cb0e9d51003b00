"""A vector is sent once and its fate is known, whatever breaks between any two steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.app import Services, open_services
from api.settings import Settings
from chain.lookup import next_sending
from chain.orders import FeeOrder
from chain.port import MORTAL_BLOCKS, ChainUnavailableError, OutcomeUnknownError, Sending
from chain.publish import WeightPublisher
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.observations import (
    AlertRaised,
    WeightsReadBack,
    WeightsReceipt,
    WeightsSubmitted,
)
from ledger.policy import Policy, parse_policy_toml
from ledger.rules.weights import Throne, WeightVector, compute_vector
from tests.cassette import needs_cassette
from tests.contract.stores import sqlite_copy
from tests.growing_node import Mischief, PoolError
from tests.growing_runtime import DispatchFailureError
from tests.unit.sending.support import TREASURY, VALIDATOR, Place, growing

pytestmark = [needs_cassette, pytest.mark.cassette]

KING = "5G1nn5LVeAFnPb1p7NuAtXpRpydHUJDau2wftvkmesTPU9p4"
POLICY = f"""
name = "test"
[fee]
treasury_ss58 = "{TREASURY.ss58_address}"
[weights]
stale_after_blocks = 90
rate_limit_blocks = 5
max_ingest_lag_blocks = 200
[tracks.one]
model = "m"
[tracks.one.emission]
phase = "king_takes_all"
[tracks.one.scoring]
formula = "v2"
"""


class Death(BaseException):
    """The process ends here."""


@dataclass
class Sender:
    """A log, a node, and the publisher of its validator, made anew for every process."""

    place: Place
    ledger: Ledger
    services: Services
    rules: Policy

    def vector(
        self, block: int = 77, *, king: str | None = KING, paused: bool = False
    ) -> WeightVector:
        throne = Throne("one", king, 500_000 if king else None, None)
        held = {KING: 2, VALIDATOR.ss58_address: 1}
        return compute_vector(
            block, self.rules, {"one": throne}, held, burn_uid=0, emission_paused=paused
        )

    def publisher(self) -> WeightPublisher:
        return WeightPublisher(
            self.place.reader,
            self.place.writer,
            self.ledger,
            validator_hotkey=VALIDATOR.ss58_address,
        )

    def publish(self, vector: WeightVector | None = None) -> WeightsReceipt | None:
        chosen = self.vector() if vector is None else vector
        return self.publisher().publish(chosen, self.rules.weights, burn_uid_eligible=True).receipt

    def landed(self) -> list[tuple[int, str]]:
        """Nonce and call of everything the validator has on chain since the recording."""
        return [
            (value["nonce"], value["call"]["call_function"])
            for value in self.place.node.landed()
            if value["address"] == VALIDATOR.ss58_address
        ]

    def alerts(self) -> list[str]:
        found: list[str] = []
        self.ledger.newest(AlertRaised, where=lambda fact: bool(found.append(fact.kind)))
        return found


@contextmanager
def sending(folder: Path, *, final_s: float = 10.0) -> Iterator[Sender]:
    rules = parse_policy_toml(POLICY)
    with growing(final_s=final_s) as place:
        services = open_services(
            Settings(database_url=f"sqlite:///{sqlite_copy(folder, 'ledger.db')}")
        )
        try:
            ledger = open_arena(
                services.engine,
                ArenaKey(place.reader.genesis_hash(), 2),
                network="grown",
                at_block=77,
                policy=rules,
                actor="test",
            )
            yield Sender(place, ledger, services, rules)
        finally:
            services.close()


def dies_after(target: Any, name: str, *, before: bool) -> Callable[[], None]:
    """Make ``target.name`` end the process the next time, before or after its work."""
    whole = getattr(target, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        setattr(target, name, whole)
        if not before:
            whole(*args, **kwargs)
        raise Death

    setattr(target, name, wrapped)
    return lambda: setattr(target, name, whole)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", ["prepare", "intend", "_submit", "send", "receive", "read_back"])
def test_a_process_that_dies_at_any_step_sends_once_and_forgets_nothing(
    tmp_path: Path, step: str, before: bool
) -> None:
    with sending(tmp_path) as sender:
        publisher = sender.publisher()
        log = publisher._log
        target: Any = sender.place.writer if step in {"prepare", "_submit", "send"} else log
        dies_after(target, step, before=before)
        with pytest.raises(Death):
            publisher.publish(sender.vector(), sender.rules.weights, burn_uid_eligible=True)
        sender.publish()  # another process, and once more
        sender.publish()
        assert sender.landed() == [(0, "set_weights")]
        receipt = sender.ledger.newest(WeightsReceipt)
        assert receipt is not None
        assert (receipt.success, receipt.block) == (True, 78)
        held = sender.ledger.newest(WeightsReadBack)
        assert held is not None
        assert held.digest == sender.vector().digest
        assert sender.alerts() == []


@pytest.mark.parametrize("taken", [True, False])
def test_a_lost_answer_is_looked_up_and_sent_again_only_if_it_did_not_land(
    tmp_path: Path, taken: bool
) -> None:
    with sending(tmp_path) as sender:
        sender.place.node.mischief.append(Mischief(lose_answer=taken, lose_before=not taken))
        with pytest.raises(OutcomeUnknownError):
            sender.publish()
        assert sender.ledger.newest(WeightsReceipt) is None
        sender.publish()
        assert sender.landed() == [(0, "set_weights")]
        assert len(sender.place.node.submitted) == (1 if taken else 2)


def test_one_that_waits_in_the_pool_is_waited_for_and_not_doubled(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        sender.place.node.mischief.append(Mischief(hold_for_heads=20, lose_answer=True))
        with pytest.raises(OutcomeUnknownError):
            sender.publish()
        receipt = sender.publish()  # the pool says that the nonce is taken: it is ours
        assert receipt is not None
        assert receipt.success
        assert sender.landed() == [(0, "set_weights")]


def test_one_that_was_dropped_gets_a_receipt_when_it_is_too_late_and_a_new_one_is_sent(
    tmp_path: Path,
) -> None:
    with sending(tmp_path, final_s=0.05) as sender:
        node = sender.place.node
        node.mischief.append(Mischief(drop=True))
        with pytest.raises(OutcomeUnknownError, match="do not have it"):
            sender.publish()
        node.grow(MORTAL_BLOCKS - 2)
        sender.publisher().settle()
        assert sender.ledger.newest(WeightsReceipt) is None
        node.grow(1)
        sender.publisher().settle()
        receipt = sender.ledger.newest(WeightsReceipt)
        assert receipt is not None
        assert not receipt.success
        assert "too late to land" in (receipt.error or "")
        again = sender.publish(sender.vector(node.head))
        assert again is not None
        assert again.success
        assert sender.landed() == [(0, "set_weights")]


def test_a_nonce_that_something_else_used_is_told_and_the_vector_sent_anew(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        sender.place.node.mischief.append(Mischief(lose_before=True))
        with pytest.raises(OutcomeUnknownError):
            sender.publish()
        other = FeeOrder(destination=TREASURY.ss58_address, amount_rao=5, remark="other")
        name = next_sending(sender.place.reader, VALIDATOR.ss58_address)
        assert sender.place.writer.send(sender.place.writer.prepare(other, name)).success
        sender.publisher().settle()
        receipt = sender.ledger.newest(WeightsReceipt)
        assert receipt is not None
        assert "nonce 0 was used by another Utility.batch_all" in (receipt.error or "")
        assert sender.publish() is None  # a block's vector is tried once
        again = sender.publish(sender.vector(82))
        assert again is not None
        assert again.success
        assert sender.landed() == [(0, "batch_all"), (1, "set_weights")]


def test_a_newer_vector_takes_over_the_nonce_of_one_that_was_never_sent(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        sender.place.node.mischief.append(Mischief(lose_before=True))
        with pytest.raises(OutcomeUnknownError):
            sender.publish()
        paused = sender.vector(paused=True)  # decided at the very same block
        receipt = sender.publish(paused)
        assert receipt is not None
        assert (receipt.success, receipt.digest) == (True, paused.digest)
        sender.publisher().settle()
        assert sender.landed() == [(0, "set_weights")]
        former = sender.ledger.known(
            f"weights-receipt:{sender.ledger.arena}:{VALIDATOR.ss58_address}:77:"
            f"{sender.vector().digest}"
        )
        assert isinstance(former, WeightsReceipt)
        assert "was used by another" in (former.error or "")


def test_a_pause_is_published_at_once_and_other_changes_wait(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        sender.publish()
        assert sender.publish(sender.vector(78, king=None)) is None
        receipt = sender.publish(sender.vector(78, paused=True))
        assert receipt is not None
        assert receipt.success
        sent = sender.ledger.newest(WeightsSubmitted)
        assert sent is not None
        assert sent.reason == "emission is paused"
        assert len(sender.landed()) == 2


def test_a_pause_that_the_chain_does_not_allow_yet_is_sent_in_the_first_block_that_does(
    tmp_path: Path,
) -> None:
    with sending(tmp_path) as sender:
        node = sender.place.node
        node.put("SubtensorModule", "WeightsSetRateLimit", [2], 4)
        sender.publish()  # in block 78
        assert sender.publish(sender.vector(78, paused=True)) is None
        assert sender.alerts() == ["emission_pause_waits"]
        alert = sender.ledger.newest(AlertRaised)
        assert alert is not None
        assert "until block 82" in alert.detail
        node.grow(2)
        assert sender.publish(sender.vector(80, paused=True)) is None
        node.grow(1)
        receipt = sender.publish(sender.vector(81, paused=True))
        assert receipt is not None
        assert (receipt.success, receipt.block) == (True, 82)


def test_a_failed_dispatch_is_a_receipt_with_the_runtime_s_word(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        failure = DispatchFailureError("SubtensorModule", "SettingWeightsTooFast")
        sender.place.node.mischief.append(Mischief(fail_with=failure))
        receipt = sender.publish()
        assert receipt is not None
        assert (receipt.success, receipt.block, receipt.error) == (
            False,
            78,
            "SettingWeightsTooFast",
        )
        assert sender.publish(sender.vector(80)) is None  # not tried again at once
        again = sender.publish(sender.vector(82))
        assert again is not None
        assert again.success


def test_a_refusal_of_the_pool_is_a_receipt(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        refusal = PoolError(1010, "Invalid Transaction", "Custom error: 6")
        sender.place.node.mischief.append(Mischief(refuse=refusal))
        receipt = sender.publish()
        assert receipt is not None
        assert (receipt.success, receipt.block) == (False, None)
        assert "Custom error: 6" in (receipt.error or "")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (("Uids", [2, VALIDATOR.ss58_address], None), "validator_not_registered"),
        (("ValidatorPermit", [2], [False] * 14), "validator_without_permit"),
    ],
)
def test_a_validator_that_may_not_set_weights_is_an_alert_and_nothing_is_sent(
    tmp_path: Path, change: tuple[str, list[Any], Any], kind: str
) -> None:
    with sending(tmp_path) as sender:
        sender.place.node.put("SubtensorModule", *change)
        assert sender.publish() is None
        assert sender.alerts() == [kind]
        assert sender.place.node.submitted == []


def test_the_version_key_is_the_chain_s(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        sender.place.node.put("SubtensorModule", "WeightsVersionKey", [2], 1_234)
        receipt = sender.publish()
        assert receipt is not None
        assert receipt.success
        sent = sender.ledger.newest(WeightsSubmitted)
        assert sent is not None
        assert sent.version_key == 1_234


def test_other_weights_on_chain_than_those_that_landed_are_an_alert_once(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        node, writer = sender.place.node, sender.place.writer
        whole = writer.send

        def and_changed(prepared: Any) -> Any:
            receipt = whole(prepared)
            node.put("SubtensorModule", "Weights", [2, 1], [(5, 65_535)])
            return receipt

        writer.send = and_changed  # type: ignore[method-assign]
        sender.publish()
        sender.publisher().settle()
        assert sender.alerts() == ["weights_differ"]
        held = sender.ledger.newest(WeightsReadBack)
        assert held is not None
        assert held.uids == (5,)


def test_a_node_that_lags_behind_what_was_sent_cannot_tell(tmp_path: Path) -> None:
    with sending(tmp_path) as sender:
        name = Sending(VALIDATOR.ss58_address, 0, 90)
        with pytest.raises(ChainUnavailableError, match="before block 90"):
            sender.place.writer.prepare(
                FeeOrder(destination=TREASURY.ss58_address, amount_rao=1, remark="x"), name
            )
