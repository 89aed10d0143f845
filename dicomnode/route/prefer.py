"""Of several series that a model could take, which is best: the model file's ``prefer``, as a score with its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from dicomnode.domain.condition import Wish
from dicomnode.domain.study import InstanceRecord, ScorePart
from dicomnode.route.conditions import shown
from dicomnode.route.places import slice_count

NEXT_WISH: Final = 0.01
"""Each wish weighs this much of the one before it: the first decides unless it ties (up to 100 series)."""
SMALLER: Final = frozenset({"thinnest"})
LARGER: Final = frozenset({"thickest", "most"})
THERE: Final = frozenset({"present", "absent"})
COUNTED: Final = frozenset({"InstanceNumber", "NumberOfFrames"})
"""With ``most``, these mean the number of slices."""
NAMED_KERNELS: Final[Mapping[str, float]] = {
    "SOFT": 0.1, "SMOOTH": 0.1, "STANDARD": 0.3, "STND": 0.3, "BODY": 0.3, "BRAIN": 0.2, "CHEST": 0.4,
    "DETAIL": 0.6, "SHARP": 0.8, "LUNG": 0.9, "BONE": 0.9, "BONEPLUS": 1.0, "EDGE": 1.0, "ULTRA": 1.0,
    "A": 0.2, "B": 0.3, "C": 0.5, "D": 0.8, "E": 0.9, "L": 0.8, "YA": 0.4, "YB": 0.5, "YC": 0.7, "YD": 0.9,
}
"""Reconstruction kernels that GE and Philips name by a word or letter: 0 soft to 1 sharp."""
SIEMENS_KERNEL: Final = re.compile(r"[A-Z][A-Z]?(\d\d)[A-Z]*")
"""Br40d, B31f, I70f: the number is the sharpness, 10 to 99."""
CANON_KERNEL: Final = re.compile(r"FC(\d\d)")
CANON_SHARP: Final = range(30, 60)
"""FC30 to FC59 are the bone and lung kernels of Toshiba and Canon."""

Images = tuple[InstanceRecord, ...]


def score_parts(candidates: Sequence[Images], prefer: Mapping[str, Wish]) -> list[tuple[ScorePart, ...]]:
    """Return for each candidate (its slice images) how well it meets each wish.

    A wish ranks the candidates: the best gets 1, the worst 0, one that does not say gets 0.
    """
    columns = [_ranked(candidates, keyword, wish) for keyword, wish in prefer.items()]
    return [tuple(column[index] for column in columns) for index in range(len(candidates))]


def total(parts: tuple[ScorePart, ...]) -> float:
    """Return the score, in [0, 1.0102]; higher is better, 1 for no wish at all."""
    return sum(part.points * NEXT_WISH**position for position, part in enumerate(parts)) if parts else 1.0


def sharpness(kernel: str) -> float | None:
    """Return how sharp a reconstruction kernel is, 0 to 1; None for one that the table does not know."""
    name = kernel.strip().upper()
    canon = CANON_KERNEL.match(name)
    if canon:
        return 0.9 if int(canon[1]) in CANON_SHARP else 0.3
    if name in NAMED_KERNELS:
        return NAMED_KERNELS[name]
    siemens = SIEMENS_KERNEL.fullmatch(name)
    return int(siemens[1]) / 100 if siemens else None


def _ranked(candidates: Sequence[Images], keyword: str, wish: Wish) -> list[ScorePart]:
    values = [_value(images, keyword, wish) for images in candidates]
    told = sorted({value for value in values if value is not None})
    points = [0.0 if value is None else told.index(value) / (len(told) - 1) if len(told) > 1 else 1.0
              for value in values]
    return [ScorePart(keyword=keyword, wish=_wording(wish), value=_met(images, keyword, wish), points=point)
            for images, point in zip(candidates, points, strict=True)]


def _value(images: Images, keyword: str, wish: Wish) -> float | None:
    """Return a number that is larger where the wish is better met; None where the series does not say."""
    first = images[0]
    if not isinstance(wish, str):
        return _listed(first, keyword, wish) if isinstance(wish, tuple) else _near(first, keyword, wish)
    if wish in {"soft", "sharp"}:
        sharp = sharpness(next(iter(first.attributes.get(keyword, ())), ""))  # Br40d\3: what follows is a strength
        return None if sharp is None else sharp if wish == "sharp" else -sharp
    if wish in THERE:
        return float(bool(first.text(keyword).strip()) == (wish == "present"))
    if wish == "most" and keyword in COUNTED:
        return float(slice_count(images))
    if wish in SMALLER | LARGER:
        number = first.number(keyword)
        return None if number is None else -number if wish in SMALLER else number
    return float(wish.strip().upper() in first.text(keyword).upper())


def _near(image: InstanceRecord, keyword: str, wish: float) -> float | None:
    number = image.number(keyword)
    return None if number is None else -abs(number - wish)


def _listed(image: InstanceRecord, keyword: str, wish: tuple[str, ...]) -> float:
    text = image.text(keyword).upper()
    return float(-next((place for place, one in enumerate(wish) if one.strip().upper() in text), len(wish)))


def _met(images: Images, keyword: str, wish: Wish) -> str:
    if wish == "most" and keyword in COUNTED:
        return f"{slice_count(images)} slices"
    return shown(images[0], keyword)


def _wording(wish: Wish) -> str:
    if isinstance(wish, float | int):
        return f"near {wish:g}"
    return f"first of {', '.join(wish)}" if isinstance(wish, tuple) else wish
