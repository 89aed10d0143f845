"""A disk that is full or read-only: refused in time, nothing half-written, and it goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.deliver.scu import echo
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.node import Peer
from dicomnode.errors import AssociationRejectedTransient, LedgerUnavailable, PeerBusy, SpoolFull, SpoolUnavailable
from dicomnode.infer.pool import Pool
from dicomnode.ledger import census, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run import state
from dicomnode.run.ready import ReadyModels
from dicomnode.run.worker import Worker
from tests.ledger_rows import a_snapshot, an_instance, index
from tests.live import LiveNode, until
from tests.receiving import Receiver
from tests.small_disk import SmallDisk, small_disk
from tests.stepped import PATIENCE_S, START, Stepped, a_study, at, send

FLOOR_MB = 100
PEERS = '[peers.ct]\nae_title = "SCANNER"\n'

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 8) as mounted:
        yield mounted


@pytest.fixture
def house(disk: SmallDisk, sqlite_ledger: Ledger) -> Stepped:
    """A node whose spool lies on the small disk, without a floor: the database is elsewhere."""
    return Stepped(disk.folder / "node", sqlite_ledger, "[receive]\nmin_free_gb = 0.0\n" + PEERS)


def answers_echo(receiver: Receiver) -> bool:
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=receiver.port)
    return echo(node_ae_title="SCANNER", peer=us, timeout_s=PATIENCE_S) >= 0


def halves(house: Stepped) -> list[Path]:
    """Return what a failure left half-written."""
    return [path for path in house.spool.root.rglob("*") if path.suffix == ".part"] + list(
        (house.spool.root / "tmp").iterdir())


def arrived(house: Stepped) -> int:
    return sum(1 for _ in house.spool.arrivals())


def problems(house: Stepped) -> str:
    return "\n".join(one.text for one in state.look(house.config, house.ledger, now=at(0)).problems)


def test_a_disk_that_is_full_in_the_middle_of_an_image_refuses_it_and_goes_on_when_there_is_room(
    house, disk, tmp_path,
):
    _, paths = a_study(tmp_path / "ct", 3)
    with house.receiving() as receiver:
        assert send(receiver, paths[:1]) == 1
        disk.fill(leave_bytes=0)
        with pytest.raises(PeerBusy) as refused:
            send(receiver, paths[1:])
        assert refused.value.status == 0xA700
        assert answers_echo(receiver)
        assert halves(house) == []
        disk.make_room()
        assert send(receiver, paths) == 3
    house.keep(at(0))
    with house.ledger.read() as c:
        (study,) = census.studies(c, limit=5)
    assert (study["instances"], study["copies"]) == (3, 3)


def test_the_keeper_waits_for_room_and_loses_nothing(house, disk, tmp_path):
    _, paths = a_study(tmp_path / "ct", 3)
    with house.receiving() as receiver:
        send(receiver, paths)
    disk.fill_names()
    with pytest.raises(SpoolFull):
        house.keep(at(0))
    assert arrived(house) == 3
    with house.ledger.read() as c:
        assert census.studies(c, limit=5) == []
    disk.free_names()
    house.keep(at(1))
    assert arrived(house) == 0
    with house.ledger.read() as c:
        assert census.studies(c, limit=5)[0]["instances"] == 3


def test_a_result_that_does_not_fit_leaves_nothing_and_its_job_spends_no_attempt(house, disk, tmp_path):
    images, paths = a_study(tmp_path / "ct", 3)
    with house.receiving() as receiver:
        send(receiver, paths)
    house.keep(at(0))
    study = str(images[0].StudyInstanceUID)
    with house.ledger.write() as c:
        jobs.create(c, study_uid=study, kind="notice", revision=0, priority=1, now=START,
                    snapshot=a_snapshot(models=(), uids=(), reason="MissingSlices", text="a gap"))
    with worker(house) as working:
        disk.fill()
        assert working.step(at(10))
        assert halves(house) == []
        (job,) = rows(house)
        assert (job["state"], job["attempt"]) == ("scheduled", 0)
        assert job["reason"].startswith("SpoolFull: ")
        disk.make_room()
        assert working.step(at(4000))
    (job,) = rows(house)
    assert (job["state"], job["attempt"]) == ("completed", 1)


def rows(house: Stepped) -> list[dict[str, Any]]:
    with house.ledger.read() as c:
        return census.jobs(c, limit=5)


class worker:  # noqa: N801
    """The node's worker, without a model: it writes reports that say why not."""

    def __init__(self, house: Stepped) -> None:
        self._pool = Pool(house.config.node.models_dir, device="cpu", threads=1, warm=1)
        self._worker = Worker(house.config, house.ledger, house.spool, self._pool, ReadyModels(self._pool, []),
                              house.stop)

    def __enter__(self) -> Worker:
        return self._worker

    def __exit__(self, *_: object) -> None:
        self._worker.close()
        self._pool.close()


