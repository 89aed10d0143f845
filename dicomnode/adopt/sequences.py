"""What a scanner sets for the MR sequence that a channel is named after: first lines of its ``[[inputs]]``."""

from __future__ import annotations

import re
from typing import Final

SHORT: Final = ("when = { EchoTime = { max = 30 }, RepetitionTime = { max = 3000 }, "
                "InversionTime = { max = 1400, or_absent = true } }")
LONG: Final = ("when = { EchoTime = { min = 70 }, RepetitionTime = { min = 2000 }, "
               "InversionTime = { max = 1000, or_absent = true } }")
TELLING: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"flair|t2[ _-]?f\b"), ("when = { EchoTime = { min = 70 }, InversionTime = { min = 1500 } }",)),
    (re.compile(r"t1[ _-]?(c|ce|gd|gad|km|post|contrast)\w*"), ('contrast = "with"', SHORT)),
    (re.compile(r"t1"), ('contrast = "without"', SHORT)),
    (re.compile(r"t2"), (LONG,)),
)
"""Name of a channel → lines that tell its sequence from the others; the first that fits counts."""


def telling_lines(channel: str) -> tuple[str, ...]:
    """Return the lines of a model file that tell a sequence apart by what the scanner sets; none where unknown."""
    name = channel.strip().lower()
    return next((lines for pattern, lines in TELLING if pattern.search(name)), ())
