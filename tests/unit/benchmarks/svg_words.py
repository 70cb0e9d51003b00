"""What a plot's SVG shows: where its words, lines and curves lie."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

LETTER_PX, LETTER_HIGH = 5.5, 9
TITLE_LOW = 18
Box = tuple[float, float, float, float]


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))  # noqa: S314


def words(svg: str) -> dict[str, list[Box]]:
    """By text its boxes, by a letter's usual width."""
    found: dict[str, list[Box]] = {}
    for one in elements(svg, "text"):
        text = one.text or ""
        long = len(text) * LETTER_PX
        back = {"middle": long / 2, "end": long}.get(one.get("text-anchor", ""), 0.0)
        left, low = float(one.get("x", "")) - back, float(one.get("y", ""))
        found.setdefault(text, []).append((left, low - LETTER_HIGH, left + long, low))
    return found


def middle(svg: str, text: str) -> float:
    ((left, _, right, _),) = words(svg)[text]
    return (left + right) / 2


def assert_readable(svg: str) -> None:
    """No word lies on another or reaches out of the drawing."""
    wide, high = map(float, elements(svg, "svg")[0].get("viewBox", "").split()[2:])
    boxes = [(text, box) for text, own in words(svg).items() for box in own]
    for text, (left, top, right, low) in boxes:
        assert left >= 0, text
        assert top >= 0, text
        assert right <= wide, text
        assert low <= high, text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one, other)


def polylines(svg: str) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (point.split(",") for point in drawn.split())]
        for one in elements(svg, "polyline")
        if (drawn := one.get("points", ""))
    ]


def words_among_curves(svg: str) -> list[str]:
    """What is written right of the axis and above the lowest curve, but for the title."""
    curves = polylines(svg)
    low, left = max(y for curve in curves for _, y in curve), curves[0][0][0]
    return [
        text
        for text, own in words(svg).items()
        for box in own
        if box[2] > left and box[3] > TITLE_LOW and box[1] < low
    ]
