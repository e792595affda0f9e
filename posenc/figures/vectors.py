"""Changes to matplotlib's SVG: smaller files, tooltips, and the colours of the page."""

import re
from collections import Counter
from collections.abc import Mapping
from zlib import crc32

TIP = "tip:"
"""The prefix of a gid. The rest of the gid is the artist's tooltip. Its first line is the name of the artist's arm."""
TAG = re.compile(r"<[^<>]*>")
NUMBER = re.compile(r"(?<![#\w.])(-?\d+\.\d\d)\d+")
TURN = re.compile(r' transform="rotate\(-?0 [^"]*"')
USES = re.compile(r'(<g[^<>]*)>\s*((?:<use [^<>]*style="([^"]*)"/>\s*)+)</g>')

FONT = re.compile(r"font-family: [^;\"]*;? ?")
FAMILY = "'DejaVu Sans', Verdana, Arial, sans-serif"
"""The fonts of a picture, written once instead of in each text."""


def finish(svg: str) -> str:
    """Add tooltips, cut coordinates after two decimals, and write equal styles once."""
    svg = re.sub(rf'<g id="{TIP}([^"]*)">', r'<g class="tip"><title>\1</title>', svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = TAG.sub(lambda tag: FONT.sub("", tag[0]), re.sub(r"<!--.*?-->|<g/>", "", svg, flags=re.DOTALL))
    svg = svg.replace("<svg ", f'<svg style="font-family: {FAMILY}" ', 1)
    svg = USES.sub(_hoist, svg)
    svg = TAG.sub(lambda tag: NUMBER.sub(r"\1", TURN.sub("", tag[0])), svg)
    return re.sub(r"\n\s*", "\n", _classes(svg))


def _classes(svg: str) -> str:
    """Give each frequent style a class. Its name is a checksum of the style, so that pictures can share a page."""
    often = [style for style, number in Counter(re.findall(r' style="([^"]*)"', svg)).items() if number > 2]
    names = {style: f"s{crc32(style.encode()):x}" for style in often}
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    svg = re.sub(r' style="([^"]*)"', lambda one: f' class="{names[one[1]]}"' if one[1] in names else one[0], svg)
    return re.sub(r"(<svg [^<>]*>)", lambda head: f"{head[1]}<style>{rules}</style>", svg, count=1)


def _hoist(group: re.Match[str]) -> str:
    head, uses, style = group.groups()
    mine = f' style="{style}"'
    if uses.count("<use ") != uses.count(mine) or "style=" in head:
        return group[0]
    return f"{head}{mine}>{uses.replace(mine, '')}</g>"


def inline(svg: str, title: str, dark: Mapping[str, str]) -> str:
    """The SVG as an element of a page. Colours become the page's variables: #2d6acc becomes var(--c2d6acc)."""
    start = svg.index("<svg")
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[start:], flags=re.DOTALL)
    head, _, rest = body.partition(">")
    rest = re.sub(r"<style.*?</style>|<[^<>]*>", lambda part: _named(part[0], dark), rest, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    return f'<svg {box[0]} role="img" aria-label="{title}" xmlns:xlink="http://www.w3.org/1999/xlink">{rest}'


def _named(tag: str, dark: Mapping[str, str]) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda one: f"var(--c{one[0][1:]})" if one[0] in dark else one[0], tag)
