"""The shipped models still reach their scores on phantoms that they never saw, run as the node runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicomnode.config import model_from_text
from dicomnode.phantom.brain import brain_mr
from dicomnode.phantom.chest import chest_ct
from dicomnode.run.selftest import self_test, volume_of, volumes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicomnode.domain.model import ModelFile
    from dicomnode.phantom.chest import ChestPhantom

from dicomnode.infer.pool import Pool

ROOT = Path(__file__).parents[2]
SHIPPED = ("demo_chest", "demo_nodule", "demo_brain")
SHAPE_ZYX = (96, 170, 170)
SPACING_ZYX_MM = (2.5, 2.0, 2.0)
SEEDS = range(910, 914)
CHEST_SEEDS = (300_003, 300_004)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(ROOT / "models", device="cpu", threads=2) as pool:
        yield pool


def model(name: str) -> ModelFile:
    path = ROOT / "config" / "models" / f"{name}.toml"
    return model_from_text(path.read_text(encoding="utf-8"), source=str(path))


def chest(seed: int, **drawn: object) -> ChestPhantom:
    return chest_ct(seed, shape_zyx=SHAPE_ZYX, spacing_zyx_mm=SPACING_ZYX_MM, **drawn)  # type: ignore[arg-type]


def pooled_dice(pairs: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> float:
    both = sum(int((found & truth).sum()) for found, truth in pairs)
    return 2.0 * both / sum(int(found.sum()) + int(truth.sum()) for found, truth in pairs)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_solves_its_own_phantom(pool: Pool, name: str) -> None:
    one = model(name)

    assert one.self_test is not None
    scores = self_test(one, pool)

    assert set(scores) == {*one.self_test.dice_at_least, *one.self_test.found_at_least}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_is_small_and_says_what_it_is(name: str) -> None:
    bundle = ROOT / "models" / model(name).bundle

    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")

    assert size < 2_000_000
    assert "Not for clinical use." in card
    assert (bundle / "LICENSE").is_file()


def test_the_chest_model_finds_lungs_and_nodules(pool: Pool) -> None:
    lungs, nodules = [], []
    for seed in CHEST_SEEDS:
        phantom = chest_ct(seed, nodules=1 + seed % 5)
        labels = pool.run(model("demo_chest"), {"ct": volume_of(phantom)}).labels_zyx
        lungs.append((labels == 1, phantom.truth_zyx == 1))
        nodules.append((labels == 2, phantom.truth_zyx == 2))

    assert pooled_dice(lungs) > 0.97
    assert pooled_dice(nodules) > 0.75


def test_the_detector_sees_nodules_of_six_millimetres_and_more(pool: Pool) -> None:
    one = model("demo_nodule")
    seen: list[bool] = []
    false = 0
    for seed in SEEDS:
        phantom = chest(seed, nodules=4, nodule_diameters_mm=(6.0, 15.0))
        boxes = pool.run(one, {"ct": volume_of(phantom)}).boxes or ()
        sure = [np.reshape(box.box_zyx, (2, 3)).mean(axis=0) for box in boxes
                if box.score >= one.detection.score_at_least]
        away = np.array([[np.linalg.norm((middle - nodule.centre_index_zyx) * SPACING_ZYX_MM) - nodule.diameter_mm / 2
                          for nodule in phantom.nodules] for middle in sure]).reshape(-1, len(phantom.nodules))
        seen += (away < 0).any(axis=0).tolist()
        false += int((away >= 0).all(axis=1).sum())

    assert np.mean(seen) >= 0.9
    assert false <= len(SEEDS)


def test_the_brain_model_finds_ventricles_oedema_and_core(pool: Pool) -> None:
    one = model("demo_brain")
    pairs: dict[str, list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]] = {}
    for seed in SEEDS[:2]:
        phantom = brain_mr(seed, tumour=True)
        volumes = dict(zip((role.role for role in one.inputs), volumes_of(phantom), strict=True))
        labels = pool.run(one, volumes).labels_zyx
        for label in one.labels:
            pairs.setdefault(label.name, []).append((labels == label.value, phantom.truth_zyx == label.value))
    dice = {name: pooled_dice(found) for name, found in pairs.items()}

    assert dice["Ventricle"] > 0.88
    assert dice["Oedema"] > 0.85
    assert dice["Tumour core"] > 0.8
