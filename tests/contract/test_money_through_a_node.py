"""Money sent to a node of spec 293 leaves once, wherever the process dies and whatever is lost.

The node is the growing one (tests/growing_node.py): real libraries, a real socket, the recorded
metadata, which has no ``add_stake_burn``: alpha is bought and burned in two extrinsics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from bittensor.keyfiles import Keypair
from typer.testing import CliRunner

from api.app import Services, open_services
from api.cli.main import app
from api.following import Follower
from api.settings import Settings
from chain.buyback import Desk
from chain.buyback_outcomes import buyback_of
from chain.commit import Progress
from chain.commit_checks import Commitment, Terms
from chain.commit_flow import Flow
from chain.commit_state import StateFile
from chain.lookup import next_sending
from chain.orders import CommitOrder
from chain.port import ChainUnavailableError, OtherChainError, OutcomeUnknownError
from chain.prices import observed_price
from chain.writing_node import WritingNode
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.commands.buybacks import approve_buyback, plan_buyback
from ledger.decisions.buybacks import BuybackFailed
from ledger.keys import ArenaKey
from ledger.policy import FeePolicy, parse_policy_toml
from ledger.queries.submissions import submissions
from ledger.rules.buybacks import BuybackTerms, max_price_rao
from tests.cassette import needs_cassette
from tests.contract.stores import sqlite_copy
from tests.growing_node import GrowingNode, Mischief, serving
from tests.growing_runtime import DispatchFailureError
from tests.unit.following.dying import Died, Life

pytestmark = needs_cassette

TAO = 10**9
TREASURY, OURS, COLD, HOT = (
    Keypair.create_from_uri(f"//{name}") for name in ("Treasury", "Ours", "Cold", "Hot")
)
OURS_UID, HOT_UID = 3, 4
IMAGE = "ghcr.io/miner/engine:v1"
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


@dataclass(slots=True)
class Place:
    """A node that grows, a connection to it, and a ledger that follows it."""

    node: GrowingNode
    url: str
    chain: WritingNode
    services: Services
    ledger: Ledger
    follower: Follower
    mark: int = 0

    def from_here(self) -> None:
        """Count from here, and follow up to here."""
        self.node.mischief.clear()
        self.mark = len(self.node.landed())
        self.node.grow()
        self.follower.catch_up()

    def count(self, *calls: str) -> int:
        """How often these were carried out on chain, failed ones included."""
        landed = self.node.landed()[self.mark :]
        return sum(value["call"]["call_function"] in calls for value in landed)


@pytest.fixture(scope="module")
def node_and_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all tests: decoding the recorded metadata takes seconds."""
    folder = tmp_path_factory.mktemp("ledger")
    node = GrowingNode()
    for key in (TREASURY, COLD, HOT):
        node.give_account(key.ss58_address, free_rao=100 * TAO)
    node.give_uid(OURS_UID, OURS.ss58_address, TREASURY.ss58_address)
    node.give_uid(HOT_UID, HOT.ss58_address, COLD.ss58_address)
    services = open_services(Settings(database_url=f"sqlite:///{sqlite_copy(folder, 'ledger.db')}"))
    with serving(node) as url:
        chain = WritingNode([url], [TREASURY, COLD, HOT], poll_s=0.01, final_s=5.0)
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
        yield Place(node, url, chain, services, ledger, follower)
        chain.close()
    services.close()


@pytest.fixture
def place(node_and_ledger: Place) -> Place:
    """It, counting from the test's beginning."""
    node_and_ledger.from_here()
    return node_and_ledger


@pytest.fixture
def digest(request: pytest.FixtureRequest) -> str:
    """An image's digest of the test's own."""
    return "sha256:" + hashlib.sha256(request.node.name.encode()).hexdigest()


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
    digest: str,
    life: Life | None = None,
    reveal_in_blocks: int | None = None,
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


def bought_and_burned(place: Place, number: int) -> None:
    """It is executed, of one purchase and one burn."""
    assert buyback_of(place.ledger, number).status == "executed"
    assert place.count("add_stake_limit") == 1
    assert place.count("burn_alpha") == 1


def test_a_buyback_in_two_extrinsics_burns_what_it_bought(place: Place) -> None:
    number = approved(place)
    found = desk(place).execute(number)
    bought_and_burned(place, number)
    assert found.bought is not None
    purchase, burn = place.node.landed()[place.mark :]
    assert burn["nonce"] == purchase["nonce"] + 1
    (burned,) = (arg["value"] for arg in burn["call"]["call_args"] if arg["name"] == "amount")
    assert burned == found.bought.bought_alpha


