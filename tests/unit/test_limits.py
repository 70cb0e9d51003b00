"""Every bound on what comes from outside holds: one beyond it is cut, refused or not kept."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.app import Services
from api.http import server as http_server
from api.pages.charts import MAX_POINTS, ramp_chart
from api.pages.text import MAX_LOG_CHARS, log_end
from chain.encoding import MAX_WRAPPINGS, unwrap
from chain.simulated.pallets.commitments import (
    MAX_BIG_RAW_BYTES,
    MAX_TIMELOCKED_BYTES,
    fields_of,
)
from evaluation.evidence import MAX_EVIDENCE_BYTES, EvidenceError, EvidenceStore
from evaluation.runners.log import MAX_LOG_BYTES, BoundedLog
from ledger.commands.commits import MAX_PAYLOAD_CHARS
from ledger.commands.money import MAX_REMARK_CHARS
from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import CommitSeen
from ledger.facts import MAX_FACT_KEY_CHARS, Context
from ledger.observations import AlertRaised
from ledger.policy import KingTakesAll
from ledger.queries.emissions import EpochLine
from ledger.store.codec import FactCodecError, decode, encode
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import ARENA, FEE_RAO, Paid, Scene, commit, digest


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(quick_engine(tmp_path))


def test_a_long_remark_is_kept_to_its_bound(scene: Scene) -> None:
    paid = Paid("A", digest("a"), scene.head + 1, 3, FEE_RAO)
    long = "cacheon:" + "x" * MAX_REMARK_CHARS
    scene.block(deposits=(replace(paid.deposit, remarks=(long,)),))
    (seen,) = scene.facts(PaymentSeen)
    assert seen.remarks == (long[:MAX_REMARK_CHARS],)


def test_of_a_long_payload_the_beginning_is_kept_and_all_of_it_is_hashed(scene: Scene) -> None:
    payload = b"{" + b"x" * MAX_PAYLOAD_CHARS
    paid = scene.pay("A", "a")
    scene.block(commits=(commit(paid, payload=payload),))
    (seen,) = scene.facts(CommitSeen)
    assert seen.payload == payload[:MAX_PAYLOAD_CHARS].decode()
    assert seen.payload_sha256 == hashlib.sha256(payload).hexdigest()


def test_a_fact_key_has_an_end() -> None:
    def alert(key: str) -> AlertRaised:
        return AlertRaised.seen(Context(ARENA, 1), key, kind="k", detail="", block=1)

    longest = alert("k" * MAX_FACT_KEY_CHARS)
    assert decode(longest.topic, encode(longest)) == longest
    for key in ("", "k" * (MAX_FACT_KEY_CHARS + 1)):
        with pytest.raises(FactCodecError, match="must have 1 to 255"):
            encode(alert(key))


def test_wrappings_come_off_so_far_and_no_further() -> None:
    data = b"{}"
    for _ in range(MAX_WRAPPINGS):
        data = data.hex().encode()
    assert unwrap(data) == b"{}"
    assert unwrap(data.hex()) == b"{}".hex().encode()


@pytest.mark.parametrize(
    ("limit", "reveal_at"), [(MAX_BIG_RAW_BYTES, None), (MAX_TIMELOCKED_BYTES, 9)]
)
def test_the_simulated_chain_s_fields_hold_what_the_chain_s_do(
    limit: int, reveal_at: int | None
) -> None:
    genesis = "0x" + "00" * 32
    assert len(fields_of(genesis, b"x" * limit, reveal_at)) == 1
    with pytest.raises(ValueError, match=f"does not fit into a field of {limit}"):
        fields_of(genesis, b"x" * (limit + 1), reveal_at)


def test_evidence_beyond_its_bound_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=f"is larger than {MAX_EVIDENCE_BYTES}"):
        EvidenceStore(tmp_path).put(bytes(MAX_EVIDENCE_BYTES + 1))
    assert list(tmp_path.iterdir()) == []


def test_a_server_s_log_is_bounded_unless_told() -> None:
    log = BoundedLog()
    log.write(b"x" * MAX_LOG_BYTES)
    assert log.content() == b"x" * MAX_LOG_BYTES
    log.write(b"y")
    assert b"[... 1 bytes not kept ...]" in log.content()


def test_the_page_shows_the_end_of_a_log() -> None:
    assert log_end("a" + "b" * MAX_LOG_CHARS) == "b" * MAX_LOG_CHARS


@pytest.mark.parametrize("epochs", [MAX_POINTS, MAX_POINTS + 1, 3 * MAX_POINTS - 1])
def test_a_chart_has_so_many_points_and_always_the_newest(epochs: int) -> None:
    lines = [
        EpochLine(block, "t", "king_takes_all", False, block, None, None, 0, 0, 0)
        for block in range(epochs)
    ]
    chart = ramp_chart(KingTakesAll(), lines, opened_at=0, now_block=epochs, now_ppm=None)
    assert MAX_POINTS // 2 < len(chart.epochs) <= MAX_POINTS
    newest = ramp_chart(KingTakesAll(), lines[-1:], opened_at=0, now_block=epochs, now_ppm=None)
    assert chart.epochs[-1] == newest.epochs[-1]


def test_the_server_bounds_the_requests_in_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(
        http_server._Server, "run", lambda self, sockets: served.append(self.config)
    )
    http_server.serve(Services(None, None), "127.0.0.1", 0)  # type: ignore[arg-type]  # not asked
    assert [config.limit_concurrency for config in served] == [http_server.MAX_CONCURRENT]
