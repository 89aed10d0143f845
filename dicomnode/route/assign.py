"""Which series fills which role, so that as many roles as possible are filled and all lie in one frame of reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dicomnode.domain.model import InputRole
from dicomnode.route.facts import typical
from dicomnode.route.judge import Judged

Taken: TypeAlias = dict[str, Judged]
"""Role → what fills it."""
Rank: TypeAlias = tuple[bool, float, int, float, str]


def assigned(roles: Sequence[InputRole], judged: Mapping[str, Sequence[Judged]]) -> Taken:
    """Fill the roles from series of one Frame of Reference: the frame that fills most, then that of the best series.

    A role with ``any_frame`` takes a series of any frame.
    """
    frames = dict.fromkeys(item.frame for role in roles for item in judged[role.role] if item.score is not None)
    found = [_filled(roles, {role.role: [item for item in judged[role.role] if role.any_frame or item.frame == frame]
                             for role in roles}) for frame in frames]
    return max(found, key=lambda taken: _worth(roles, taken), default={})


def without_frames(roles: Sequence[InputRole], judged: Mapping[str, Sequence[Judged]]) -> Taken:
    """Fill the roles whatever the Frames of Reference: to see whether these alone stand against a study."""
    return _filled(roles, judged)


def rank(item: Judged) -> Rank:
    """Order the eligible series of a role: one that can be read, score, slices, the lowest SeriesNumber."""
    number = typical(item.series).number("SeriesNumber")
    last = -(number if number is not None else 1e9)
    return not item.unreadable, item.score or 0.0, item.slices, last, item.series.series_uid


def _worth(roles: Sequence[InputRole], taken: Taken) -> tuple[int, int, tuple[Rank, ...]]:
    required = sum(role.required and role.role in taken for role in roles)
    return required, len(taken), tuple(rank(taken[role.role]) for role in roles if role.role in taken)


def _filled(roles: Sequence[InputRole], judged: Mapping[str, Sequence[Judged]]) -> Taken:
    """Match roles to series: required roles first, the one with the fewest eligible series first, each its best.

    A role that finds its series taken asks the role that has it to take its next best, and so on (Kuhn's algorithm),
    so that no role stays empty that could be filled.
    """
    wishes = {role.role: sorted((item for item in judged[role.role] if item.score is not None), key=rank, reverse=True)
              for role in roles}
    owner: dict[str, str] = {}
    taken: Taken = {}
    for role in sorted(roles, key=lambda one: (not one.required, len(wishes[one.role]))):
        _settle(role.role, wishes, owner, taken, set())
    return taken


def _settle(role: str, wishes: Mapping[str, Sequence[Judged]], owner: dict[str, str], taken: Taken,
            asked: set[str]) -> bool:
    for free_only in (True, False):
        for item in wishes[role]:
            uid = item.series.series_uid
            if uid in asked or (free_only and uid in owner):
                continue
            asked.add(uid)
            if uid not in owner or _settle(owner[uid], wishes, owner, taken, asked):
                owner[uid], taken[role] = role, item
                return True
    return False
