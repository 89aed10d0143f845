"""The build of one synthetic patient: every length and tissue that varies from seed to seed."""

# ruff: noqa: PLR2004 - an anatomy is drawn with numbers, each beside the shape it makes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Lengths in mm, densities in HU. The origin lies in the middle of the chest; x left, y back, z head."""

    chest_half_width_mm: float
    chest_half_depth_mm: float
    apex_z_mm: float
    dome_right_z_mm: float
    dome_left_z_mm: float
    dome_height_mm: float
    wall_mm: float
    fat_mm: float
    breast_mm: float  # 0: none
    heart_scale: float
    heart_shift_mm: float
    mediastinum_scale: float
    rib_pitch_mm: float
    rib_phase: float
    lung_hu: float
    lung_gradient_hu: float  # how much denser the back is than the front
    blood_hu: float
    muscle_hu: float
    fat_hu: float
    liver_hu: float
    bone_hu: float
    stomach_gas: float  # share of the stomach that is gas, 0 to 1
    bowel_gas: int
    arms_up: bool
    lateral_shift_mm: float
    table_gap_mm: float


def draw_build(rng: np.random.Generator) -> Build:
    """One patient, drawn so that the chests range from slight to large and from plain to contrast-enhanced CT."""
    size = rng.uniform(0.88, 1.1)
    dome = rng.uniform(-66.0, -42.0)
    return Build(
        chest_half_width_mm=132.0 * size * rng.uniform(0.94, 1.06),
        chest_half_depth_mm=92.0 * size * rng.uniform(0.92, 1.24),
        apex_z_mm=rng.uniform(112.0, 132.0),
        dome_right_z_mm=dome,
        dome_left_z_mm=dome - rng.uniform(0.0, 26.0),
        dome_height_mm=rng.uniform(46.0, 70.0),
        wall_mm=rng.uniform(13.0, 20.0),
        fat_mm=rng.uniform(4.0, 36.0),
        breast_mm=float(rng.choice([0.0, rng.uniform(15.0, 40.0)])),
        heart_scale=rng.uniform(0.88, 1.15),
        heart_shift_mm=rng.uniform(-6.0, 8.0),
        mediastinum_scale=rng.uniform(0.85, 1.15),
        rib_pitch_mm=rng.uniform(23.0, 29.0),
        rib_phase=rng.uniform(0.0, 1.0),
        lung_hu=rng.uniform(-900.0, -760.0),
        lung_gradient_hu=rng.uniform(10.0, 110.0),
        blood_hu=float(rng.choice([rng.uniform(30.0, 50.0), rng.uniform(90.0, 300.0)])),
        muscle_hu=rng.uniform(35.0, 70.0),
        fat_hu=rng.uniform(-120.0, -85.0),
        liver_hu=rng.uniform(45.0, 130.0),
        bone_hu=rng.uniform(450.0, 900.0),
        stomach_gas=float(rng.choice([0.0, rng.uniform(0.1, 0.7)], p=[0.25, 0.75])),
        bowel_gas=int(rng.integers(0, 6)),
        arms_up=bool(rng.random() < 0.7),
        lateral_shift_mm=rng.uniform(-12.0, 12.0),
        table_gap_mm=rng.uniform(0.0, 8.0),
    )
