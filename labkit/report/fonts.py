"""What the fonts at hand can write: Chinese where there is a Chinese font, and nowhere an empty box."""

from __future__ import annotations

import functools

CJK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "Heiti SC", "SimHei", "SimSun"),
    *("Arial Unicode MS", "Droid Sans Fallback", "Unifont"),
)
LONGEST_NAME = 34


@functools.cache
def _fonts() -> tuple[tuple[str, frozenset[int]], ...]:
    """The default font, then a Chinese one if there is any: name and the characters it has."""
    from matplotlib import font_manager

    names = {font.name for font in font_manager.fontManager.ttflist}
    found = []
    for name in ("DejaVu Sans", *[name for name in CJK_FONTS if name in names][:1]):
        face = font_manager.get_font(font_manager.findfont(name))
        found.append((name, frozenset(face.get_charmap())))
    return tuple(found)


def family(text: str) -> list[str]:
    """The fonts that `text` needs, the default first."""
    first, *others = _fonts()
    return [first[0], *(name for name, has in others if any(ord(c) not in first[1] for c in text))]


def drawable(text: str, otherwise: str) -> str:
    """`text` on one line without what no font can write, cut to a legible length; `otherwise` if nothing is left."""
    known = frozenset().union(*(has for _, has in _fonts()))
    kept = " ".join("".join(c if ord(c) in known or c.isspace() else "" for c in text).split())
    kept = kept if any(c.isalnum() for c in kept) or not text else otherwise
    return kept if len(kept) <= LONGEST_NAME else kept[: LONGEST_NAME - 1] + "…"
