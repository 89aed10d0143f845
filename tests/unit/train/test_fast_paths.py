"""What each fast path changes is measured on cases, all together, and written into the model file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from dicomnode.config import model_from_text
from dicomnode.domain.model import Runtime
from dicomnode.domain.settings import Validated
from dicomnode.errors import UnusableDataset
from dicomnode.infer.pool import Pool
from dicomnode.train.dataset.cases import Case
from dicomnode.train.publish.fast_paths import used, validate_fast_paths, with_validated
from dicomnode.train.score.case_image import CaseImage
from tests.builders import affine_lps
from tests.bundles import blobs, model_file, spleen_form, volume

ROOT = Path(__file__).parents[3]
FAST = Runtime(precision="bfloat16", fast_resample=True, clamp_roi=True, time_limit_s=120.0)


def a_case(seed: int) -> CaseImage:
    image = volume(blobs((24, 40, 40), seed=seed), affine_lps(spacing_zyx_mm=(3.0, 1.5, 1.5)))
    truth = (image.values_zyx > 0).astype(np.uint8)
    return CaseImage(case=Case(id=f"case{seed}", patient=f"p{seed}", images=()), volumes={"image": image},
                     truth_zyx=truth)


def test_every_fast_path_is_measured_alone_and_all_together(tmp_path):
    folder = spleen_form(tmp_path / "bundle")
    told: list[tuple[str, str]] = []
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        seen = validate_fast_paths(model_file(folder, runtime=FAST), [a_case(1), a_case(2)], pool,
                                   tell=lambda case, path: told.append((case, path)))
    assert set(seen) == {"precision", "fast_resample", "clamp_roi", "together"}
    assert all(one.cases == 2 for one in seen.values())
    assert seen["fast_resample"].dice_between > 0.99
    assert seen["together"].dice_between <= seen["fast_resample"].dice_between
    assert all(0.5 < one.dice_between <= 1 and -0.1 < one.dice_lost < 0.1 for one in seen.values())
    assert told[0] == ("case1", "no fast path")
    assert len(told) == 2 * 5


def test_a_model_without_fast_paths_has_nothing_to_validate(tmp_path):
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        assert validate_fast_paths(model_file(spleen_form(tmp_path / "bundle")), [a_case(1)], pool) == {}


def test_without_a_case_there_is_no_result(tmp_path):
    model = model_file(spleen_form(tmp_path / "bundle"), runtime=FAST)
    with Pool(tmp_path, device="cpu", threads=1) as pool, pytest.raises(UnusableDataset, match="no case"):
        validate_fast_paths(model, [], pool)


def test_a_crop_is_measured_on_the_resampling_that_it_needs():
    ways = used(Runtime(fast_resample=True, crop_to_body=True, backend="openvino"))
    assert set(ways) == {"fast_resample", "crop_to_body", "backend", "together"}
    assert ways["crop_to_body"].fast_resample
    assert ways["crop_to_body"].backend == "torch"
    assert not ways["fast_resample"].crop_to_body


def test_what_was_seen_is_written_below_runtime_and_replaces_what_was_there():
    text = (ROOT / "config" / "models" / "demo_chest.toml").read_text(encoding="utf-8")
    first = with_validated(text, {"fast_resample": Validated(dice_between=0.9987, dice_lost=-0.0002, cases=3)})
    again = with_validated(first, {"together": Validated(dice_between=0.99, dice_lost=0.001, cases=5)})
    assert model_from_text(first, source="first").runtime.validated["fast_resample"].dice_between == 0.9987
    assert model_from_text(again, source="again").runtime.validated == {
        "together": Validated(dice_between=0.99, dice_lost=0.001, cases=5)}
    without = tomllib.loads(again)
    del without["runtime"]["validated"]
    before = tomllib.loads(text)
    before["runtime"].pop("validated", None)
    assert without == before
    assert again.count("[runtime.validated]") == 1
