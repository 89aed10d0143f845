"""Data sets of synthetic phantoms: what the shipped models learn from, and what they are scored on.

Every case has a seed of its own. Training, validation and test draw theirs from ranges that never meet, so that no
phantom is both learned from and scored on, however many cases are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.errors import UnusableDataset
from dicomnode.phantom.brain import SEQUENCES, brain_mr
from dicomnode.phantom.chest import ChestPhantom, chest_ct
from dicomnode.train.dataset.cases import SPLITS, Dataset, DatasetLabel, GroupValue
from dicomnode.train.dataset.writer import DatasetWriter

SEEDS_PER_SET: Final = 10_000_000
SPLIT_OFFSETS: Final[Mapping[str, int]] = {"training": 1_000_000, "validation": 4_000_000, "test": 7_000_000}
"""Where each split's seeds begin within a set's range. Lower seeds stay free for demonstrations and self-tests."""
MOST_CASES: Final = 1_000_000

SCORED_DIAMETERS_MM: Final = (4.0, 15.0)
CHEST_DIAMETERS_MM: Final = (3.6, 30.0)
NODULE_DIAMETERS_MM: Final = (3.6, 22.0)
"""Networks learn from slightly smaller and from larger nodules than they are scored on: real ones keep no limits."""
CHEST_SLICES_MM: Final = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
NODULE_SLICES_MM: Final = (1.25, 1.5, 2.0, 2.5, 3.0)
PLANE_MM: Final = 2.0
BRAIN_SLICES_MM: Final = (1.0, 1.5, 2.0, 2.0, 3.0, 4.0)

_STRUCTURE: Final = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
_MORPHOLOGY: Final = Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One phantom, ready to be written.

    Parameters
    ----------
    images_zyx : one int16 array per channel; z grows to the head, y to the back, x to the left.
    boxes_lps_mm : (n, 6) centre and size.
    """

    images_zyx: tuple[NDArray[np.int16], ...]
    spacing_zyx_mm: tuple[float, float, float]
    label_zyx: NDArray[np.uint8] | None = None
    boxes_lps_mm: NDArray[np.float64] | None = None
    group: Mapping[str, GroupValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of phantom data set.

    Parameters
    ----------
    draw : from a case's seed, and whether it is learned from, to the phantom.
    """

    task: str
    channels: tuple[str, ...]
    modality: str
    labels: tuple[DatasetLabel, ...]
    draw: Callable[[int, bool], Drawn]


def write_phantoms(
    kind: str, root: Path, *, cases: int, validation: int, test: int, seed: int = 0, processes: int = 1,
    tell: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Draw phantoms and write them as a data set; the same arguments give the same bytes of every image.

    Parameters
    ----------
    cases, validation, test : how many phantoms to learn from, to choose by, and to score on.
    seed : another seed gives other phantoms throughout.
    processes : how many draw at a time; the result does not depend on it.
    tell : called with the number written so far and the total.

    Raises
    ------
    UnusableDataset
        If the kind is unknown, a number is out of range, or ``root`` holds something.
    """
    chosen = _checked(kind, seed, {"cases": cases, "validation": validation, "test": test})
    writer = DatasetWriter(root, name=f"phantom_{kind}", task=chosen.task, channels=chosen.channels,
                           modality=chosen.modality, labels=chosen.labels)
    jobs = [(split, number, seed * SEEDS_PER_SET + SPLIT_OFFSETS[split] + number)
            for split, count in zip(SPLITS, (cases, validation, test), strict=True) for number in range(count)]
    for done, ((split, number, _), drawn) in enumerate(zip(jobs, _draw_all(kind, jobs, processes), strict=True), 1):
        name = f"{split}-{number:04d}"
        writer.add(id=name, patient=name, images_zyx=drawn.images_zyx, affine_lps_mm=affine_lps_mm(drawn),
                   label_zyx=drawn.label_zyx, boxes_lps_mm=drawn.boxes_lps_mm,
                   box_labels=(0,) * (0 if drawn.boxes_lps_mm is None else len(drawn.boxes_lps_mm)),
                   split=split, group=drawn.group)
        if tell:
            tell(done, len(jobs))
    return writer.close(made_by={"phantoms": kind, "seed": seed})


def affine_lps_mm(drawn: Drawn) -> NDArray[np.float64]:
    """Array index (z, y, x, 1) to LPS mm; the first voxel's centre is the origin."""
    dz, dy, dx = drawn.spacing_zyx_mm
    return np.array([[0.0, 0.0, dx, 0.0], [0.0, dy, 0.0, 0.0], [dz, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def _checked(kind: str, seed: int, counts: Mapping[str, int]) -> Kind:
    problems = [f"{name} = {count}: allowed are 0 to {MOST_CASES}" for name, count in counts.items()
                if not 0 <= count <= MOST_CASES]
    if kind not in KINDS:
        problems.append(f"phantoms of kind {kind!r}: allowed are {', '.join(KINDS)}")
    if seed < 0:
        problems.append(f"seed = {seed}: allowed are 0 and above")
    if problems:
        raise UnusableDataset(*problems)
    return KINDS[kind]


def _draw_all(kind: str, jobs: list[tuple[str, int, int]], processes: int) -> Iterable[Drawn]:
    tasks = [(kind, seed, split == "training") for split, _, seed in jobs]
    if processes <= 1:
        yield from map(_draw, tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for begin in range(0, len(tasks), 2 * processes):  # no more in memory than are being drawn
            yield from pool.map(_draw, tasks[begin : begin + 2 * processes])


def _draw(task: tuple[str, int, bool]) -> Drawn:
    kind, seed, learned = task
    return KINDS[kind].draw(seed, learned)


def draw_chest(seed: int, learned: bool) -> Drawn:  # noqa: FBT001 - one of two kinds of case
    """A chest with lungs and nodules labelled; slice spacing, field of view and resolution vary."""
    rng = np.random.default_rng((seed, 0xC7))
    slice_mm = float(rng.choice(CHEST_SLICES_MM))
    plane_mm = PLANE_MM if learned else float(rng.uniform(1.4, 2.0))
    across_mm = rng.uniform(240.0, 400.0) if learned else rng.uniform(320.0, 400.0)
    height_mm = rng.uniform(170.0, 310.0) if learned else rng.uniform(240.0, 320.0)
    width = int(across_mm / plane_mm)
    phantom = chest_ct(
        seed, shape_zyx=(int(height_mm / slice_mm), width, width), spacing_zyx_mm=(slice_mm, plane_mm, plane_mm),
        nodules=int(rng.integers(3, 9)) if learned else int(rng.integers(1, 6)),
        nodule_diameters_mm=CHEST_DIAMETERS_MM if learned else SCORED_DIAMETERS_MM,
        centre_xyz_mm=(rng.uniform(-20.0, 20.0), rng.uniform(-15.0, 15.0), rng.uniform(-45.0, 40.0)),
        edge_mm=rng.uniform(0.7, 2.4),
    )
    outside = _outside_circle(phantom, rng)
    hu_zyx = np.where(outside, np.int16(-1024), phantom.hu_zyx)
    truth_zyx = np.where(outside, np.uint8(0), phantom.truth_zyx)
    return Drawn(images_zyx=(hu_zyx,), spacing_zyx_mm=phantom.spacing_zyx_mm, label_zyx=truth_zyx,
                 group={"slice_mm": slice_mm})


def draw_nodules(seed: int, learned: bool) -> Drawn:  # noqa: FBT001 - one of two kinds of case
    """A chest whose nodules are boxes; slices at most 3 mm apart, thicker ones hide what is to be found."""
    rng = np.random.default_rng((seed, 0xD7))
    slice_mm = float(rng.choice(NODULE_SLICES_MM))
    width = int(rng.integers(140, 176))
    phantom = chest_ct(
        seed, shape_zyx=(int(rng.uniform(190.0, 280.0) / slice_mm), width, width),
        spacing_zyx_mm=(slice_mm, PLANE_MM, PLANE_MM),
        nodules=int(rng.integers(6, 13) if learned else rng.integers(2, 7)),
        nodule_diameters_mm=NODULE_DIAMETERS_MM if learned else SCORED_DIAMETERS_MM,
        centre_xyz_mm=(rng.uniform(-12.0, 12.0), rng.uniform(-10.0, 10.0), rng.uniform(-25.0, 25.0)),
        edge_mm=rng.uniform(0.7, 2.2),
    )
    return Drawn(images_zyx=(phantom.hu_zyx,), spacing_zyx_mm=phantom.spacing_zyx_mm, boxes_lps_mm=boxes_of(phantom),
                 group={"slice_mm": slice_mm})


def boxes_of(phantom: ChestPhantom) -> NDArray[np.float64]:
    """Cubes round the nodules, (n, 6): centre and size in mm from the first voxel's centre, x left, y back, z head."""
    dz, dy, dx = phantom.spacing_zyx_mm
    rows = [(n.centre_index_zyx[2] * dx, n.centre_index_zyx[1] * dy, n.centre_index_zyx[0] * dz,
             n.diameter_mm, n.diameter_mm, n.diameter_mm) for n in phantom.nodules]
    return np.array(rows, np.float64).reshape(-1, 6)


def draw_brain(seed: int, learned: bool) -> Drawn:  # noqa: FBT001 - one of two kinds of case
    """A head in four contrasts with brain, ventricles and, mostly, a tumour labelled."""
    rng = np.random.default_rng((seed, 0xB7))
    slice_mm = float(rng.choice(BRAIN_SLICES_MM)) if learned else PLANE_MM
    plane_mm = PLANE_MM if learned else float(rng.uniform(1.2, 2.0))
    deep, wide = (int(rng.uniform(*span) / plane_mm) for span in ((208.0, 250.0), (176.0, 230.0)))
    phantom = brain_mr(
        seed, shape_zyx=(int(rng.uniform(170.0, 200.0) / slice_mm), deep, wide),
        spacing_zyx_mm=(slice_mm, plane_mm, plane_mm), tumour=True if rng.random() < 0.8 else None,  # noqa: PLR2004
    )
    return Drawn(images_zyx=tuple(phantom.mr_zyx[name] for name in SEQUENCES), spacing_zyx_mm=phantom.spacing_zyx_mm,
                 label_zyx=phantom.truth_zyx, group={"slice_mm": slice_mm})


def _outside_circle(phantom: ChestPhantom, rng: np.random.Generator) -> NDArray[np.bool_]:
    """In some scans nothing is reconstructed outside a circle: those voxels, broadcastable to the image."""
    _, rows, columns = phantom.hu_zyx.shape
    if rng.random() < 0.6:  # noqa: PLR2004 - a share
        return np.zeros((1, rows, columns), bool)
    y, x = np.ogrid[0.5 - rows / 2 : rows / 2, 0.5 - columns / 2 : columns / 2]
    return np.asarray((x**2 + y**2 > (min(rows, columns) / 2) ** 2)[None])


def _label(value: int, name: str, code: tuple[str, str], colour: tuple[int, int, int], *, lesion: bool = False,
           morphology: bool = False) -> DatasetLabel:
    return DatasetLabel(
        value=value, name=name, category=_MORPHOLOGY if lesion or morphology else _STRUCTURE,
        type=Code(value=code[0], scheme="SCT", meaning=code[1]), colour_rgb=colour, lesion=lesion)


_NODULE: Final[dict[str, Any]] = {"code": ("27925004", "Nodule"), "colour": (240, 90, 70), "lesion": True}
KINDS: Final[Mapping[str, Kind]] = {
    "chest": Kind(
        task="segmentation", channels=("ct",), modality="CT", draw=draw_chest,
        labels=(_label(1, "Lung", ("39607008", "Lung"), (126, 200, 227)), _label(2, "Nodule", **_NODULE))),
    "nodules": Kind(
        task="detection", channels=("ct",), modality="CT", draw=draw_nodules, labels=(_label(1, "Nodule", **_NODULE),)),
    "brain": Kind(
        task="segmentation", channels=SEQUENCES, modality="MR", draw=draw_brain,
        labels=(_label(1, "Brain", ("12738006", "Brain"), (230, 200, 170)),
                _label(2, "Ventricle", ("35764002", "Brain ventricle"), (90, 140, 240)),
                _label(3, "Oedema", ("79654002", "Edema"), (250, 200, 60), morphology=True),
                _label(4, "Tumour core", ("108369006", "Neoplasm"), (220, 60, 60), lesion=True))),
}
