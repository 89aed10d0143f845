"""The pool and its children: real processes, real bundles, and every way in which they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.model import Runtime
from dicomnode.errors import (
    ClaimLost,
    GpuOutOfMemory,
    ModelChanged,
    ModelFailed,
    ModelMissing,
    ModelProcessDied,
    ModelRefused,
    ModelTimeout,
)
from dicomnode.infer.pool import Pool, sandbox_report
from tests.builders import affine_lps
from tests.bundles import SMALL_UNET, blobs, model_file, spleen_form, volume

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
IMAGE = volume(blobs((16, 40, 44)), affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    spleen_form(folder / "small")
    return folder


@pytest.fixture(scope="module")
def pool(models) -> Iterator[Pool]:
    with Pool(models, device="cpu", threads=1, warm=2) as made:
        yield made


def test_overrides_that_no_message_holds_are_refused_with_a_sentence(models):
    with Pool(models, device="cpu", threads=1) as own, pytest.raises(ModelFailed, match="overrides and the names"):
        own.prepare(model_file(models / "small", runtime=Runtime(overrides={"note": "x" * 200_000})))


def test_a_child_that_was_held_to_less_memory_is_not_used_where_more_is_allowed(models):
    with Pool(models, device="cpu", threads=1) as own:
        little, much = (model_file(models / "small", runtime=Runtime(memory_limit_mb=limit)) for limit in (2000, 3000))
        assert own.prepare(little) > 0
        assert own.prepare(much) > 0
        assert own.prepare(much) == 0


def child_pids() -> set[int]:
    tasks = Path("/proc/self/task")
    return {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


def test_a_second_run_uses_the_warm_child_and_gives_the_same_labels(pool, models):
    model = model_file(models / "small")
    told: list[float] = []
    first = pool.run(model, {"image": IMAGE})
    second = pool.run(model, {"image": IMAGE}, progress=told.append)
    assert second.seconds["load"] == 0.0
    assert np.array_equal(first.labels_zyx, second.labels_zyx)
    assert first.labels_zyx.dtype == np.uint8
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert set(second.seconds) == {"load", "preprocess", "inference", "postprocess", "transfer"}
    assert second.peak_mb > 50


def test_each_fast_path_is_a_switch_and_resampling_alone_changes_nothing(pool, models):
    stock = pool.run(model_file(models / "small"), {"image": IMAGE}).labels_zyx
    for runtime, limit in ((Runtime(fast_resample=True), 1e-3), (Runtime(precision="bfloat16"), 0.1),
                           (Runtime(sw_batch_size=1), 1e-3)):
        output = pool.run(model_file(models / "small", runtime=runtime), {"image": IMAGE})
        assert (output.labels_zyx != stock).mean() < limit, runtime
        assert output.notes == ()


def test_a_bundle_for_which_the_fast_path_is_not_right_takes_its_own_and_says_so(tmp_path):
    chain = [{"_target_": "ScaleIntensityd", "keys": "image"}, {"_target_": "EnsureTyped", "keys": "image"}]
    folder = spleen_form(tmp_path / "plain", preprocessing=chain)
    with Pool(tmp_path, device="cpu", threads=1) as own:
        output = own.run(model_file(folder, runtime=Runtime(fast_resample=True)), {"image": IMAGE})
    assert "fast_resample not used: preprocessing does not begin with" in output.notes[0]


def test_an_override_of_the_model_file_replaces_an_id_before_anything_is_built(models, tmp_path):
    folder = spleen_form(tmp_path / "dropped", network={**SMALL_UNET, "out_channels": 3}, extra={})
    runtime = Runtime(overrides={"inferer#roi_size": [48, 48, 48], "inferer#no_such_argument": 1})
    with Pool(tmp_path, device="cpu", threads=1) as own, pytest.raises(ModelFailed, match="no_such_argument"):
        own.run(model_file(folder, runtime=runtime), {"image": IMAGE})


def test_a_changed_byte_is_refused_before_anything_is_parsed(tmp_path):
    folder = spleen_form(tmp_path / "changed")
    model = model_file(folder)
    (folder / "configs" / "inference.json").write_text("not even JSON", encoding="utf-8")
    with Pool(tmp_path, device="cpu", threads=1) as own:
        with pytest.raises(ModelChanged, match="nothing of it was loaded"):
            own.verify(model)
        with pytest.raises(ModelChanged, match="pins sha256:"):
            own.run(model, {"image": IMAGE})
        assert child_pids() & {entry.child.pid for entry in own._warm.values()} == set()


def test_a_bundle_that_is_not_there_says_where_it_was_looked_for(pool, models):
    with pytest.raises(ModelMissing, match="nowhere"):
        pool.run(replace(model_file(models / "small"), bundle="nowhere"), {"image": IMAGE})


def test_a_bundle_that_asks_for_more_than_the_list_is_refused_and_nothing_of_it_runs(tmp_path):
    mark = tmp_path / "mark"
    folder = spleen_form(tmp_path / "hostile", extra={
        "inferer": {"_target_": "subprocess.run", "args": ["touch", str(mark)]}})
    with Pool(tmp_path, device="cpu", threads=1) as own, pytest.raises(ModelRefused, match=r"subprocess\.run"):
        own.run(model_file(folder), {"image": IMAGE})
    assert not mark.exists()


def test_a_pickle_among_the_weights_does_not_run(tmp_path):
    import torch

    folder = spleen_form(tmp_path / "pickled")
    mark = tmp_path / "mark"
    torch.save({"weights": _Touch(str(mark))}, folder / "models" / "model.pt")
    with Pool(tmp_path, device="cpu", threads=1) as own, pytest.raises(ModelFailed, match="weights_only"):
        own.run(model_file(folder), {"image": IMAGE})
    assert not mark.exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def test_weights_of_another_network_are_a_failure_that_names_them(tmp_path):
    folder = spleen_form(tmp_path / "other")
    spleen_form(tmp_path / "wide", network={**SMALL_UNET, "channels": [8, 16, 32]})
    (folder / "models" / "model.pt").write_bytes((tmp_path / "wide" / "models" / "model.pt").read_bytes())
    with Pool(tmp_path, device="cpu", threads=1) as own, pytest.raises(ModelFailed, match="do not fit the network"):
        own.run(model_file(folder), {"image": IMAGE})


def test_a_label_that_the_model_file_does_not_name_is_a_failure(pool, models):
    with pytest.raises(ModelFailed, match=r"values \[2\]"):
        pool.run(model_file(models / "small", labels=1), {"image": IMAGE})


def test_probabilities_where_labels_are_expected_are_a_failure_not_a_guess(tmp_path):
    post = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]
    folder = spleen_form(tmp_path / "soft", postprocessing=post)
    with Pool(tmp_path, device="cpu", threads=1) as own, pytest.raises(ModelFailed, match="expected is one label map"):
        own.run(model_file(folder), {"image": IMAGE})


def test_the_time_limit_kills_the_child_and_the_next_run_starts_a_new_one(pool, models):
    pool.run(model_file(models / "small"), {"image": IMAGE})
    before = child_pids()
    with pytest.raises(ModelTimeout, match=r"time_limit_s = 0\.001"):
        pool.run(model_file(models / "small", runtime=Runtime(time_limit_s=0.001)), {"image": IMAGE})
    assert len(child_pids() & before) < len(before)
    assert pool.run(model_file(models / "small"), {"image": IMAGE}).labels_zyx is not None


def test_the_memory_limit_ends_a_run_with_its_number(pool, models):
    with pytest.raises(GpuOutOfMemory, match="memory_limit_mb = 50"):
        pool.run(model_file(models / "small", runtime=Runtime(memory_limit_mb=50)), {"image": IMAGE})


def test_a_child_that_is_killed_is_named_with_its_signal(models):
    with Pool(models, device="cpu", threads=1) as own:
        model = model_file(models / "small")
        own.prepare(model)
        (entry,) = own._warm.values()

        class Killing(threading.Event):
            def is_set(self) -> bool:
                os.kill(entry.child.pid, signal.SIGKILL)
                return False

        os.kill(entry.child.pid, signal.SIGSTOP)
        with pytest.raises(ModelProcessDied, match="SIGKILL"):
            own.run(model, {"image": IMAGE}, cancelled=Killing())


def test_a_cancelled_run_ends_at_once_and_its_child_is_killed(models):
    cancelled = threading.Event()
    with Pool(models, device="cpu", threads=1) as own:
        model = model_file(models / "small")
        own.prepare(model)
        (entry,) = own._warm.values()
        cancelled.set()
        with pytest.raises(ClaimLost, match="canceled"):
            own.run(model, {"image": IMAGE}, cancelled=cancelled)
        assert not entry.child.alive


def test_only_as_many_children_stay_warm_as_allowed(tmp_path):
    folders = [spleen_form(tmp_path / name, seed=number) for number, name in enumerate(("one", "two"))]
    with Pool(tmp_path, device="cpu", threads=1, warm=1) as own:
        for folder in folders:
            own.prepare(model_file(folder, name=folder.name))
        (entry,) = own._warm.values()
        assert entry.child.name == "two"
        pid = entry.child.pid
    assert not Path(f"/proc/{pid}").exists()


def test_no_child_outlives_a_parent_that_is_killed(models):
    model = model_file(models / "small")
    script = (
        "import sys, time; from pathlib import Path; from dicomnode.infer.pool import Pool\n"
        "from tests.bundles import model_file\n"
        "pool = Pool(Path(sys.argv[1]), device='cpu', threads=1)\n"
        "pool.prepare(model_file(Path(sys.argv[1]) / 'small'))\n"
        "print(next(iter(pool._warm.values())).child.pid, flush=True)\n"
        "sys.stdin.read()\n")
    parent = subprocess.Popen([sys.executable, "-c", script, str(models)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])
    assert model.bundle == "small"
    pid = int(parent.stdout.readline())
    watched = os.pidfd_open(pid)
    parent.kill()
    parent.communicate()
    import select

    assert select.select([watched], [], [], 20)[0], "the child still runs"
    os.close(watched)


def test_the_parent_never_loads_torch():
    script = "import sys; import dicomnode.infer.pool, dicomnode.infer.measure; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False,
                          cwd=Path(__file__).resolve().parents[2]).returncode == 0


def test_the_sandbox_says_what_the_kernel_grants():
    report = sandbox_report()
    assert set(report) == {"network", "filesystem", "privileges", "limits", "parent"}
    assert "no new privileges" in report["privileges"]
