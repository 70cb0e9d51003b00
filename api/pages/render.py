"""Templates, and the headers that keep a page from running anything but its own script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from api.pages import charts, text
from api.words import in_words


def _asset(name: str) -> Markup:
    """One of our own files, put into the page as it is."""
    source = resources.files("api.pages").joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(source)  # noqa: S704  our own file, no foreign text


def _source(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


STYLE: Final = _asset("style.css")
SCRIPT: Final = _asset("refresh.js")

PAGE_HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            f"style-src {_source(STYLE)}",
            f"script-src {_source(SCRIPT)}",
            "img-src data:",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    ),
}


def _environment() -> Environment:
    # Escaping is on for every template: log tails, image names and reasons are hostile input.
    found = Environment(
        loader=PackageLoader("api.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "amount", "seconds", "number", "short", "readable", "log_end"):
        found.filters[name] = getattr(text, name)
    found.filters["words"] = in_words
    found.globals.update(style=STYLE, script=SCRIPT, chart_width=charts.WIDTH)
    found.globals.update(chart_height=charts.HEIGHT)
    return found


_ENVIRONMENT: Final = _environment()


def render(template: str, **context: object) -> bytes:
    """A template with its context, as UTF-8; an undefined name is an error."""
    return _ENVIRONMENT.get_template(template).render(**context).encode()
