"""Money sent to a node of spec 293 leaves once, wherever the process dies and whatever is lost.

The node is the growing one (tests/growing_node.py): real libraries, a real socket, the recorded
metadata, which has no ``add_stake_burn``: alpha is bought and burned in two extrinsics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bittensor.keyfiles import Keypair

from api.app import Services, open_services
from api.following import Follower
from api.settings import Settings
from chain.buyback import Desk
from chain.buyback_outcomes import buyback_of
from chain.commit_checks import Commitment, Terms
from chain.commit_flow import Flow
from chain.commit_state import StateFile
from chain.port import ChainUnavailableError, OutcomeUnknownError
from chain.prices import observed_price
from chain.writing_node import WritingNode
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.commands.buybacks import approve_buyback, plan_buyback
from ledger.keys import ArenaKey
from ledger.policy import FeePolicy, parse_policy_toml
from ledger.queries.submissions import submissions
from ledger.rules.buybacks import BuybackTerms, max_price_rao
from tests.cassette import needs_cassette
from tests.growing_node import GrowingNode, Mischief, serving
from tests.growing_runtime import DispatchFailureError
from tests.unit.following.dying import Died, Life

pytestmark = needs_cassette

TAO = 10**9
TREASURY, OURS, COLD, HOT = (
    Keypair.create_from_uri(f"//{name}") for name in ("Treasury", "Ours", "Cold", "Hot")
)
OURS_UID, HOT_UID = 3, 4
IMAGE, DIGEST = "ghcr.io/miner/engine:v1", "sha256:" + "ab" * 32
FEE = FeePolicy(treasury_ss58=TREASURY.ss58_address)
SENDS = frozenset({"next_nonce", "prepare", "send"})
POLICY = f"""
name = "test"
[fee]
treasury_ss58 = "{TREASURY.ss58_address}"
[tracks.one]
model = "m"
[tracks.one.emission]
phase = "king_takes_all"
[tracks.one.scoring]
formula = "v2"
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A node that grows, a connection to it, and a ledger that follows it."""

    node: GrowingNode
    chain: WritingNode
    services: Services
    ledger: Ledger
    follower: Follower

    def count(self, *calls: str) -> int:
        """How often these were carried out on chain, failed ones included."""
        return sum(value["call"]["call_function"] in calls for value in self.node.landed())


@contextmanager
def begun(folder: Path) -> Iterator[Place]:
    folder.mkdir(parents=True, exist_ok=True)
    node = GrowingNode()
    for key in (TREASURY, COLD):
        node.give_account(key.ss58_address, free_rao=100 * TAO)
    node.give_uid(OURS_UID, OURS.ss58_address, TREASURY.ss58_address)
    node.give_uid(HOT_UID, HOT.ss58_address, COLD.ss58_address)
    services = open_services(Settings(database_url=f"sqlite:///{folder / 'ledger.db'}"))
    with serving(node) as url:
        chain = WritingNode(url, [TREASURY, COLD, HOT], poll_s=0.01, final_s=5.0)
        ledger = open_arena(
            services.engine,
            ArenaKey(chain.genesis_hash(), node.netuid),
            network="test",
            at_block=node.recorded_head,
            policy=parse_policy_toml(POLICY),
            actor="test",
        )
        follower = Follower(services, chain, "test", node.netuid)
        follower.catch_up()
        yield Place(node, chain, services, ledger, follower)
        chain.close()
    services.close()


def approved(place: Place) -> int:
    """The number of another approved buyback."""
    price = observed_price(place.chain, place.node.netuid)
    limit = max_price_rao(price.rao, 50_000)
    terms = BuybackTerms(f"r{place.node.head}", TAO, limit, price, 50_000)
    number = plan_buyback(place.ledger, terms, "ann").number
    approve_buyback(place.ledger, number, "bob")
    return number


def desk(place: Place, life: Life | None = None) -> Desk:
    life = life or Life()
    return Desk(
        life.watch(place.chain, SENDS),
        life.watch(Ledger(place.services.engine, place.ledger.arena), {"decide"}),
        TREASURY.ss58_address,
        OURS.ss58_address,
    )


def flow(
    place: Place,
    state: Path,
    life: Life | None = None,
    reveal_in_blocks: int | None = None,
    digest: str = DIGEST,
) -> Flow:
    life = life or Life()
    hotkey = HOT.ss58_address
    arena = place.ledger.arena
    wanted = Commitment(arena.genesis, arena.netuid, hotkey, IMAGE, digest, reveal_in_blocks)
    return Flow(
        life.watch(place.chain, SENDS),
        life.watch(StateFile(state), {"save"}),
        wanted,
        Terms(FEE),
        COLD.ss58_address,
        look_back_blocks=20,
    )


def bought_and_burned(place: Place, number: int = 1) -> None:
    """So many buybacks are executed, each of one purchase and one burn."""
    assert buyback_of(place.ledger, number).status == "executed"
    assert place.count("add_stake_limit") == number
    assert place.count("burn_alpha") == number


def test_a_buyback_in_two_extrinsics_wherever_the_process_dies(tmp_path: Path) -> None:
    undisturbed = Life()
    with begun(tmp_path) as place:
        found = desk(place, undisturbed).execute(approved(place))
        bought_and_burned(place)
        assert found.bought is not None
        landed = place.node.landed()
        assert [value["nonce"] for value in landed] == [0, 1]
        (burned,) = (
            arg["value"] for arg in landed[1]["call"]["call_args"] if arg["name"] == "amount"
        )
        assert burned == found.bought.bought_alpha
        for point in range(undisturbed.points):
            place.node.grow()
            place.follower.catch_up()
            number = approved(place)
            with pytest.raises(Died):
                desk(place, Life(point)).execute(number)
            place.node.grow()
            place.follower.catch_up()
            desk(place).execute(number)
            desk(place).execute(number)
            bought_and_burned(place, number)


LOST: dict[str, list[Mischief]] = {
    "the answer to the purchase": [Mischief(lose_answer=True)],
    "the purchase itself": [Mischief(lose_before=True)],
    "the answer to the burn": [Mischief(), Mischief(lose_answer=True)],
    "the burn itself": [Mischief(), Mischief(lose_before=True)],
    "all answers": [Mischief(lose_answer=True)] * 2,
    "time in the pool": [Mischief(lose_answer=True, hold_for_heads=3)] * 2,
}


@pytest.mark.parametrize("what", LOST)
def test_a_buyback_whose_sending_is_lost(tmp_path: Path, what: str) -> None:
    with begun(tmp_path) as place:
        approved(place)
        place.node.mischief = list(LOST[what])
        run_until_done(lambda: desk(place).execute(1))
        bought_and_burned(place)


def test_a_burn_that_fails_is_sent_again_and_nothing_bought(tmp_path: Path) -> None:
    with begun(tmp_path) as place:
        approved(place)
        failure = DispatchFailureError("SubtensorModule", "NotEnoughStakeToWithdraw")
        place.node.mischief = [Mischief(), Mischief(fail_with=failure)]
        assert desk(place).execute(1).status == "bought"
        assert desk(place).execute(1).status == "executed"
        assert place.count("add_stake_limit") == 1
        assert place.count("burn_alpha") == 2


def test_a_purchase_that_fails_is_recorded_with_the_runtimes_reason(tmp_path: Path) -> None:
    with begun(tmp_path) as place:
        approved(place)
        failure = DispatchFailureError("SubtensorModule", "SlippageTooHigh")
        place.node.mischief = [Mischief(fail_with=failure)]
        assert desk(place).execute(1).status == "failed"
        assert desk(place).execute(1).status == "failed"
        assert place.count("add_stake_limit", "burn_alpha") == 1


@pytest.mark.parametrize("reveal_in_blocks", [None, 100], ids=["plain", "timelocked"])
def test_a_commit_is_paid_once_wherever_the_process_dies(
    tmp_path: Path, reveal_in_blocks: int | None
) -> None:
    undisturbed = Life()
    with begun(tmp_path) as place:
        flow(place, tmp_path / "s.json", undisturbed, reveal_in_blocks).run()
        for point in range(undisturbed.points):
            state, digest = tmp_path / f"{point}.json", f"sha256:{point:064x}"
            with pytest.raises(Died):
                flow(place, state, Life(point), reveal_in_blocks, digest).run()
            place.node.grow()
            for _ in range(2):
                flow(place, state, None, reveal_in_blocks, digest).run()
            assert place.count("batch_all") == point + 2
            assert place.count("set_commitment") == point + 2
        if reveal_in_blocks is None:
            accepted(place, undisturbed.points + 1)


@pytest.mark.parametrize(
    "mischief",
    [
        [Mischief(lose_answer=True)],
        [Mischief(lose_before=True)],
        [Mischief(), Mischief(lose_answer=True)],
        [Mischief(lose_answer=True, hold_for_heads=3)] * 2,
    ],
    ids=["answer", "payment", "answer to the commit", "time in the pool"],
)
def test_a_commit_whose_sending_is_lost(tmp_path: Path, mischief: list[Mischief]) -> None:
    with begun(tmp_path) as place:
        place.node.mischief = list(mischief)
        run_until_done(lambda: flow(place, tmp_path / "s.json").run())
        assert place.count("batch_all") == 1
        accepted(place)


def test_a_payment_whose_state_file_is_lost_is_found_on_chain(tmp_path: Path) -> None:
    with begun(tmp_path) as place:
        place.node.mischief = [Mischief(lose_answer=True)]
        with pytest.raises(OutcomeUnknownError):
            flow(place, tmp_path / "s.json").run()
        (tmp_path / "s.json").unlink()
        place.node.grow(3)
        flow(place, tmp_path / "s.json").run()
        assert place.count("batch_all") == 1
        accepted(place)


def accepted(place: Place, commits: int = 1) -> None:
    place.follower.catch_up()
    with place.services.at("test", place.node.netuid) as scope:
        found = [(line["hotkey"], line["image"], line["accepted"]) for line in submissions(scope)]
    assert found == [(HOT.ss58_address, IMAGE, True)] * commits


def run_until_done(run: Callable[[], Any]) -> None:
    """As an operator does: again, for as long as the outcome is unknown."""
    for _ in range(5):
        try:
            run()
        except ChainUnavailableError:
            continue
        return
    pytest.fail("it never came to an end")