@pytest.mark.slow
def test_a_buyback_in_two_extrinsics_wherever_the_process_dies(place: Place) -> None:
    undisturbed = Life()
    desk(place, undisturbed).execute(approved(place))
    assert undisturbed.points >= 16
    for point in range(undisturbed.points):
        place.from_here()
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
def test_a_buyback_whose_sending_is_lost(place: Place, what: str) -> None:
    number = approved(place)
    place.node.mischief = list(LOST[what])
    run_until_done(lambda: desk(place).execute(number))
    bought_and_burned(place, number)


def test_a_burn_that_fails_is_sent_again_and_nothing_bought(place: Place) -> None:
    number = approved(place)
    failure = DispatchFailureError("SubtensorModule", "NotEnoughStakeToWithdraw")
    place.node.mischief = [Mischief(), Mischief(fail_with=failure)]
    assert desk(place).execute(number).status == "bought"
    assert desk(place).execute(number).status == "executed"
    assert place.count("add_stake_limit") == 1
    assert place.count("burn_alpha") == 2


def test_a_purchase_that_fails_is_recorded_with_the_runtimes_reason(place: Place) -> None:
    number = approved(place)
    failure = DispatchFailureError("SubtensorModule", "SlippageTooHigh")
    place.node.mischief = [Mischief(fail_with=failure)]
    assert desk(place).execute(number).status == "failed"
    assert desk(place).execute(number).status == "failed"
    assert place.count("add_stake_limit", "burn_alpha") == 1
    failed = place.ledger.newest(BuybackFailed)
    assert failed is not None
    assert failed.reason == "SlippageTooHigh"


@pytest.mark.parametrize("reveal_in_blocks", [None, 100], ids=["plain", "timelocked"])
def test_a_commit_is_paid_and_sent(
    place: Place, tmp_path: Path, digest: str, reveal_in_blocks: int | None
) -> None:
    done = flow(place, tmp_path / "s.json", digest, None, reveal_in_blocks).run()
    assert done.committed is not None
    assert (place.count("batch_all"), place.count("set_commitment")) == (1, 1)
    if reveal_in_blocks is None:
        accepted(place, digest)


@pytest.mark.slow
@pytest.mark.parametrize("reveal_in_blocks", [None, 100], ids=["plain", "timelocked"])
def test_a_commit_is_paid_once_wherever_the_process_dies(
    place: Place, tmp_path: Path, digest: str, reveal_in_blocks: int | None
) -> None:
    undisturbed = Life()
    flow(place, tmp_path / "s.json", digest, undisturbed, reveal_in_blocks).run()
    assert undisturbed.points >= 16
    for point in range(undisturbed.points):
        place.from_here()
        state, own = tmp_path / f"{point}.json", f"{digest[:-2]}{point:02x}"
        with pytest.raises(Died):
            flow(place, state, own, Life(point), reveal_in_blocks).run()
        place.node.grow()
        for _ in range(2):
            flow(place, state, own, None, reveal_in_blocks).run()
        assert (place.count("batch_all"), place.count("set_commitment")) == (1, 1)
        if reveal_in_blocks is None:
            accepted(place, own)


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
def test_a_commit_whose_sending_is_lost(
    place: Place, tmp_path: Path, digest: str, mischief: list[Mischief]
) -> None:
    place.node.mischief = list(mischief)
    run_until_done(lambda: flow(place, tmp_path / "s.json", digest).run())
    assert place.count("batch_all") == 1
    accepted(place, digest)


def test_a_payment_whose_state_file_is_lost_is_found_on_chain(
    place: Place, tmp_path: Path, digest: str
) -> None:
    place.node.mischief = [Mischief(lose_answer=True)]
    with pytest.raises(OutcomeUnknownError):
        flow(place, tmp_path / "s.json", digest).run()
    (tmp_path / "s.json").unlink()
    place.node.grow(3)
    flow(place, tmp_path / "s.json", digest).run()
    assert place.count("batch_all") == 1
    accepted(place, digest)


def accepted(place: Place, digest: str) -> None:
    place.follower.catch_up()
    with place.services.at("test", place.node.netuid) as scope:
        found = [line for line in submissions(scope) if line["digest"] == digest]
    assert [(line["hotkey"], line["accepted"]) for line in found] == [(HOT.ss58_address, True)]


def run_until_done(run: Callable[[], Any]) -> None:
    """As an operator does: again, for as long as the outcome is unknown."""
    for _ in range(5):
        try:
            run()
        except ChainUnavailableError:
            continue
        return
    pytest.fail("it never came to an end")


# -- as a person runs it, with a wallet on the disk ------------------------------------------------


