"""Bells, presence, leases, the loop and the outbox."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime

import pytest

from dicomnode.config import model_from_text
from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.node import Peer, Route
from dicomnode.domain.settings import Outputs
from dicomnode.errors import ClaimLost, LedgerUnavailable
from dicomnode.run.bell import Bell, ring
from dicomnode.run.lease import Lease
from dicomnode.run.loop import run
from dicomnode.run.outbox import audiences, deliveries_for, going_nowhere, remarks
from dicomnode.run.presence import Presence, living
from tests.live import ROOT


def test_a_ring_wakes_the_role_it_names_and_no_other(tmp_path):
    with Bell(tmp_path, "worker") as worker, Bell(tmp_path, "sender") as sender:
        ring(tmp_path, "worker")
        assert worker.wait(5.0)
        assert not sender.wait(0.0)


def test_a_bell_works_below_a_path_longer_than_a_socket_address(tmp_path):
    deep = tmp_path / ("long" * 20) / ("path" * 20)
    with Bell(deep, "keeper") as bell:
        ring(deep, "keeper")
        assert bell.wait(5.0)


def test_ringing_where_nobody_listens_is_no_error_and_removes_the_dead_door(tmp_path):
    bell = Bell(tmp_path, "worker")
    bell._socket.close()
    ring(tmp_path, "worker")
    assert not list(tmp_path.glob("*.sock"))
    ring(tmp_path / "absent", "worker")


def test_a_killed_process_is_no_longer_present_and_its_leftover_goes_with_the_next(tmp_path):
    script = ("from dicomnode.run.presence import Presence; from pathlib import Path\n"
              f"p = Presence(Path({str(tmp_path)!r}), 'keeper'); print('here', flush=True); input()")
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert living(tmp_path) == {"keeper": 1}
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        assert living(tmp_path) == {}
        successor = Presence(tmp_path, "keeper")
        assert len(list(tmp_path.glob("*.alive"))) == 1
        successor.close()
    assert living(tmp_path) == {}


def test_a_lease_is_renewed_until_its_block_ends():
    renewed = threading.Event()
    with Lease(lambda _now: renewed.set(), lease_s=0.03) as lease:
        assert renewed.wait(10)
        assert not lease.lost.is_set()


def test_a_lease_that_is_lost_says_so_and_one_whose_database_is_away_does_not():
    def lost(_now: datetime) -> None:
        raise ClaimLost("token changed")

    tried = threading.Event()

    def away(_now: datetime) -> None:
        tried.set()
        raise LedgerUnavailable("no answer")

    with Lease(lost, lease_s=0.03) as lease:
        assert lease.lost.wait(10)
    with Lease(away, lease_s=0.03) as lease:
        assert tried.wait(10)
        assert not lease.lost.is_set()


@pytest.mark.parametrize("error", [LedgerUnavailable("away"), RuntimeError("unforeseen"), ClaimLost("gone")])
def test_no_error_of_a_step_ends_the_loop(tmp_path, monkeypatch, error):
    monkeypatch.setattr("dicomnode.run.loop.PAUSE_AFTER_ERROR_S", 0.0)
    stop = threading.Event()
    calls = []

    def step(now: datetime) -> bool:
        calls.append(now)
        if len(calls) == 1:
            raise error
        stop.set()
        return False

    with Bell(tmp_path, "keeper") as bell:
        run(step, stop=stop, bell=bell, role="keeper")
    assert len(calls) == 2
    assert all(now.tzinfo is not None for now in calls)


def an_object(kind: str, group: str, number: int) -> EncodedObject:
    return EncodedObject(kind=kind, group=group, sop_class_uid="1.2", sop_instance_uid=f"2.25.{number}",
                         series_uid="2.25.1", transfer_syntax_uid="1.2", payload=b"")


OBJECTS = [an_object("SEG", "seg", 1), an_object("SR3D", "findings", 2), an_object("SR", "findings", 3)]


def test_a_peer_gets_of_each_group_the_forms_it_takes_in_its_own_order():
    peer = Peer(name="pacs", ae_title="PACS", takes=("SR", "SR3D", "SEG"))
    (delivery,) = deliveries_for(["pacs"], {"pacs": peer}, OBJECTS)
    assert delivery.items == [("2.25.1",), ("2.25.3", "2.25.2")]


def test_a_peer_gets_what_its_route_adds_to_what_it_takes():
    objects = [*OBJECTS, an_object("SC", "summary", 4), an_object("PM", "map", 5)]
    peers = {"pacs": Peer(name="pacs", ae_title="PACS")}
    (delivery,) = deliveries_for(["pacs"], peers, objects, ("SC",))
    assert delivery.items == [("2.25.1",), ("2.25.2", "2.25.3"), ("2.25.4",)]
    assert audiences(["pacs"], peers, ("SC",)) == (("SEG", "SR3D", "SR", "TEXT", "KOS", "SC"),)


def test_one_object_that_stands_for_several_is_an_alternative_of_each():
    parts = [an_object("SEG", "seg:m/1", 1), an_object("SEG", "seg:m/2", 2), an_object("LABELMAP", "seg:m", 3)]
    peers = {"both": Peer(name="both", ae_title="A", takes=("LABELMAP", "SEG")),
             "maps": Peer(name="maps", ae_title="B", takes=("LABELMAP",)), "old": Peer(name="old", ae_title="C")}
    both, maps, old = deliveries_for(["both", "maps", "old"], peers, parts)
    assert both.items == [("2.25.3", "2.25.1"), ("2.25.3", "2.25.2")]
    assert maps.items == [("2.25.3",)]
    assert old.items == [("2.25.1",), ("2.25.2",)]


def test_what_is_asked_for_and_reaches_nobody_is_told():
    model = model_from_text((ROOT / "config" / "models" / "demo_chest.toml").read_text(encoding="utf-8"), source="x")
    pictured = replace(model, outputs=Outputs(capture=True), overlapping=True)
    peers = {"pacs": Peer(name="pacs", ae_title="PACS"),
             "maps": Peer(name="maps", ae_title="B", takes=("LABELMAP", "SR"))}
    lonely = Route(name="r", model=("m",), outputs=("GSPS",))
    assert [text for text in going_nowhere(lonely, peers, [model]) if "nobody" in text]
    told = list(going_nowhere(Route(name="r", model=("m",), to=("pacs", "maps")), peers, [pictured]))
    assert ["makes SC and nobody gets it" in told[0], "maps takes LABELMAP and not SEG" in told[1], len(told)] == [
        True, True, 2]
    asked = Route(name="r", model=("m",), to=("pacs",), outputs=("SC",))
    assert list(going_nowhere(asked, peers, [pictured])) == []
    silent = replace(model, outputs=Outputs(seg=False, sr=False))
    assert list(going_nowhere(asked, peers, [silent])) == []
    (told,) = going_nowhere(replace(asked, outputs=()), peers, [silent])
    assert "makes nothing that anybody gets" in told


def test_the_timeline_says_what_could_not_be_made_and_who_gets_nothing_of_an_empty_analysis():
    told = dict(remarks(["pacs"], [], OBJECTS, (), {"GSPS": "EncodingError: its header is unfit"}))
    without = f"no GSPS, the other {len(OBJECTS)} objects are there without it"
    assert told["object_not_made"] == f"{without}: EncodingError: its header is unfit"
    assert "takes none of the" in told["nothing_for_peer"]
    assert "the analysis made no object" in dict(remarks(["pacs"], [], [], ()))["nothing_for_peer"]


def test_a_peer_that_takes_nothing_of_a_job_gets_no_delivery():
    peer = Peer(name="pacs", ae_title="PACS", takes=("SC",))
    assert deliveries_for(["pacs"], {"pacs": peer}, OBJECTS) == []


def test_a_peer_that_left_the_configuration_still_gets_its_delivery():
    (delivery,) = deliveries_for(["gone"], {}, OBJECTS)
    assert delivery.peer == "gone"
