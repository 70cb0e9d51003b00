"""The page in a real browser: hostile text does not run, our own style and script do."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from api.app import open_services
from api.settings import Settings
from tests.unit.api.season import DAVE, HEAD, record_season

CHROMIUM = shutil.which("chromium")
DEADLINE_S = 120
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.slow,
]

# Serves a recorded season; after a page was sent for the first time, one more block is recorded.
PROGRAM = f"""
import sys
import uvicorn
from api.app import open_services
from api.http.app import create_app
from api.http.server import listening
from api.settings import Settings
from tests.unit.api.season import record_blocks

services = open_services(Settings(database_url=sys.argv[1]))
app, sent = create_app(services), []

async def growing(scope, receive, send):
    await app(scope, receive, send)
    if scope["type"] == "http" and scope["path"] == "/demo/14" and not sent:
        sent.append(True)
        record_blocks(services.ledger("demo", 14), {HEAD + 1})

with listening("127.0.0.1", 0) as taken:
    print(taken.getsockname()[1], flush=True)
    config = uvicorn.Config(growing, log_config=None, lifespan="off")
    uvicorn.Server(config).run(sockets=[taken])
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = f"sqlite:///{tmp_path_factory.mktemp('browser') / 'season.db'}"
    services = open_services(Settings(database_url=url))
    record_season(services)
    services.close()
    command = [sys.executable, "-c", PROGRAM, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/demo/14"
        finally:
            process.terminate()
            process.wait(timeout=DEADLINE_S)


def browse(address: str, profile: Path, *options: str) -> tuple[str, str]:
    """The document after 20 s of the browser's own time, and what it complained of."""
    assert CHROMIUM is not None
    done = subprocess.run(  # noqa: S603  Debian's own browser
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--enable-logging=stderr",
            "--virtual-time-budget=20000",
            f"--user-data-dir={profile}",
            *options,
            address,
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return done.stdout, done.stderr


def test_the_page_follows_the_log_and_runs_nothing_foreign(address: str, tmp_path: Path) -> None:
    document, complaints = browse(address, tmp_path / "profile", "--dump-dom")
    shown = unescape(document)
    # The first answer said block 150; the page's own script fetched the next one.
    assert f"<dt>Block</dt><dd>{HEAD + 1}</dd>" in shown
    assert "<title>demo/14 at block" in document
    assert "<title>owned" not in document
    assert DAVE in document
    # The server's log is on the page, as text.
    assert "&lt;script&gt;document.title='owned'&lt;/script&gt;" in document
    assert "Content Security Policy" not in complaints
    assert "Uncaught" not in complaints


def test_a_light_is_a_coloured_dot_beside_its_word(address: str, tmp_path: Path) -> None:
    document, complaints = browse(f"{address}?at_block=140", tmp_path / "profile", "--dump-dom")
    lights = re.findall(
        r'<span class="tag light ([a-z]*)"><svg[^>]*aria-label="([a-z]+) light">'
        r"<circle[^>]*></circle></svg>\s*([a-z ]+)</span>",
        document,
    )
    assert lights == [
        ("good", "green", "accounted for"),
        ("", "unresolved", "balance not known"),
        ("good", "green", "accounted for"),
    ]
    assert "Content Security Policy" not in complaints


def test_the_page_is_drawn(address: str, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(
        f"{address}?at_block=140",
        tmp_path / "profile",
        "--window-size=1200,2400",
        f"--screenshot={picture}",
    )
    assert picture.read_bytes().startswith(b"\x89PNG")
    # A blank sheet of this size packs into a few kilobytes.
    assert picture.stat().st_size > 100_000
