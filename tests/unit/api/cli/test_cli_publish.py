"""`weights publish` on the command line: real wallet files, a node that takes what is sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bittensor
import pytest
import structlog
from sqlalchemy import text
from typer.testing import Result

from api.app import Services, open_services
from api.cli.logs import WIRES, configure
from api.following import Follower
from api.settings import Settings
from chain.node import NodeChain
from chain.port import PrunedStateError
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.observations import AlertRaised, WeightsReadBack, WeightsReceipt, WeightsSubmitted
from ledger.policy import parse_policy_toml
from tests.cassette import needs_cassette
from tests.contract.stores import sqlite_copy
from tests.growing_node import GrowingNode, Mischief, serving
from tests.growing_runtime import DispatchFailureError
from tests.unit.api.cli.conftest import POLICY, TREASURY, Run, failed

pytestmark = [needs_cassette, pytest.mark.cassette]

NETWORK, NETUID = "grown", 2
PASSWORD = "correct horse battery"  # noqa: S105 - of a wallet that this test makes
COMMAND = ("weights", "publish")


@dataclass
class Validator:
    """An arena over a growing node, and a wallet whose hotkey holds a UID there."""

    node: GrowingNode
    node_url: str
    url: str
    services: Services
    ledger: Ledger
    wallets: Path
    secrets: tuple[str, ...]
    run: Run

    def ingest(self) -> None:
        """Read the chain to its head."""
        chain = NodeChain(self.node_url, timeout_s=10)
        try:
            Follower(self.services, chain, NETWORK, NETUID).catch_up()
        finally:
            chain.close()

    def publish(self, *words: object, hotkey: str = "hot") -> Result:
        """Run the command."""
        where = ("--network", NETWORK, "--netuid", NETUID, "--node", self.node_url)
        who = ("--wallet", "validator", "--hotkey", hotkey, "--wallet-path", self.wallets)
        return self.run(*COMMAND, *where, *who, *words, url=self.url)

    def answer(self, *words: object, ends: int = 0) -> dict[str, Any]:
        """What it says as JSON, and with which exit code."""
        result = self.publish("--format", "json", *words)
        assert result.exit_code == ends, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def facts(self) -> int:
        """How many facts the log holds."""
        return self.ledger.head().position


def secret_of(keyfile: Path) -> list[str]:
    """Every word of a plain key file that nobody else may see."""
    written = json.loads(keyfile.read_text(encoding="utf-8"))
    found = [written[name] for name in ("secretSeed", "secretPhrase", "privateKey")]
    return [word.removeprefix("0x") for word in found if word]


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wallet with an open hotkey and a locked one, made once: a password is hashed for seconds,
    with a gigabyte of memory, so that it is hard to guess. The tests only read it."""
    folder = tmp_path_factory.mktemp("wallets")
    wallet = bittensor.Wallet(name="validator", hotkey="hot", path=str(folder))
    wallet.create_new_coldkey(coldkey_password=PASSWORD, suppress=True)
    wallet.create_new_hotkey(suppress=True)
    locked = bittensor.Wallet(name="validator", hotkey="locked", path=str(folder))
    locked.create_new_hotkey(hotkey_password=PASSWORD, suppress=True)
    return folder


@contextmanager
def opened(folder: Path, wallets: Path, run: Run) -> Iterator[Validator]:
    wallet = bittensor.Wallet(name="validator", hotkey="hot", path=str(wallets))
    secrets = (PASSWORD, *secret_of(wallets / "validator" / "hotkeys" / "hot"))
    node = GrowingNode()
    node.give_uid(1, wallet.hotkey.ss58_address, wallet.coldkeypub.ss58_address)
    node.give_account(wallet.hotkey.ss58_address)
    node.give_account(TREASURY)
    url = f"sqlite:///{sqlite_copy(folder, 'ledger.db')}"
    services = open_services(Settings(database_url=url))
    try:
        ledger = open_arena(
            services.engine,
            ArenaKey(node.answer("chain_getBlockHash", [0]), NETUID),
            network=NETWORK,
            at_block=node.recorded_head,
            policy=parse_policy_toml(POLICY),
            actor="test",
        )
        with serving(node) as node_url:
            it = Validator(node, node_url, url, services, ledger, wallets, secrets, run)
            it.ingest()
            yield it
    finally:
        services.close()


