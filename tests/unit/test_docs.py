"""What the README and its companions say is true: commands, addresses, settings, files, pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import benchmarks.__main__  # noqa: F401  registers the benchmarks whose page is compared
from api.app import open_services
from api.cli.main import app
from api.cli.options import ARCHIVE_VARIABLE, NODES_VARIABLE
from api.http.app import create_app
from api.providers import ProviderSettings
from api.settings import Settings
from benchmarks.results import PAGE, page_of, read_results
from evaluation.engines.profile import parse_launch, profile_names
from ledger.codes import DisqualificationCode, InfrastructureCause, VoidCause
from ledger.policy import parse_policy_toml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
ROOMS = ("ledger", "chain", "evaluation", "api", "tests", "migrations", "docs", "benchmarks", ".ci")

SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#]+)\)")


MEANT = {"N": "1", "DIR": str(ROOT), "ID": "00000000-0000-0000-0000-000000000000"}
"""What stands for something of the reader's own, by something of that kind."""


def commands(text: str) -> list[str]:
    """Every `cacheon-ledger …` of a page, from its shell blocks and its code spans."""
    lines = [line for block in SHELL.findall(text) for line in block.splitlines()]
    spans = CODE.findall(SHELL.sub("", text))
    return [one for one in (*lines, *spans) if one.startswith("cacheon-ledger ")]


def parsed(words: list[str]) -> Iterator[Any]:
    """The contexts of a command line, as the program itself would read it, without running it."""
    group = typer.main.get_command(app)
    context = group.make_context("cacheon-ledger", words)
    yield context
    while isinstance(names := getattr(context.command, "commands", None), dict):
        left = [*context._protected_args, *context.args]
        if not left and context.command.invoke_without_command:
            return  # a group that is a command itself
        name, *words = left
        context = names[name].make_context(name, words, parent=context)
        yield context


CONTESTS, ENGINES, TREASURY = (
    (ROOT / "docs" / name).read_text(encoding="utf-8")
    for name in ("contests.md", "engines.md", "treasury.md")
)
QUOTED = [
    line for page in (README, CONTRIBUTING, CONTESTS, ENGINES, TREASURY) for line in commands(page)
]


def test_the_readme_quotes_a_command_for_everyone() -> None:
    said = {line.split()[1] for line in commands(README)}
    assert {"status", "weights", "treasury", "payouts", "submissions", "reigns", "serve"} <= said


@pytest.mark.parametrize("line", [one for one in QUOTED if "--help" not in one])
def test_every_quoted_command_is_understood(line: str) -> None:
    words = [MEANT.get(word, word) for word in shlex.split(line)[1:]]
    contexts = list(parsed(words))
    assert len(contexts) > 1
    assert contexts[-1].args == []


LAUNCHES = sorted(
    {word for line in QUOTED for word in shlex.split(line) if word.startswith("profile:")}
)


def test_every_quoted_launch_is_one() -> None:
    assert {"profile:vllm", "profile:vllm?enforce_eager=true"} <= set(LAUNCHES)
    for launch in LAUNCHES:
        assert parse_launch(launch).digest()


@pytest.mark.parametrize(
    "line", ["cacheon-ledger crown me", "cacheon-ledger weights --colour", "cacheon-ledger payouts"]
)
def test_a_command_that_is_not_there_would_be_noticed(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing|crown"):
        list(parsed(shlex.split(line)[1:]))


def test_every_quoted_address_is_an_endpoint(tmp_path: Path) -> None:
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'empty.db'}"))
    try:
        paths = create_app(services).openapi()["paths"]
    finally:
        services.close()
    known = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in paths]
    said = set(re.findall(r"/v1/[a-zA-Z0-9/]+(?!\.json)\b", README)) - {"/v1/openapi"}
    assert len(said) > 5
    assert [path for path in said if not any(one.fullmatch(path) for one in known)] == []


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    fields = {**Settings.model_fields, **ProviderSettings.model_fields}
    known = {f"LEDGER_{name.upper()}" for name in fields}
    table = set(re.findall(r"^\| `(LEDGER_[A-Z_]+)` \|", README, re.MULTILINE))
    # These are options of the command line that also read the environment.
    options = {
        *("LEDGER_ACTOR", "LEDGER_DEBUG", "LEDGER_EVIDENCE", "LEDGER_SSH_KEY"),
        *(NODES_VARIABLE, ARCHIVE_VARIABLE),
    }
    assert table == known | options
    assert set(re.findall(r"LEDGER_[A-Z_]+", README)) == table
    for name, field in fields.items():
        row = next(row for row in README.splitlines() if f"| `LEDGER_{name.upper()}`" in row)
        assert not field.default or f"`{field.default}`" in row


def test_the_policy_that_the_treasurys_page_shows_can_be_adopted() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TREASURY, re.DOTALL)
    rest = (ROOT / "ledger" / "policies" / "phase3.toml").read_text(encoding="utf-8")
    policy = parse_policy_toml(f"{rest}\n{example}")
    assert [tier.count for tier in policy.treasury.rental.tiers] == [8, 8]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [page.parent / target for target in LINK.findall(text) if "://" not in target]
    spans = [
        ROOT / span
        for span in CODE.findall(text)
        if span.split("/")[0] in ROOMS and "/" in span and " " not in span and "<" not in span
    ]
    assert [str(path) for path in (*links, *spans) if not path.exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    said = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^ {4})make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {"demo", "test", "setup", "lint", "bench"} <= said <= targets


def test_the_page_of_benchmarks_is_the_one_generated_from_the_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_of(read_results())


def test_decisions_are_numbered_without_a_gap_and_fit_a_page() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n:04d}" for n in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 40
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_every_code_of_a_verdict_is_explained() -> None:
    told = set(CODE.findall(CONTESTS))
    codes = {*DisqualificationCode, *InfrastructureCause, *VoidCause}
    assert sorted(code.value for code in codes if code.value not in told) == []


def test_every_launch_profile_is_documented() -> None:
    told = set(re.findall(r"^\| `([a-z-]+)` \|", ENGINES, re.MULTILINE))
    assert told == set(profile_names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_table_has_a_head(page: Path) -> None:
    """A blank line within a table makes plain text of the rows after it."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = block.splitlines()
        assert len(rows) > 1, rows
        assert re.fullmatch(r"(\| *:?-+:? *)+\|", rows[1]), rows[1]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {rows[1].count("|")}, rows[0]
