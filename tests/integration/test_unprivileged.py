"""The node as its image and its unit run it: a user without rights, and a disk of which only ``data_dir`` and ``/tmp``
can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.node import Peer
from tests.builders import ct_series, write_series
from tests.live import LiveNode, until
from tests.threshold_bundles import threshold_model

pytestmark = pytest.mark.timeout(400)

USER = 10001
CAGE = r"""
set -eu
mount --make-rprivate /
hidden=$1 python=$2 data=$3; shift 3
mkdir -p "$data/.hold/python" "$data/.hold/tmp"
mount --bind "$python" "$data/.hold/python"
if [ -n "$hidden" ]; then
  mount -t tmpfs -o mode=0755 none "$hidden"
  mkdir -p "$python"
  mount --bind "$data/.hold/python" "$python"
fi
umount "$data/.hold/python"
mount --bind / /
mount --bind "$data" "$data"
cut -d' ' -f2 /proc/self/mounts | sort -u | while read -r place; do
  case "$place" in /proc*|/sys*|/dev*|"$data"*) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || true ;; esac
done
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""
ROUTES = '[[routes]]\nname = "well"\nmodel = ["levels"]\nto = ["pacs"]\nwhen = { Modality = "CT" }\n'


class CagedNode(LiveNode):
    """As LiveNode, by a user who may write below ``data`` alone."""

    def start(self) -> CagedNode:
        python = Path(sys.base_prefix)
        command = ["unshare", "--mount", "bash", "-c", CAGE, "cage", hidden_by(python), str(python),
                   str(self.folder / "data"), sys.executable, "-B", "-m", "dicomnode", "--config",
                   str(self.config_path), "serve"]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                                            env={**os.environ, "TMPDIR": str(self.folder / "data" / "tmp")})
        until(self._listens, f"the node listens; its log: {self.log_path}", 120)
        return self


def hidden_by(path: Path) -> str:
    """The first folder above ``path`` that others may not enter; empty where there is none."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            return str(folder)
    return ""


@pytest.fixture(scope="module")
def folder():
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("only root can make another user's view of this machine: unshare and setpriv are needed")
    probe = subprocess.run(["unshare", "--mount", "mount", "--make-rprivate", "/"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine grants no mount namespace: {probe.stderr.decode()}")
    with TemporaryDirectory(prefix="dicomnode-caged-") as name:  # pytest's own folders are root's alone
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_study_is_analysed_by_a_user_who_can_write_nothing_but_the_data(folder):
    threshold_model(folder / "models", "levels", lung_hu=200, nodule_hu=600)
    with ReceivingPacs(folder / "pacs") as pacs:
        peers = (f'[peers.scanner]\nae_title = "SCANNER"\n[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\n'
                 f"port = {pacs.port}\n")
        node = CagedNode(folder / "node", peers=peers, routes=ROUTES, models_dir=folder / "models",
                         extra='[worker]\ndevice = "cpu"\nthreads = 1\n[audit]\nfile = "audit.log"\n')
        data = node.folder / "data"
        (data / "tmp").mkdir(parents=True)
        for place in (data, data / "tmp"):
            os.chown(place, USER, USER)
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        try:
            node.start()
            hu = np.full((10, 40, 40), -800)
            hu[:, 8:32, 8:32] = 300
            us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
            send_files(node_ae_title="SCANNER", peer=us, timeout_s=60,
                       paths=write_series(folder / "study", ct_series(hu, seed="caged")))
            node.wait_for_event("delivery_completed", 300)
        finally:
            node.stop()
        made = [path for path in data.rglob("*") if path.name not in {".hold", "tmp", "python"}]
        assert {path.lstat().st_uid for path in made} == {USER}
        assert b"110104" in (data / "audit.log").read_bytes()
        assert not [event for event in node.events() if event.get("event") in {"work_crashed", "step_crashed"}]


def test_the_cage_is_one(folder):
    """What the test above proves, it proves because nothing else can be written there."""
    data = folder / "probe"
    data.mkdir()
    os.chown(data, USER, USER)
    python = Path(sys.base_prefix)
    code = (f"import os\nfor place in ({str(folder)!r}, {str(data)!r}, '/', '/usr', '/var/tmp'):\n"
            "    try: open(place + '/x', 'w'); print('written', place)\n"
            "    except OSError as error: print(error.strerror, place)\nprint(os.getuid())")
    done = subprocess.run(["unshare", "--mount", "bash", "-c", CAGE, "cage", hidden_by(python), str(python), str(data),
                           sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("written")] == [f"written {data}"]
    assert lines[-1] == str(USER)