@pytest.fixture
def wallets(tmp_path: Path) -> Path:
    """Wallets of files as the SDK writes them, without a password."""
    import bittensor

    folder = tmp_path / "wallets"
    for name, cold, hot in (("treasury", "//Treasury", "//Ours"), ("miner", "//Cold", "//Hot")):
        wallet = bittensor.Wallet(name=name, hotkey="hot", path=str(folder))
        key = Keypair.create_from_uri(cold)
        wallet.coldkey_file.set_keypair(key, encrypt=False)
        wallet.coldkeypub_file.set_keypair(key, encrypt=False)
        wallet.hotkey_file.set_keypair(Keypair.create_from_uri(hot), encrypt=False)
    return folder


@pytest.fixture
def command(place: Place, wallets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line, on this node and this ledger."""
    monkeypatch.setenv("LEDGER_DATABASE_URL", place.services.settings.database_url)
    monkeypatch.setenv("LEDGER_NETWORK", "test")
    monkeypatch.setenv("LEDGER_NETUID", str(place.node.netuid))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    secrets = [
        str(value).removeprefix("0x")
        for file in (*wallets.glob("*/coldkey"), *wallets.glob("*/hotkeys/*"))
        for name, value in json.loads(file.read_text("utf-8")).items()
        if value and name in {"secretSeed", "secretPhrase", "privateKey"}
    ]

    def run(*words: str, wallet: str | None = None) -> str:
        node = ["--node", place.url]
        opened = [] if wallet is None else ["--wallet", wallet, "--wallet-path", str(wallets)]
        result = CliRunner().invoke(app, [*words, *node, *opened])
        assert result.exit_code == 0, result.output
        assert secrets
        assert [one for one in secrets if one in result.output] == []
        return result.stdout

    yield run
    structlog.reset_defaults()


def test_the_treasurys_wallet_buys_back_on_the_command_line(place: Place, command: Any) -> None:
    number = approved(place)
    words = ("treasury", "buyback", "send", str(number), "--hotkey", OURS.ss58_address)
    said = command(*words, "--dry-run", wallet="treasury")
    assert "would be sent: add_stake_limit of 1.000000000 TAO" in said
    assert place.count("add_stake_limit") == 0
    assert command(*words, wallet="treasury") == f"buyback {number} is executed\n"
    bought_and_burned(place, number)
    settled = command("treasury", "buyback", "settle", str(number))
    assert settled == f"buyback {number} is executed\n"


def test_a_miners_wallet_pays_and_commits_on_the_command_line(
    place: Place, command: Any, digest: str, tmp_path: Path
) -> None:
    what = ("--image", IMAGE, "--digest", digest)
    quoted = command("miner", "quote", *what, "--hotkey", HOT.ss58_address, "--format", "json")
    assert f'"owner":"{COLD.ss58_address}"' in quoted
    words = ("miner", "commit", *what, "--hotkey", "hot")
    assert "would be paid now" in command(*words, "--dry-run", wallet="miner")
    assert place.count("batch_all") == 0
    for _ in range(2):
        assert "committed in block" in command(*words, wallet="miner")
    assert (place.count("batch_all"), place.count("set_commitment")) == (1, 1)
    accepted(place, digest)
    (state,) = (tmp_path / "state" / "cacheon-ledger").glob("*.json")
    assert set(json.loads(state.read_text("utf-8"))) == set(Progress.__struct_fields__)


def test_nothing_is_read_from_a_node_of_another_chain_nor_sent_to_it(place: Place) -> None:
    other = WritingNode([place.url], [TREASURY], genesis="0x" + "77" * 32)
    try:
        with pytest.raises(OtherChainError):
            other.finalized_head()
        with pytest.raises(OtherChainError):
            other._writer._has_call("Commitments", "set_commitment")
    finally:
        other.close()


def test_nothing_is_signed_for_another_chain_that_the_sdk_is_connected_to(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A balanced address may give each connection another node."""
    import bittensor

    genesis = place.chain.genesis_hash()
    here = WritingNode([place.url], [HOT], genesis=genesis)
    order = CommitOrder(netuid=place.node.netuid, payload=b"{}", reveal_in_blocks=None)
    sending = next_sending(here, HOT.ss58_address)
    try:
        assert here.prepare(order, sending).body
        real = bittensor.RpcSubstrate.connect

        async def connect(substrate: Any) -> None:
            await real(substrate)

            async def other(_number: int) -> str:
                return "0x" + "77" * 32

            substrate.raw.get_block_hash = other

        monkeypatch.setattr(bittensor.RpcSubstrate, "connect", connect)
        with pytest.raises(OtherChainError, match="to bittensor"):
            here.prepare(order, sending)
    finally:
        here.close()


def test_a_node_that_is_away_is_read_past(place: Place) -> None:
    away = WritingNode(["ws://127.0.0.1:1", place.url], [TREASURY], timeout_s=5.0)
    try:
        assert away.finalized_head() == place.chain.finalized_head()
    finally:
        away.close()
