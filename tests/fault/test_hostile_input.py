"""What strangers send on purpose: nothing hangs, dies, is lost or lands outside the spool."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_preamble

from dicomnode.spool import Spool
from tests.bombs import QUARANTINED, bombs, headers, write
from tests.builders import uid_of
from tests.fuzz import Tally, attack_with_images, index_all, round_of, tree
from tests.hammer import hammered
from tests.hostile import DEFLATED, IMPLICIT, TRAVERSALS, images, part10
from tests.live import ROOT, free_port, until
from tests.receiving import receiver
from tests.shared import shared_data, unpacked
from tests.upper_layer import COMMAND, CT, EXPLICIT, LAST, data_set, pdu, pdv, scripted_peer, store_command

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]

DECODERS = ("gdcm", "openjpeg", "charls", "_imaging")


def identity(path: Path) -> str:
    """SOP Instance UID as far as anybody can read it."""
    try:
        return str(dcmread(path, force=True, stop_before_pixels=True).get("SOPInstanceUID") or "1.2.3")[:64]
    except Exception:  # noqa: BLE001  malformed on purpose: whatever the reader raises
        return "1.2.3"


def without_meta(content: bytes, path: Path) -> bytes:
    """The bytes behind the File Meta Information, or all of them where there is none."""
    with path.open("rb") as file:
        try:
            read_preamble(file, force=False)
        except (InvalidDicomError, EOFError):
            return content
    return content[144 + int.from_bytes(content[140:144], "little"):] if len(content) > 144 else content


def test_every_malformed_file_of_the_corpus_is_refused_or_ends_in_the_index_or_in_quarantine(tmp_path):
    folder = unpacked("dicom_fuzz", tmp_path / "corpus") / "fuzz_corpus_v3"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert len(files) == 597
    tally = Tally()
    sets = [(identity(path), without_meta(path.read_bytes(), path)) for path in files]
    with receiver(tmp_path / "node" / "spool", max_instance_mb=64.0) as node:
        taken = attack_with_images(node, tally, sets, "corpus")
        assert len(list(node.spool.arrivals())) == taken
    assert list(node.spool.root.rglob("*.part")) == []
    assert index_all(tmp_path / "node", node.spool, tally) == taken
    assert tally.wrong == []


def test_every_malformed_file_of_the_corpus_is_read_or_refused_by_name(tmp_path):
    said = hammered(unpacked("dicom_fuzz", tmp_path / "corpus") / "fuzz_corpus_v3")
    assert len(said) == 597
    verdicts = Counter(verdict for one in said.values() for verdict in one.values())
    assert [verdict for verdict in verdicts if verdict.startswith("ESCAPED")] == []
    assert verdicts["CannotUnderstand"] > 100
    assert verdicts["ok"] > 500


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seeded_attack_on_pdus_data_sets_and_files_does_no_harm(seed, tmp_path):
    round_of(seed, tmp_path / "round", Tally())


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    made = bombs()
    said = hammered(write(tmp_path / "bombs", made))
    assert {name: (one["index"], one["decode"]) for name, one in said.items()} == {
        name: (bomb.index, bomb.decode) for name, bomb in made.items()}
    assert all(not verdict.startswith("ESCAPED") for one in said.values() for verdict in one.values())
    assert said["jpeg-2000-both-lie"]["load"] == "TooLarge"


def test_a_bomb_that_the_receiver_lets_pass_lies_in_quarantine_with_an_event(tmp_path):
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    spool.prepare()
    made = {name: bomb for name, bomb in headers().items() if bomb.index == QUARANTINED}
    with spool.open_association("attack") as folder:
        for bomb in made.values():
            folder.put([bomb.content])
    assert index_all(tmp_path, spool, Tally()) == len(made)
    assert spool.quarantined() == len(made)
    reasons = [path.read_text() for path in (spool.root / "quarantine").glob("*.reason.txt")]
    assert sum("NumberOfFrames = 2147483647: allowed are 100000" in reason for reason in reasons) == 1
    assert sum("elements in one header" in reason or "outside sequences" in reason for reason in reasons) == 2


def test_bombs_in_headers_leave_the_receiver_and_the_index_standing(tmp_path):
    bodies = [bomb.content[144 + int.from_bytes(bomb.content[140:144], "little"):] for bomb in headers().values()]
    uid = str(images(2)[0].SOPInstanceUID)
    tally = Tally()
    with receiver(tmp_path / "node" / "spool", max_instance_mb=64.0) as node:
        taken = attack_with_images(node, tally, [(uid, body) for body in bodies for _ in range(5)], "bombs")
        with scripted_peer(node.port) as peer:
            peer.associate()
            assert int(peer.store(images()[0]).Status) == 0
    assert tally.wrong == []
    assert index_all(tmp_path / "node", node.spool, tally) == taken + 1
    assert tally.said["index: indexed"] == 1


def test_processing_a_folder_of_malformed_files_ends_with_a_sentence(tmp_path):
    folder = unpacked("dicom_fuzz", tmp_path / "corpus") / "fuzz_corpus_v3"
    done = subprocess.run(
        [sys.executable, "-m", "dicomnode", "process", str(folder), "--model", "demo_chest",
         "--out", str(tmp_path / "out")],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=280)
    assert done.returncode == 65, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_deflated_data_set_that_inflates_without_end_is_refused_while_it_comes(tmp_path):
    bomb = headers()["deflated-600-mb"].content
    body = bomb[144 + int.from_bytes(bomb[140:144], "little"):]
    with receiver(tmp_path / "spool", max_instance_mb=64.0) as node, scripted_peer(node.port) as peer:
        peer.associate((CT, DEFLATED))
        peer.say(pdu(pdv(store_command(images()[0]), COMMAND | LAST)))
        for at in range(0, len(body), 16_000):
            peer.say(pdu(pdv(body[at:at + 16_000], LAST if at + 16_000 >= len(body) else 0)))
        answer = peer.response()
    assert int(answer.Status) == 0xC000
    assert "max_instance_mb" in answer.ErrorComment
    assert not list(node.spool.arrivals())


def test_a_uid_that_is_a_path_is_answered_with_c000_or_a900_and_writes_nothing(tmp_path):
    (tmp_path / "etc").mkdir()
    with receiver(tmp_path / "a" / "b" / "spool") as node, scripted_peer(node.port) as peer:
        peer.associate()
        for hostile in TRAVERSALS:
            for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"):
                built = images()[0]
                body = data_set(built)
                honest = str(built[keyword].value).encode()
                lie = hostile.encode()[:len(honest)].ljust(len(honest), b"\0")
                announced = built.SOPInstanceUID if keyword != "SOPInstanceUID" else hostile[:64]
                peer.say(pdu(pdv(store_command(built, AffectedSOPInstanceUID=announced), COMMAND | LAST)),
                         pdu(pdv(body.replace(honest, lie), LAST)))
                assert int(peer.response().Status) in {0xC000, 0xA900}, (keyword, hostile)
        assert not list(node.spool.arrivals())
    outside = {name for name in tree(tmp_path) if not name.startswith("a/b/spool")}
    assert outside == {"etc", "a", "a/b"}


def test_a_file_whose_uid_is_a_path_is_quarantined_where_it_lies(tmp_path):
    spool = Spool(tmp_path / "a" / "spool", min_free_bytes=0)
    spool.prepare()
    with spool.open_association("attack") as folder:
        for hostile in TRAVERSALS:
            body = data_set(images()[0])
            honest = str(images()[0].StudyInstanceUID).encode()
            lie = hostile.encode()[:len(honest)].ljust(len(honest), b"\0")
            folder.put([part10(body.replace(honest, lie), sop_instance_uid=hostile)])
    assert index_all(tmp_path / "a", spool, Tally()) == len(TRAVERSALS)
    assert spool.quarantined() == len(TRAVERSALS)
    assert not list((spool.root / "store").rglob("*.dcm"))
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_noise_in_a_compressed_stream_is_read_or_refused_by_every_decoder(tmp_path):
    sources = [path for path in sorted(shared_data("dicom_transfer_syntaxes").rglob("CTImage.dcm_*"))
               if path.is_file()]
    random = Random(5)  # noqa: S311  the same seed, the same bytes
    for source in sources:
        for number in range(6):
            noisy = bytearray(source.read_bytes())
            for _ in range(random.choice((1, 4, 32))):
                noisy[random.randrange(len(noisy) // 8, len(noisy))] = random.getrandbits(8)
            (tmp_path / f"{source.stem}-{number}.dcm").write_bytes(noisy)
    said = hammered(tmp_path)
    assert len(said) == 6 * len(sources) >= 60
    assert [one for one in said.items() if any(verdict.startswith("ESCAPED") for verdict in one[1].values())] == []


def test_a_study_of_three_thousand_instances_is_indexed(tmp_path):
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    spool.prepare()
    built = images()[0]
    body, honest = data_set(built), str(built.SOPInstanceUID).encode()
    with spool.open_association("flood") as folder:
        arrivals = spool.root / "arrivals" / folder.name
        for number in range(3000):
            uid = uid_of("flood", number)[:len(honest)].ljust(len(honest), "1")
            content = part10(body.replace(honest, uid.encode()), sop_instance_uid=uid)
            (arrivals / f"{number:06d}.dcm").write_bytes(content)
    assert index_all(tmp_path, spool, Tally()) == 3000
    assert spool.quarantined() == 0
    assert sum(1 for _ in (spool.root / "store").rglob("*.dcm")) == 3000


@pytest.mark.parametrize("role", ["receive", "keep"])
def test_a_process_that_stores_or_indexes_has_no_pixel_decoder_in_its_memory(role, tmp_path):
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\nbind = "127.0.0.1"\nport = {free_port()}\ndata_dir = "data"\n[web]\nenabled = false\n')
    command = [sys.executable, "-m", "dicomnode", "--config", str(config)]
    subprocess.run([*command, "db", "upgrade"], check=True, capture_output=True, timeout=120)
    log = tmp_path / "log"
    with log.open("wb") as out, subprocess.Popen([*command, role], stdout=out, stderr=out) as process:
        try:
            until(lambda: "role_started" in log.read_text(), f"{role} has started: {log}")
            mapped = Path(f"/proc/{process.pid}/maps").read_text().lower()
        finally:
            process.terminate()
    assert "libpython" in mapped or "python" in mapped
    assert [decoder for decoder in DECODERS if decoder in mapped] == []


def test_the_contexts_of_the_attack_are_those_that_the_node_accepts(tmp_path):
    with receiver(tmp_path / "spool") as node, scripted_peer(node.port) as peer:
        accepted = peer.associate((CT, EXPLICIT), (CT, IMPLICIT), (CT, DEFLATED))
    assert accepted[:1] == b"\x02"
    assert all(uid.encode() in accepted for uid in (EXPLICIT, IMPLICIT, DEFLATED))
