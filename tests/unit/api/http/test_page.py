"""The page shows the same record to people, and shows hostile text as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import Services, open_services
from api.http.app import create_app
from api.pages.charts import ramp_chart
from api.pages.render import _ENVIRONMENT
from api.pages.text import amount, log_end, percent, readable, seconds
from api.settings import Settings
from api.words import WORDS
from ledger.application import Unit
from ledger.codes import (
    DepositionCause,
    DisqualificationCode,
    InfrastructureCause,
    RefusalCode,
    VoidCause,
)
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.policy import KingTakesAll
from ledger.rules.weights import ShareReason
from tests.unit.api.season import (
    ALICE,
    BOB,
    DAVE,
    HEAD,
    LOST_RAO,
    PERIOD_END,
    Season,
    record_season,
)

VOID = {"meta", "link", "input", "br", "line", "rect", "circle", "polyline", "img"}


class Outline(HTMLParser):
    """What a browser would make of the page: elements with their attributes, and their text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def client(services: Services, season: Season) -> TestClient:
    return TestClient(create_app(services))


def outline(client: TestClient, at_block: int | None = None) -> Outline:
    found = client.get("/demo/14", params={} if at_block is None else {"at_block": at_block})
    assert found.status_code == 200
    return Outline(found.text)


def test_the_root_leads_to_the_only_arena(client: TestClient) -> None:
    found = client.get("/")
    assert found.history
    assert found.url.path == "/demo/14"


def test_the_page_is_well_formed_and_said_in_parts(client: TestClient) -> None:
    page = outline(client)
    assert page.open == []
    headings = [name for name, _ in page.elements if name in {"h1", "h2", "h3", "h4"}]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    tables = len(page.all("table"))
    assert tables == len(page.all("caption")) >= 6
    assert all(cell.get("scope") in {"col", "row"} for cell in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {drawing.get("aria-labelledby") for drawing in page.all("svg")} - {None}
    assert len(labelled) == 2
    assert labelled <= set(ids)


def test_hostile_text_is_text(client: TestClient) -> None:
    page = outline(client)
    # The log of the disqualified server and the reason of the pause are there to be read …
    assert "<script>document.title='owned'</script>" in page.text
    assert "checking <b onmouseover=alert(1)>an exploit</b> & its fix" in page.text
    # … and none of it became an element or a handler.
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not page.all("b")
    handlers = [n for _, attributes in page.elements for n in attributes if n.startswith("on")]
    assert handlers == []


def test_only_the_pages_own_script_may_run(client: TestClient) -> None:
    policy = client.get("/demo/14").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"script-src 'sha256-[^']+';", policy)
    page = outline(client)
    assert not [a for _, a in page.elements if "style" in a or "src" in a]
    outside = [a["href"] for a in page.all("a") if not (a["href"] or "").startswith(("/", "#"))]
    assert outside == []


def test_the_page_is_about_the_block_it_is_asked_for(client: TestClient) -> None:
    early, now = outline(client, 105), outline(client)
    titles = [{a.get("title") for a in page.all("span")} for page in (early, now)]
    assert DAVE in titles[1]
    assert DAVE not in titles[0]
    assert "nobody is king, so everything goes to the burn UID" in early.text
    assert "is paused" not in early.text
    assert "Evaluation is paused" in now.text
    assert "a part of the record that no longer changes" in early.text
    assert outline(client, 150).text.count("no longer changes") == 0


@pytest.mark.parametrize(
    ("now", "labels"),
    [
        (1_000, [("0", "start", "1,000")]),
        (1_001, [("0", "start", "1,000"), ("1000", "end", "1,001")]),
        (1_200, [("0", "start", "1,000"), ("500", "middle", "1,100"), ("1000", "end", "1,200")]),
    ],
)
def test_an_axis_names_no_block_twice(now: int, labels: list[tuple[str, str, str]]) -> None:
    chart = ramp_chart(KingTakesAll(), [], opened_at=1_000, now_block=now, now_ppm=None)
    html = _ENVIRONMENT.from_string(
        "{% import 'macros.html' as m %}{{ m.axis(ticks, 50) }}"
    ).render(ticks=chart.ticks)
    label = r'<text x="(\d+)" y="\d+" text-anchor="(\w+)">([\d,]+)</text>'
    assert re.findall(label, html) == labels


def test_numbers_are_readable_and_exact_in_their_titles(client: TestClient) -> None:
    page = outline(client)
    titles = {a.get("title") for a in page.all("span")}
    assert f"-{LOST_RAO:,} rao" in titles
    assert "5,268,000,000 rao" in titles
    assert "5.268" in page.text
    assert "41.50 %" in page.text
    assert "balance not known" in page.text
    assert "on chain, not in the books" in page.text


