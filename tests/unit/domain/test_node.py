"""What the configuration's values say by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.domain.node import (
    CompletionSettings,
    DeliverySettings,
    LogSettings,
    NodeConfig,
    NodeSettings,
    Peer,
    ReceiveSettings,
    RetentionSettings,
    WebSettings,
    WorkerSettings,
)


def config(**quiet_s: float | None) -> NodeConfig:
    return NodeConfig(
        path=Path("node.toml"), node=NodeSettings(), receive=ReceiveSettings(),
        completion=CompletionSettings(quiet_s=30.0), worker=WorkerSettings(), delivery=DeliverySettings(),
        retention=RetentionSettings(), web=WebSettings(), log=LogSettings(), routes=(),
        peers={name: Peer(name=name, ae_title=name, quiet_s=own) for name, own in quiet_s.items()})


@pytest.mark.parametrize(("titles", "seconds"), [
    ({"FAST"}, 5.0), ({"SLOW"}, 90.0), ({"PLAIN"}, 30.0), ({"FAST", "SLOW"}, 90.0),
    ({"FAST", "PLAIN"}, 30.0), ({"FAST", "STRANGER"}, 30.0), ({"SLOW", "PLAIN"}, 90.0), (set(), 30.0),
])
def test_a_study_waits_as_long_as_the_slowest_that_fed_it_and_who_says_nothing_has_the_default(titles, seconds):
    assert config(FAST=5.0, SLOW=90.0, PLAIN=None).quiet_s(frozenset(titles)) == seconds
