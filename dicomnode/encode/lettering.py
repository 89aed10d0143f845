"""Text of a picture: one font that every installation has, and nothing drawn that it cannot show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Final

from PIL import ImageFont

TEXT_PIXELS: Final = 18
WARNING_PIXELS: Final = 24
SMALL_PIXELS: Final = 14
MISSING: Final = "\uffff"
LOOKALIKES: Final[Mapping[str, str]] = MappingProxyType({
    "–": "-", "—": "-", "×": "x", "µ": "u", "μ": "u", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "→": "->",
    "，": ",", "：": ":", "（": "(", "）": ")",
})
"""What stands for a sign that the font lacks."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@cache
def font(pixels: int) -> Font:
    """Return the font that comes with Pillow: Latin letters without accents, digits, the usual signs."""
    return ImageFont.load_default(pixels)


def legible(text: str) -> bool:
    """Whether the font has every letter of a text."""
    return all(_has(letter) for letter in text)


def latin(text: str) -> str:
    """Return a text as the font can show it: accents dropped, signs by their likes, ``?`` for any other letter."""
    return "".join(letter if _has(letter) else _alike(letter) for letter in text)


def wrapped(text: str, width: int, pixels: int = TEXT_PIXELS) -> Iterator[str]:
    """Yield the lines of a text that are no wider than so many pixels, broken between words."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and wide(longer, pixels) > width:
            yield line
            longer = word
        line = longer
    yield line


def columns(rows: Sequence[Sequence[str]], gap: int) -> list[int]:
    """Return where each column of a table begins, so that every cell fits and ``gap`` pixels remain between them."""
    starts = [0]
    for number in range(max(map(len, rows), default=0)):
        widest = max(wide(row[number]) for row in rows if number < len(row))
        starts.append(starts[-1] + (widest + gap if widest else 0))
    return starts


def wide(text: str, pixels: int = TEXT_PIXELS) -> int:
    """Return how many pixels a text is wide."""
    return round(font(pixels).getlength(text))


@cache
def _has(letter: str) -> bool:
    drawn = font(TEXT_PIXELS).getmask(letter)
    missing = font(TEXT_PIXELS).getmask(MISSING)
    return letter.isspace() or (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))


def _alike(letter: str) -> str:
    if letter in LOOKALIKES:
        return LOOKALIKES[letter]
    plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return plain if plain and all(_has(part) for part in plain) else "?"