def test_verdicts_are_in_words(client: TestClient) -> None:
    page = outline(client)
    assert "the server ended before it was ready (exited_at_start)" in page.text
    assert "not a finalized block before the commit (R2, payment_block_unknown)" in page.text
    assert "The baseline failed, so the round counts for nobody" in page.text
    titles = {a.get("title") for a in page.all("span")}
    assert {ALICE, BOB, DAVE} <= titles


def test_every_code_of_the_log_has_words() -> None:
    kinds = (RefusalCode, DisqualificationCode, VoidCause, InfrastructureCause)
    codes = {code.value for kind in (*kinds, DepositionCause, ShareReason) for code in kind}
    assert codes - set(WORDS) == set()


def test_links_to_json_are_alive(client: TestClient) -> None:
    for at_block in (None, 130):
        links = {a["href"] or "" for a in outline(client, at_block).all("a")}
        twins = {link for link in links if "/v1/" in link or ".json" in link}
        assert len(twins) >= 8
        for link in twins:
            found = client.get(link)
            assert found.status_code == 200, link
            assert found.headers["Content-Type"] == "application/json"
        expected = "150" if at_block is None else "130"
        assert (
            client.get(next(a for a in twins if "reigns" in a)).headers["X-Ledger-Block"]
            == expected
        )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/demo/15", 404),
        ("/demo/14?at_block=99", 404),
        ("/demo/14?at_block=soon", 422),
        ("/nothing", 404),
        ("/<script>alert(1)</script>/14", 404),
    ],
)
def test_errors_are_pages_too(client: TestClient, path: str, status: int) -> None:
    found = client.get(path)
    assert found.status_code == status
    assert found.headers["Content-Type"].startswith("text/html")
    page = Outline(found.text)
    assert page.open == []
    assert not page.all("script")


def test_the_form_without_a_block_asks_for_the_newest(client: TestClient) -> None:
    assert client.get("/demo/14?at_block=").headers["X-Ledger-Block"] == "150"


def test_values_as_people_read_them() -> None:
    assert percent(123_400) == "12.34 %"
    assert percent(1_000_000) == "100.00 %"
    assert percent(123_456) == "12.3456 %"
    assert percent(-500) == "−0.05 %"
    assert percent(None) == "unknown"
    assert '"100,000,000 rao"' in amount(100_000_000, "TAO")
    assert ">0.10 <" in amount(100_000_000, "TAO")
    assert ">−24.00 <" in amount(-24_000_000, "USD")
    assert "unknown" in amount(None, "TAO")
    assert "&lt;" in amount(1, "<b>")
    assert ">3.520 s<" in seconds(3_520_000)


def test_text_cannot_pretend_to_read_otherwise() -> None:
    replaced = "\N{REPLACEMENT CHARACTER}"
    reversed_by_mark = "abc\u202egnp.exe"
    assert readable(reversed_by_mark) == f"abc{replaced}gnp.exe"
    assert readable("\x1b[31mred\x00\nnext\tcell\r\n") == (
        f"{replaced}[31mred{replaced}\nnext\tcell\n"
    )
    assert log_end("x" * 7_000 + "end") == "x" * 5_997 + "end"


def test_each_account_of_the_treasury_has_a_light_with_a_word(client: TestClient) -> None:
    page = outline(client)
    lights = [one for one in page.all("svg") if (one.get("aria-label") or "").endswith(" light")]
    assert [one["aria-label"] for one in lights] == [
        "green light",
        "unresolved light",
        "green light",
    ]
    assert {one["role"] for one in lights} == {"img"}
    section = page.text.partition("The open period after block")[2]
    for account, word in (("assets:provider:lium", "accounted for"), ("ALPHA:14", "balance not")):
        assert word in section.partition(account)[2][:80]
    assert f"{HEAD - PERIOD_END}" in section.partition("assets:treasury")[2][:200]


def test_what_came_late_stands_apart_from_what_was_found_at_the_closing(tmp_path: Path) -> None:
    """Each note on a line of its own: run together, they read as one wrong sentence."""
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'season.db'}"))
    record_season(services)
    ledger = services.ledger("demo", 14)

    def correct(unit: Unit) -> None:
        unit.get(Treasury, treasury_id(ledger.arena)).adjust(
            unit.context,
            reference="audit-1",
            asset="TAO",
            amount=-1_000_000,
            provider=None,
            reason="a lost key",
            about_block=PERIOD_END,
            actor="op",
        )

    ledger.decide(correct)
    with TestClient(create_app(services)) as asked:
        found = asked.get("/demo/14").text
    services.close()
    section = found[found.index('aria-labelledby="treasury"') :]
    cells = re.findall(r'<td data-label="Status">(.*?)</td>', section)
    (told,) = [cell for cell in cells if "with what was recorded later" in cell]
    notes = re.findall(r"<li>(.*?)</li>", told)
    assert [re.sub("<[^>]+>", "", note).partition(":")[0] for note in notes] == [
        "on chain, not in the books",
        "with what was recorded later",
    ]
    assert told.endswith("</li></ul>")