@pytest.fixture
def validator(tmp_path: Path, wallets: Path, run: Run) -> Iterator[Validator]:
    with opened(tmp_path, wallets, run) as it:
        yield it


def test_the_first_vector_is_sent_once_and_proven_by_what_the_chain_holds(
    validator: Validator,
) -> None:
    answer = validator.answer()
    assert answer["sent"]["success"]
    assert (answer["uids"], answer["values"], answer["why"]) == ([0], [65_535], "first vector")
    assert (answer["block"], answer["sent"]["block"]) == (77, 78)
    held = validator.ledger.newest(WeightsReadBack)
    assert held is not None
    assert (held.block, held.digest) == (78, answer["digest"])
    sent = validator.ledger.newest(WeightsSubmitted)
    assert sent is not None
    assert (sent.nonce, sent.sent_after) == (0, 77)
    validator.ingest()
    again = validator.answer()
    assert (again["send"], again["sent"]) == (False, None)
    assert "the same was sent" in again["why"]
    assert len(validator.node.submitted) == 1


def test_a_dry_run_says_what_would_be_sent_and_leaves_no_trace(validator: Validator) -> None:
    before = validator.facts()
    answer = validator.answer("--dry-run")
    assert (answer["send"], answer["dry_run"], answer["why"]) == (True, True, "first vector")
    assert (answer["uids"], answer["values"]) == ([0], [65_535])
    table = validator.publish("--dry-run")
    assert "would be sent" in table.stdout
    assert validator.node.submitted == []
    assert validator.facts() == before


def test_a_dry_run_needs_no_password(validator: Validator) -> None:
    locked = bittensor.Wallet("validator", "locked", str(validator.wallets)).hotkeypub.ss58_address
    validator.node.give_uid(3, locked, locked)
    assert validator.publish("--dry-run", hotkey="locked").exit_code == 0


def test_a_lost_answer_is_told_and_the_next_run_finds_it(validator: Validator) -> None:
    validator.node.mischief.append(Mischief(lose_answer=True))
    failed(validator.publish(), 12, "looked up before it is sent again")
    validator.ingest()
    answer = validator.answer()
    assert answer["sent"] is None
    receipt = validator.ledger.newest(WeightsReceipt)
    assert receipt is not None
    assert (receipt.success, receipt.block) == (True, 78)
    assert len(validator.node.submitted) == 1


def test_what_the_node_threw_away_is_asked_of_an_archive_node(validator: Validator) -> None:
    validator.node.mischief.append(Mischief(lose_answer=True))
    failed(validator.publish(), 12, "looked up before it is sent again")
    held = NodeChain.block

    def thrown_away(chain: NodeChain, number: int) -> Any:
        if "localhost" not in chain.place:
            msg = f"the node no longer holds the state of block {number}"
            raise PrunedStateError(msg)
        return held(chain, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeChain, "block", thrown_away)
        failed(validator.publish(), 12, "no longer holds")
        archive = validator.node_url.replace("127.0.0.1", "localhost")
        assert validator.publish("--archive-node", archive).exit_code == 0
    receipt = validator.ledger.newest(WeightsReceipt)
    assert receipt is not None
    assert (receipt.success, receipt.block) == (True, 78)


def test_what_keeps_it_back_is_an_alert_and_an_answer(validator: Validator) -> None:
    hotkey = bittensor.Wallet("validator", "hot", str(validator.wallets)).hotkeypub.ss58_address
    validator.node.put("SubtensorModule", "Uids", [NETUID, hotkey], None)
    answer = validator.answer(ends=8)
    assert (answer["send"], answer["alert"]) == (False, "validator_not_registered")
    alert = validator.ledger.newest(AlertRaised)
    assert alert is not None
    assert (alert.kind, alert.detail) == (answer["alert"], answer["why"])
    assert validator.node.submitted == []