def test_a_database_on_a_full_disk_is_away_and_nothing_is_half_committed(disk):
    ledger = Ledger(f"sqlite:///{disk.folder / 'ledger.sqlite'}")
    ledger.upgrade()
    index(ledger, an_instance(1))
    disk.fill()
    with pytest.raises(LedgerUnavailable, match=r"full|disk I/O"):
        index_many(ledger)
    with ledger.read() as c:
        before = census.studies(c, limit=1)[0]["instances"]
    disk.make_room()
    assert index(ledger, an_instance(9999)) == ["new"]
    with ledger.read() as c:
        assert census.studies(c, limit=1)[0]["instances"] == before + 1
    ledger.dispose()


def index_many(ledger: Ledger) -> None:
    for number in range(2, 5000):
        index(ledger, an_instance(number))


def test_a_read_only_spool_refuses_with_its_reason_and_works_again_without_a_restart(house, disk, tmp_path):
    _, paths = a_study(tmp_path / "ct", 3)
    with house.receiving() as receiver:
        send(receiver, paths[:1])
        until(lambda: disk.mount("ro"), "nobody writes any more")
        with pytest.raises(AssociationRejectedTransient, match="local limit exceeded"):
            send(receiver, paths[1:])
        assert "the spool is read-only, associations are rejected until it is not" in problems(house)
        with pytest.raises(SpoolUnavailable, match="Read-only file system"):
            house.keep(at(0))
        assert disk.mount("rw")
        assert "read-only" not in problems(house)
        assert send(receiver, paths) == 3
    house.keep(at(1))
    with house.ledger.read() as c:
        assert census.studies(c, limit=5)[0]["instances"] == 3


def test_the_floor_alone_refuses_and_says_so_where_no_disk_can_be_mounted(tmp_path, sqlite_ledger):
    house = Stepped(tmp_path / "node", sqlite_ledger, f"[receive]\nmin_free_gb = 1e7\n"
                    f"[retention]\nfree_gb_wanted = 1e7\n{PEERS}")
    _, paths = a_study(tmp_path / "ct", 2)
    with house.receiving() as receiver:
        with pytest.raises(PeerBusy) as refused:
            send(receiver, paths)
        assert refused.value.status == 0xA700
        assert answers_echo(receiver)
    assert halves(house) == []
    assert "images are being refused with 0xA700" in problems(house)


@pytest.fixture
def node(tmp_path: Path, pacs: ReceivingPacs) -> Iterator[LiveNode]:
    peers = f'{PEERS}[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
    routes = ('[[routes]]\nname = "chest"\nmodel = ["demo_chest"]\nto = ["pacs"]\nreport_not_analysed = true\n')
    live = LiveNode(tmp_path / "node", peers=peers, routes=routes, extra="[retention]\nfree_gb_wanted = 0.1\n")
    with small_disk(live.folder / "data", 300):
        yield live.start()
        live.stop()


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[ReceivingPacs]:
    with ReceivingPacs(tmp_path / "pacs") as receiving:
        yield receiving


def test_a_whole_node_below_its_floor_refuses_images_answers_echo_status_and_delivers(node, pacs, tmp_path):
    disk = SmallDisk(node.folder / "data")
    _, first = a_study(tmp_path / "first", 3)
    send(node, first)
    assert pacs.wait_for(1, 120), "a study that cannot be analysed is reported"
    until(lambda: [row for row in node.rows("deliveries") if row["state"] == "completed"], "the report is delivered")
    disk.fill(leave_bytes=(FLOOR_MB - 20) * 10**6)
    _, second = a_study(tmp_path / "second", 3, seed="second")
    with pytest.raises(PeerBusy) as refused:
        send(node, second)
    assert refused.value.status == 0xA700
    assert disk.free_bytes() > (FLOOR_MB - 30) * 10**6, "the floor is not touched"
    assert answers_echo(node)
    (status,) = node.rows("status")
    assert any(line.startswith("images are being refused with 0xA700") for line in status["advice"])
    disk.make_room()
    assert send(node, second) == 3
    assert pacs.wait_for(2, 120), "it goes on without a restart"
