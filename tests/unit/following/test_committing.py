"""Whatever a miner's process was doing when it died, one fee is paid and one commit accepted."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from chain.commit import CommitRefusedError, Progress, Remember
from chain.commit_checks import Commitment, NotPayableError, Terms
from chain.commit_flow import Flow
from chain.commit_state import StateFile, default_path
from chain.port import (
    MORTAL_BLOCKS,
    Block,
    ChainUnavailableError,
    OutcomeUnknownError,
    Prepared,
    Receipt,
    SendRefusedError,
)
from chain.port import (
    Commit as PortCommit,
)
from chain.simulated import Commit, Pay, SwapColdkey, Transfer, account, paid_payload
from ledger.policy import FeePolicy
from ledger.queries.submissions import submissions
from tests.unit.following.dying import Died, Life
from tests.unit.following.support import (
    DIGEST,
    MINER,
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    OWNER,
    OWNER_COLD,
    TAO,
    TREASURY,
    Following,
    follow,
)

IMAGE = "ghcr.io/miner/engine:v1"
OTHER_DIGEST = "sha256:" + "cd" * 32
SENDS = frozenset({"next_nonce", "prepare", "send"})
FEE = FeePolicy(treasury_ss58=TREASURY)


def flow(
    place: Following,
    state: Path,
    life: Life | None = None,
    *,
    reveal_in_blocks: int | None = None,
    fee: FeePolicy = FEE,
    coldkey: str = MINER_COLD,
    hotkey: str = MINER,
    digest: str = DIGEST,
    genesis: str | None = None,
    image: str = IMAGE,
) -> Flow:
    life = life or Life()
    wanted = Commitment(
        genesis or place.chain.genesis_hash(), NETUID, hotkey, image, digest, reveal_in_blocks
    )
    return Flow(
        life.watch(place.chain, SENDS),
        life.watch(StateFile(state), {"save"}),
        wanted,
        Terms(fee),
        coldkey,
        look_back_blocks=100,
    )


def payments_on_chain(place: Following) -> int:
    head = place.chain.finalized_head().number
    return sum(
        extrinsic.call.name == "Utility.batch_all"
        for number in range(OPENS_AT, head + 1)
        for extrinsic in place.chain.block(number).extrinsics
    )


def verdicts(place: Following) -> list[tuple[str, bool | None]]:
    place.follower.catch_up()
    with place.services.at(NETWORK, NETUID) as scope:
        return [(line["image"], line["accepted"]) for line in submissions(scope)]


@pytest.mark.parametrize("reveal_in_blocks", [None, 4], ids=["plain", "timelocked"])
def test_one_fee_and_one_accepted_commit_wherever_the_process_dies(
    tmp_path: Path, reveal_in_blocks: int | None
) -> None:
    undisturbed = Life()
    (tmp_path / "whole").mkdir()
    place = follow(tmp_path / "whole", {})
    flow(place, tmp_path / "whole" / "s.json", undisturbed, reveal_in_blocks=reveal_in_blocks).run()
    assert undisturbed.points >= 16
    for point in range(undisturbed.points):
        folder = tmp_path / str(point)
        folder.mkdir()
        place, state = follow(folder, {}), folder / "s.json"
        with pytest.raises(Died):
            flow(place, state, Life(point), reveal_in_blocks=reveal_in_blocks).run()
        place.advance()
        for _ in range(2):
            done = flow(place, state, reveal_in_blocks=reveal_in_blocks).run()
        assert done.paid is not None
        assert done.committed is not None
        assert payments_on_chain(place) == 1, f"died at point {point}"
        place.advance(reveal_in_blocks or 1)
        assert verdicts(place) == [(IMAGE, True)], f"died at point {point}"


def test_it_pays_once_though_every_answer_is_lost(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    for lost in ("send", "send", "finalized_head", "block"):
        error = OutcomeUnknownError("the answer was lost")
        place.chain.fail_next(lost, error, after=lost == "send")
        with pytest.raises(ChainUnavailableError):
            flow(place, state).run()
    flow(place, state).run()
    assert payments_on_chain(place) == 1
    assert verdicts(place) == [(IMAGE, True)]


def test_without_its_state_file_it_finds_the_payment_on_chain(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=True)
    with pytest.raises(OutcomeUnknownError):
        flow(place, state).run()
    state.unlink()
    place.advance(5)
    flow(place, state).run()
    assert payments_on_chain(place) == 1
    assert verdicts(place) == [(IMAGE, True)]


def test_a_payment_that_a_commit_used_already_is_no_spare_one(tmp_path: Path) -> None:
    pay = Pay(label="p", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
    used = Commit(hotkey=MINER, payload=paid_payload("old/image", DIGEST, "p"))
    place = follow(tmp_path, {OPENS_AT + 1: [pay], OPENS_AT + 2: [used]})
    place.advance(2)
    flow(place, tmp_path / "s.json").run()
    assert payments_on_chain(place) == 2
    assert verdicts(place) == [("old/image", True), (IMAGE, True)]


def test_an_expired_payment_is_no_spare_one(tmp_path: Path) -> None:
    pay = Pay(label="p", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
    fee = FeePolicy(treasury_ss58=TREASURY, payment_max_age_blocks=2 * MORTAL_BLOCKS)
    place = follow(tmp_path, {OPENS_AT + 1: [pay]})
    place.advance(MORTAL_BLOCKS + 3)
    done = flow(place, tmp_path / "s.json", fee=fee).run()
    assert done.committed is not None
    assert payments_on_chain(place) == 2


@pytest.mark.parametrize(
    "named_by",
    [
        Commit(hotkey=OWNER, payload=paid_payload("thief/image", DIGEST, "p")),
        Commit(hotkey=MINER, payload=paid_payload("old/image", OTHER_DIGEST, "p")),
        Commit(hotkey=account("unregistered"), payload=paid_payload(IMAGE, DIGEST, "p")),
    ],
    ids=["a stranger's", "one of another digest", "a failed one"],
)
def test_a_payment_that_such_a_commit_names_is_unused_still(
    tmp_path: Path, named_by: Commit
) -> None:
    pay = Pay(label="p", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
    place = follow(tmp_path, {OPENS_AT + 1: [pay], OPENS_AT + 2: [named_by]})
    place.advance(2)
    flow(place, tmp_path / "s.json").run()
    assert payments_on_chain(place) == 1
    assert (IMAGE, True) in verdicts(place)


@pytest.mark.parametrize(
    "pay",
    [
        Pay(
            label="p",
            coldkey=MINER_COLD,
            hotkey=MINER,
            digest=DIGEST,
            treasury=TREASURY,
            amount_rao=99_999_999,
        ),
        Pay(
            label="p",
            coldkey=MINER_COLD,
            hotkey=MINER,
            digest=OTHER_DIGEST,
            treasury=TREASURY,
        ),
        Pay(
            label="p",
            coldkey=MINER_COLD,
            hotkey=MINER,
            digest=DIGEST,
            treasury=TREASURY,
            outer="batch",
        ),
        Pay(label="p", coldkey=OWNER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY),
    ],
    ids=["too little", "another digest", "no batch_all", "another signer"],
)
def test_a_payment_that_the_rules_refuse_is_no_spare_one(tmp_path: Path, pay: Pay) -> None:
    place = follow(tmp_path, {OPENS_AT + 1: [pay]})
    place.advance()
    flow(place, tmp_path / "s.json").run()
    assert verdicts(place) == [(IMAGE, True)]


def test_a_nonce_taken_by_something_else_costs_another_try_and_no_second_fee(
    tmp_path: Path,
) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        flow(place, state).run()
    place.chain.advance([Transfer(source=MINER_COLD, destination=OWNER_COLD, rao=1_000)])
    flow(place, state).run()
    assert payments_on_chain(place) == 1
    assert verdicts(place) == [(IMAGE, True)]


def test_what_the_chain_refuses_is_told_and_tried_again_with_the_same_nonce(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", SendRefusedError("the pool is full"))
    with pytest.raises(SendRefusedError, match="the pool is full"):
        flow(place, state).run()
    first = StateFile(state).load()
    flow(place, state).run()
    done = StateFile(state).load()
    assert first is not None
    assert done is not None
    assert done.payment == first.payment
    assert payments_on_chain(place) == 1


def refused(place: Following, state: Path, said: str, **changes: object) -> None:
    before = place.chain.finalized_head()
    with pytest.raises((NotPayableError, CommitRefusedError), match=said) as error:
        flow(place, state, **changes).run()  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert place.chain.finalized_head() == before


def test_what_cannot_be_accepted_is_refused_before_paying(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    refused(place, state, "name a node of that chain", genesis="0x" + "77" * 32)
    refused(place, state, "is not registered on subnet 14", hotkey=account("stranger"))
    refused(place, state, "this wallet's coldkey is", coldkey=OWNER_COLD)
    refused(place, state, "R1.*digest", digest="sha256:12")
    refused(place, state, "R1.*image", image="No/Such")
    refused(place, state, "bytes and the chain holds 512", image="a" * 400)
    poor = FeePolicy(treasury_ss58=TREASURY, fee_rao=10 * TAO)
    refused(place, state, r"holds 10\.000000000 TAO and needs the fee", fee=poor)
    assert not state.exists()


def paid_only(place: Following, state: Path, fee: FeePolicy) -> None:
    """Pay, and lose the node before anything of the commit is remembered."""
    place.chain.fail_next("prepare", ChainUnavailableError("no node"), after=True)
    with pytest.raises(ChainUnavailableError):
        flow(place, state, fee=fee).run()
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=True)
    with pytest.raises(OutcomeUnknownError):
        flow(place, state, fee=fee).run()
    assert payments_on_chain(place) == 1


def test_a_payment_is_not_committed_with_when_the_commit_may_land_too_late(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    fee = FeePolicy(treasury_ss58=TREASURY, payment_max_age_blocks=130)
    paid_only(place, state, fee)
    place.advance(130 - MORTAL_BLOCKS + 1)
    refused(place, state, "may be older than the policy's 130 blocks", fee=fee)


def test_what_cannot_be_known_in_time_is_refused_before_paying(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    fee = FeePolicy(treasury_ss58=TREASURY, payment_max_age_blocks=400)
    late = 400 - 2 * MORTAL_BLOCKS + 1
    refused(place, state, "lets a payment be 400 blocks old", fee=fee, reveal_in_blocks=late)
    assert not state.exists()
    assert flow(place, state, fee=fee, reveal_in_blocks=late - 1).run().committed is not None


def test_a_commit_is_not_sent_again_when_its_payment_is_too_old(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    fee = FeePolicy(treasury_ss58=TREASURY, payment_max_age_blocks=130)
    paid_only(place, state, fee)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        flow(place, state, fee=fee).run()
    shorter = FeePolicy(treasury_ss58=TREASURY, payment_max_age_blocks=50)
    refused(place, state, "may be older than the policy's 50 blocks", fee=shorter)


def test_a_state_file_of_another_commit_is_not_gone_on_with(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        flow(place, state).run()
    refused(place, state, "about another digest", digest=OTHER_DIGEST)
    refused(place, state, "about another image", image="other/image")


def test_a_coldkey_swapped_meanwhile_needs_the_wallet_that_paid(tmp_path: Path) -> None:
    """As long as the payment may still land: its nonce is behind that of the swap."""
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.chain, "next_nonce", lambda _: 1)
        with pytest.raises(ChainUnavailableError):
            flow(place, state).run()
    new = account("new cold")
    place.chain.advance([SwapColdkey(old=MINER_COLD, new=new)])
    refused(place, state, "open the wallet that paid", coldkey=new)
    place.advance(MORTAL_BLOCKS)
    assert flow(place, state, coldkey=new).run().committed is not None
    assert payments_on_chain(place) == 1


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "never landed"])
def test_after_a_swap_the_new_wallet_goes_on_with_what_the_old_one_sent(
    tmp_path: Path, landed: bool
) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=landed)
    with pytest.raises(OutcomeUnknownError):
        flow(place, state).run()
    new = account("new cold")
    place.chain.advance([Transfer(source=MINER_COLD, destination=OWNER_COLD, rao=1_000)])
    place.chain.advance([SwapColdkey(old=MINER_COLD, new=new)])
    refused(place, state, "this wallet's coldkey is")
    done = flow(place, state, coldkey=new).run()
    assert done.committed is not None
    assert payments_on_chain(place) == 1
    assert verdicts(place) == [(IMAGE, True)]


def test_a_payment_of_a_former_owner_is_no_spare_one(tmp_path: Path) -> None:
    """Swapped away and back: of the two payments only the second is one of the owner then."""
    away = account("away")
    pay = Pay(label="p", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
    script = {
        OPENS_AT + 1: [SwapColdkey(old=MINER_COLD, new=away)],
        OPENS_AT + 2: [Transfer(source=away, destination=MINER_COLD, rao=5 * TAO)],
        OPENS_AT + 3: [pay],
        OPENS_AT + 4: [Transfer(source=MINER_COLD, destination=OWNER_COLD, rao=TAO)],
        OPENS_AT + 5: [SwapColdkey(old=away, new=MINER_COLD)],
    }
    place = follow(tmp_path, script)
    place.advance(5)
    flow(place, tmp_path / "s.json").run()
    assert payments_on_chain(place) == 2
    assert verdicts(place) == [(IMAGE, True)]


def test_a_payment_that_lands_after_a_swap_is_not_committed_with(tmp_path: Path) -> None:
    """The swap waits in the pool when the payment is prepared, and is in the block before it."""
    new = account("new cold")
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    swap = SwapColdkey(old=MINER_COLD, new=new)
    send, next_nonce = place.chain.send, place.chain.next_nonce

    def send_after_the_swap(prepared: Prepared) -> Receipt:
        place.chain.advance([swap, Transfer(source=new, destination=MINER_COLD, rao=5 * TAO)])
        return send(prepared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.chain, "send", send_after_the_swap)
        patch.setattr(place.chain, "next_nonce", lambda address: next_nonce(address) + 1)
        with pytest.raises(CommitRefusedError, match=r"would be refused \(R7\)"):
            flow(place, state).run()
    assert payments_on_chain(place) == 1
    refused(place, state, r"would be refused \(R7\)")


def test_a_swap_between_two_tries_is_noticed_before_the_second_pays(tmp_path: Path) -> None:
    new = account("new cold")
    swap = SwapColdkey(old=MINER_COLD, new=new)
    back = Transfer(source=new, destination=MINER_COLD, rao=5 * TAO)
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    send = place.chain.send

    def send_after_the_swap(prepared: Prepared) -> Receipt:
        place.chain.advance([swap, back])
        return send(prepared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.chain, "send", send_after_the_swap)
        with pytest.raises(NotPayableError, match="this wallet's coldkey is"):
            flow(place, state).run()
    assert payments_on_chain(place) == 0


def test_a_change_of_the_fee_between_two_runs_never_pays_twice(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=True)
    with pytest.raises(OutcomeUnknownError):
        flow(place, state).run()
    dearer = FeePolicy(treasury_ss58=TREASURY, fee_rao=200_000_000)
    flow(place, state, fee=dearer).run()
    assert payments_on_chain(place) == 1
    assert verdicts(place) == [(IMAGE, True)]


def test_a_payment_of_former_terms_is_not_sent_again_but_waited_for(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        flow(place, state).run()
    elsewhere = FeePolicy(treasury_ss58=OWNER_COLD)
    last = OPENS_AT + MORTAL_BLOCKS - 1
    refused(place, state, f"run this again after block {last}", fee=elsewhere)
    assert payments_on_chain(place) == 0
    place.advance(MORTAL_BLOCKS)
    done = flow(place, state, fee=elsewhere).run()
    assert done.payment is not None
    assert done.payment.treasury_ss58 == OWNER_COLD
    assert payments_on_chain(place) == 1


def test_a_sent_commit_is_not_looked_for_in_blocks_before_it(tmp_path: Path) -> None:
    """A node without an archive has thrown the state of those away by and by."""
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    paid_only(place, state, FEE)
    place.advance(20)
    place.chain.fail_next("send", ChainUnavailableError("no node"))
    with pytest.raises(ChainUnavailableError):
        flow(place, state).run()
    place.advance(MORTAL_BLOCKS)
    asked: list[int] = []
    commits = place.chain.commits

    def watched(block: Block, netuid: int) -> Sequence[PortCommit]:
        asked.append(block.number)
        return commits(block, netuid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.chain, "commits", watched)
        assert flow(place, state).run().committed is not None
    assert min(asked) == OPENS_AT + 21


def test_a_rehearsal_sends_and_remembers_nothing(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    before = place.chain.finalized_head()
    flow(place, state).rehearse()
    assert place.chain.finalized_head() == before
    assert not state.exists()


def test_a_spare_payment_is_what_a_rehearsal_tells_of(tmp_path: Path) -> None:
    pay = Pay(label="p", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
    place = follow(tmp_path, {OPENS_AT + 1: [pay]})
    place.advance()
    step = flow(place, tmp_path / "s.json").rehearse()
    assert isinstance(step, Remember)
    assert step.progress.paid is not None
    assert step.progress.paid.block == OPENS_AT + 1


# -- the state file -----------------------------------------------------------------------------


def test_the_state_file_is_its_owners_and_written_whole(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "deep" / "s.json")
    assert file.load() is None
    progress = Progress("0x" + "14" * 32, 14, MINER, IMAGE, DIGEST)
    file.save(progress)
    assert file.load() == progress
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [item.name for item in file.path.parent.iterdir()] == ["s.json"]
    assert json.loads(file.path.read_text(encoding="utf-8"))["hotkey"] == MINER


def test_a_state_file_that_cannot_be_read_is_never_started_fresh(tmp_path: Path) -> None:
    place, state = follow(tmp_path, {}), tmp_path / "s.json"
    for broken in (b"", b"{", b"[]", msgspec.json.encode({"genesis": 1})):
        state.write_bytes(broken)
        refused(place, state, "look on chain whether the fee was paid")


def test_two_processes_never_share_a_state_file(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "s.json")
    with file.held(), pytest.raises(CommitRefusedError, match="another process"), file.held():
        pass
    with file.held():
        pass


def test_every_commit_has_a_state_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    paths = {
        default_path(genesis, netuid, hotkey, digest)
        for genesis in ("0x" + "14" * 32, "0x" + "15" * 32)
        for netuid in (1, 14)
        for hotkey in (MINER, TREASURY)
        for digest in (DIGEST, OTHER_DIGEST)
    }
    assert len(paths) == 16
    assert all(str(path).startswith("/somewhere/cacheon-ledger/") for path in paths)
