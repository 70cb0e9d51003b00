"""The chain is the same whatever happens to the process that runs it."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from simulated_season import C1, GENESIS, M1, NETUID, SEASON, everything, opened, pay, set_weights

from chain.port import BlockRef, ChainUnavailableError, SendRefusedError, UnknownBlockError
from chain.simulated import Commit, Labels, ScriptError, Transfer, account, paid_payload

LAST = 16
WEIGHTS = ([0, 2], [65_535, 655], 7)


def play(folder: Path, name: str, stops: frozenset[int]) -> list[object]:
    """The season with weights set after block 6, reopened after each block in ``stops``."""
    head = 0
    while head < LAST:
        with opened(folder, SEASON, name=name) as chain:
            while True:
                head = chain.finalized_head().number
                if head == 6:
                    set_weights(chain, *WEIGHTS)
                else:
                    chain.advance()
                head += 1
                if head >= LAST or head in stops:
                    break
    with opened(folder, SEASON, name=name) as chain:
        return everything(chain, LAST)


def test_a_season_reopened_between_any_blocks_is_the_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = play(tmp_path, "whole.db", frozenset())
    assert play(tmp_path, "pieces.db", frozenset(range(LAST))) == undisturbed


def test_another_extra_extrinsic_or_seed_gives_other_hashes(tmp_path: Path) -> None:
    renamed = dataclasses.replace(GENESIS, name="another season")
    with (
        opened(tmp_path) as plain,
        opened(tmp_path, name="extra.db") as extra,
        opened(tmp_path, genesis=renamed, name="renamed.db") as other,
    ):
        plain.advance()
        extra.advance([Transfer(source=C1, destination=account("x"), rao=1)])
        other.advance()
        assert len({chain.block(1).hash for chain in (plain, extra, other)}) == 3
        assert plain.genesis_hash() == plain.block(0).hash != other.genesis_hash()
        assert plain.block(1).parent_hash == plain.block(0).hash


def test_a_block_whose_transaction_aborts_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    with opened(tmp_path, SEASON) as chain:
        chain.advance_to(5)
    # The state and labels of block 6 are written when the insertion of the block itself fails.
    with closing(sqlite3.connect(tmp_path / "chain.db")) as file:
        file.execute(
            "CREATE TRIGGER power_cut BEFORE INSERT ON blocks WHEN NEW.number = 6 "
            "BEGIN SELECT RAISE(ABORT, 'power cut'); END"
        )
    with opened(tmp_path, SEASON) as chain:
        with pytest.raises(sqlite3.IntegrityError, match="power cut"):
            chain.advance()
        assert chain.finalized_head().number == 5
        assert "second" not in chain.labels
    with closing(sqlite3.connect(tmp_path / "chain.db")) as file:
        assert file.execute("SELECT count(*) FROM state WHERE block > 5").fetchone() == (0,)
        file.execute("DROP TRIGGER power_cut")
    with opened(tmp_path, SEASON) as chain, opened(tmp_path, SEASON, name="whole.db") as whole:
        chain.advance_to(LAST)
        whole.advance_to(LAST)
        assert everything(chain, LAST) == everything(whole, LAST)


def test_a_killed_process_loses_no_finished_block_and_the_season_goes_on_the_same(
    tmp_path: Path,
) -> None:
    program = (
        "import sys; from pathlib import Path; from simulated_season import SEASON, opened\n"
        "with opened(Path(sys.argv[1]), SEASON) as chain:\n"
        "    while True: print(chain.advance().number, flush=True)\n"
    )
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parents[2])])
    with subprocess.Popen(  # noqa: S603 - the program is the text above
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen = int(line)
            if seen == 7:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    with opened(tmp_path, SEASON) as chain, opened(tmp_path, SEASON, name="whole.db") as whole:
        assert chain.finalized_head().number >= seen == 7
        last = chain.advance_to(max(LAST, chain.finalized_head().number)).number
        whole.advance_to(last)
        assert everything(chain, last) == everything(whole, last)


def test_a_script_that_fails_makes_no_block(tmp_path: Path) -> None:
    def broken(_: Labels) -> bytes:
        raise RuntimeError("the writer of the payload died")

    with opened(tmp_path, {1: [Commit(hotkey=M1, payload=broken)]}) as chain:
        with pytest.raises(RuntimeError, match="died"):
            chain.advance()
        assert chain.finalized_head() == chain.block(0).ref


@pytest.mark.parametrize(
    ("acts", "reason"),
    [
        ([pay(), pay()], "two extrinsics are labelled 'pay'"),
        ([Commit(hotkey=M1, payload=b"x" * 513)], "does not fit"),
        ([Commit(hotkey=M1, payload=b"x" * 1_025, reveal_at=5)], "does not fit"),
        ([pay(), Commit(hotkey=M1, payload=paid_payload("a", "b", "pay"))], "no earlier block"),
    ],
)
def test_an_impossible_script_is_refused_with_its_reason(
    tmp_path: Path, acts: list[Commit], reason: str
) -> None:
    with opened(tmp_path, {1: acts}) as chain:
        with pytest.raises(ScriptError, match=reason):
            chain.advance()
        assert chain.finalized_head().number == 0


def test_a_signer_without_the_transaction_fee_gets_into_no_block(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        with pytest.raises(SendRefusedError, match="cannot pay the fee"):
            chain.advance([Transfer(source=account("poor"), destination=C1, rao=1)])
        assert chain.finalized_head().number == 0


def test_a_file_opens_only_under_its_own_genesis(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        chain.advance()
    other = dataclasses.replace(GENESIS, tempo=7)
    with pytest.raises(ScriptError, match="another genesis"), opened(tmp_path, genesis=other):
        pass


def test_a_season_can_start_near_a_chosen_height(tmp_path: Path) -> None:
    high = dataclasses.replace(GENESIS, start_block=8_360_000)
    with opened(tmp_path, genesis=high) as chain:
        assert chain.finalized_head().number == 8_360_000
        assert chain.block(8_360_000).parent_hash == chain.genesis_hash()
        assert chain.advance().number == 8_360_001
        with pytest.raises(UnknownBlockError):
            chain.block(8_359_999)
        with pytest.raises(UnknownBlockError):
            chain.block(8_360_002)
        with pytest.raises(UnknownBlockError):
            chain.neurons(NETUID, "0x" + "00" * 32)


def test_an_outage_lasts_the_blocks_it_is_given(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        chain.outage(2)
        for _ in range(2):
            with pytest.raises(ChainUnavailableError):
                chain.finalized_head()
            with pytest.raises(ChainUnavailableError):
                set_weights(chain, *WEIGHTS)
            chain.advance()
        assert chain.finalized_head().number == 2


def test_a_lost_answer_leaves_what_was_sent_in_a_block(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        lost = ChainUnavailableError("the connection broke before the answer came")
        chain.fail_next("send", lost, after=True)
        chain.fail_next("block", lost)
        with pytest.raises(ChainUnavailableError, match="connection broke"):
            set_weights(chain, *WEIGHTS)
        with pytest.raises(ChainUnavailableError):
            chain.block(1)
        (_, sent) = chain.block(1).extrinsics
        assert sent.call.args == {
            "netuid": NETUID,
            "dests": [0, 2],
            "weights": [65_535, 655],
            "version_key": 7,
        }
        with pytest.raises(ValueError, match="no method"):
            chain.fail_next("advanced", lost)


def test_a_block_is_found_by_number_and_by_hash(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        block = chain.advance()
        assert chain.block(1) == block
        assert chain.block_ref(block.hash) == BlockRef(1, block.hash) == chain.finalized_head()
