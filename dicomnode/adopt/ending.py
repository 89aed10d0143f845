"""How a bundle's postprocessing ends: what its last steps say about the meaning of its output channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the steps of ``postprocessing`` do to the prediction.

    Parameters
    ----------
    expression:
        A step's own expression, '' where there is none: it may give channels any value.
    """

    softmax: bool = False
    sigmoid: bool = False
    argmax: bool = False
    expression: str = ""

    @property
    def overlaps(self) -> bool:
        """Whether every channel is thresholded for itself, and stays a channel."""
        return self.sigmoid and not self.argmax and not self.expression


def ending_of(config: Json) -> Ending:
    """Read the steps of a config that is plain data; nothing is evaluated."""
    steps = list(_steps(config.get("postprocessing")))
    expressions = [str(step["func"]) for step in steps if "func" in step]
    return Ending(softmax=any(_says(step, "softmax") for step in steps),
                  sigmoid=any(_says(step, "sigmoid") for step in steps),
                  argmax=any(_says(step, "argmax") for step in steps),
                  expression=line_of(expressions[-1])[:120] if expressions else "")


def line_of(text: str) -> str:
    """Return a text of others as one line that a terminal and a comment can take: nothing in it but what is seen."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _says(step: Json, argument: str) -> bool:
    said = step.get(argument)
    return said is True or (isinstance(said, list) and True in said)


def _steps(value: object) -> Iterator[Json]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value
        for part in value.values():
            yield from _steps(part)
    elif isinstance(value, list):
        for part in value:
            yield from _steps(part)
