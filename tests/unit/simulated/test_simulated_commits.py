"""Commits become known in the right block, in the order they are judged."""

from __future__ import annotations

import json
from pathlib import Path

from simulated_season import C1, C2, DIGEST, M1, M2, M3, NETUID, Script, opened, pay

from chain.port import Commit as KnownCommit
from chain.simulated import Commit, Register, SimulatedChain, account, paid_payload
from chain.simulated.accounts import public_key


def known(chain: SimulatedChain, number: int) -> list[KnownCommit]:
    return list(chain.commits(chain.block(number), NETUID))


def test_a_plain_commit_carries_the_proof_of_its_payment(tmp_path: Path) -> None:
    payload = paid_payload("ghcr.io/m1/engine", DIGEST, "pay")
    with opened(tmp_path, {1: [pay()], 2: [Commit(hotkey=M1, payload=payload)]}) as chain:
        chain.advance_to(2)
        (commit,) = known(chain, 2)
        payment = chain.block(1)
        assert json.loads(commit.payload) == {
            "image": "ghcr.io/m1/engine",
            "digest": DIGEST,
            "payment_tx": payment.extrinsics[1].hash,
            "payment_block": payment.hash,
        }
        extrinsic = chain.block(2).extrinsics[1]
        assert (commit.hotkey, commit.form, commit.index) == (M1, "plain", extrinsic.index)
        assert (commit.succeeded, commit.extrinsic_hash) == (True, extrinsic.hash)
        assert chain.commits(chain.block(2), NETUID + 1) == []


def test_an_unregistered_hotkeys_commit_fails_and_stays_in_the_block(tmp_path: Path) -> None:
    with opened(tmp_path, {1: [Commit(hotkey=M3, payload=b"{}")]}) as chain:
        block = chain.advance()
        (commit,) = known(chain, 1)
        assert (commit.hotkey, commit.succeeded) == (M3, False)
        assert block.extrinsics[1].error == "Commitments.AccountNotAllowedCommit"


def test_a_timelocked_commit_hides_its_payload_until_its_reveal_block(tmp_path: Path) -> None:
    secret = b'{"image":"ghcr.io/m1/secret"}'
    with opened(tmp_path, {1: [Commit(hotkey=M1, payload=secret, reveal_at=4)]}) as chain:
        chain.advance_to(5)
        assert [len(known(chain, number)) for number in range(6)] == [0, 0, 0, 0, 1, 0]
        assert secret.hex() not in str(chain.block(1))
        (reveal,) = known(chain, 4)
        assert (reveal.hotkey, reveal.form, reveal.payload) == (M1, "timelocked", secret)
        assert reveal.extrinsic_hash is None
        announced = chain.block(4).events[0]
        assert (announced.name, announced.extrinsic_index) == ("CommitmentRevealed", None)


def test_reveals_come_by_public_key_and_before_the_blocks_own_commits(tmp_path: Path) -> None:
    by_key = sorted([M1, M2], key=public_key)
    script: Script = {
        1: [Commit(hotkey=hotkey, payload=hotkey.encode(), reveal_at=5) for hotkey in by_key[::-1]],
        2: [Register(hotkey=M3, coldkey=C2)],
        5: [Commit(hotkey=M3, payload=b"plain")],
    }
    with opened(tmp_path, script) as chain:
        chain.advance_to(5)
        commits = known(chain, 5)
        assert [commit.hotkey for commit in commits] == [*by_key, M3]
        assert [commit.payload for commit in commits[:2]] == [key.encode() for key in by_key]
        assert [commit.order for commit in commits] == sorted(commit.order for commit in commits)


def test_a_commit_replaced_before_its_reveal_is_never_revealed(tmp_path: Path) -> None:
    script: Script = {
        1: [Commit(hotkey=M1, payload=b"first", reveal_at=6)],
        3: [Commit(hotkey=M1, payload=b"second", reveal_at=7)],
    }
    with opened(tmp_path, script) as chain:
        chain.advance_to(8)
        assert known(chain, 6) == []
        assert [commit.payload for commit in known(chain, 7)] == [b"second"]


def test_a_round_already_past_reveals_in_the_next_block(tmp_path: Path) -> None:
    with opened(tmp_path, {3: [Commit(hotkey=M1, payload=b"late", reveal_at=1)]}) as chain:
        chain.advance_to(4)
        assert [commit.payload for commit in known(chain, 4)] == [b"late"]


def test_a_deregistered_hotkeys_commit_is_still_revealed(tmp_path: Path) -> None:
    script: Script = {
        1: [Commit(hotkey=M1, payload=b"mine", reveal_at=4)],
        2: [Register(hotkey=account("m4"), coldkey=C1, replacing_uid=2)],
    }
    with opened(tmp_path, script) as chain:
        chain.advance_to(4)
        assert [commit.hotkey for commit in known(chain, 4)] == [M1]


def test_past_reveals_stay_readable_however_many_follow(tmp_path: Path) -> None:
    script: Script = {
        number: [Commit(hotkey=M1, payload=str(number).encode(), reveal_at=number + 1)]
        for number in range(1, 16)
    }
    with opened(tmp_path, script) as chain:
        chain.advance_to(16)
        payloads = [commit.payload for number in range(17) for commit in known(chain, number)]
        assert payloads == [str(number).encode() for number in range(1, 16)]