def test_weights_that_the_chain_did_not_take_are_an_alert_and_an_exit_code(
    validator: Validator,
) -> None:
    failure = DispatchFailureError("SubtensorModule", "SettingWeightsTooFast")
    validator.node.mischief.append(Mischief(fail_with=failure))
    answer = validator.answer(ends=19)
    assert (answer["sent"]["success"], answer["sent"]["block"]) == (False, 78)
    alert = validator.ledger.newest(AlertRaised)
    assert alert is not None
    assert alert.kind == "weights_failed"
    assert "SettingWeightsTooFast" in alert.detail


@pytest.mark.parametrize(
    ("hotkey", "password", "words"),
    [
        ("locked", "not the right one", "the password is wrong"),
        ("locked", None, "nobody is there to type it"),
        ("missing", None, "there is no such key file"),
    ],
)
def test_a_wallet_that_does_not_open_is_one_sentence_without_secrets(
    validator: Validator,
    environment: pytest.MonkeyPatch,
    hotkey: str,
    password: str | None,
    words: str,
) -> None:
    if password is not None:
        keyfile = bittensor.Wallet("validator", hotkey, str(validator.wallets)).hotkey_file
        environment.setenv(keyfile.env_var_name(), "")  # so that it is taken back afterwards
        keyfile.save_password_to_env(password)
    result = validator.publish(hotkey=hotkey)
    assert result.exit_code == 22, result.output
    # The SDK's prompt may stand before it: nobody was there to answer.
    _, _, sentence = result.stderr.partition("cacheon-ledger: ")
    assert sentence.count("\n") == 1
    assert words in sentence
    assert "Traceback" not in result.stderr
    assert_no_secret(validator, result, *([password] if password else []))


def test_a_key_in_a_nodes_url_is_given_by_the_environment_and_logged_by_nobody(
    validator: Validator, environment: pytest.MonkeyPatch
) -> None:
    key = "a-key-that-was-paid-for"
    urls = f"{validator.node_url}/{key} ws://127.0.0.1:1/{key}"
    environment.setenv("LEDGER_NODE", urls)
    where = ("--network", NETWORK, "--netuid", NETUID, "--dry-run", "--format", "json")
    who = ("--wallet", "validator", "--hotkey", "hot", "--wallet-path", validator.wallets)
    result = validator.run("--debug", *COMMAND, *where, *who, url=validator.url)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["send"]
    assert key not in result.output + result.stderr


@pytest.mark.parametrize("name", WIRES)
def test_debug_shows_no_wire(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().level, logging.getLogger().handlers[:]
    try:
        configure(debug=True)
        logging.getLogger(f"{name}.client").debug("> GET /key HTTP/1.1")
        logging.getLogger("somebody.else").debug("seen")
        said = capsys.readouterr().err
    finally:
        logging.getLogger().setLevel(before[0])
        logging.getLogger().handlers[:] = before[1]
        structlog.reset_defaults()
    assert "key" not in said
    assert "seen" in said


def test_no_secret_of_the_wallet_reaches_the_output_or_the_database(validator: Validator) -> None:
    sent = validator.publish("--format", "json")
    assert sent.exit_code == 0
    assert_no_secret(validator, sent)
    who = ("--wallet", "validator", "--hotkey", "locked", "--wallet-path", validator.wallets)
    where = ("--network", NETWORK, "--netuid", NETUID, "--node", validator.node_url)
    debugged = validator.run("--debug", *COMMAND, *where, *who, url=validator.url)
    assert debugged.exit_code == 22
    assert "Traceback" in debugged.stderr
    assert_no_secret(validator, debugged)


def assert_no_secret(validator: Validator, result: Result, *more: str) -> None:
    """Nothing that was said or stored holds a secret."""
    secrets = (*validator.secrets, *more)
    assert all(secrets)
    said = result.output + result.stderr
    with validator.services.engine.connect() as connection:
        rows = connection.execute(text("SELECT state FROM events")).scalars().all()
    stored = b"".join(bytes(row) for row in rows)
    for secret in secrets:
        assert secret not in said
        assert secret.encode() not in stored
