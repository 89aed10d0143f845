"""What a person is told about the whole of a data set that was built."""

from __future__ import annotations

import numpy as np

from dicomnode.train.dataset.gather import Wishes, gather
from tests.builders import ct_series, write_series

SHAPE = (6, 16, 20)


def a_study(folder, patient, pixels):
    """One series of a patient, with a table of findings beside it."""
    write_series(folder, ct_series(pixels, seed=patient, PatientID=patient, PatientName=f"Doe^{patient}"))


def test_the_same_images_under_two_patients_are_warned_of_with_their_splits(tmp_path):
    rng = np.random.default_rng(7)
    shared, own = (rng.integers(0, 900, SHAPE, dtype=np.int16) for _ in range(2))
    for patient, pixels in (("ID-1", shared), ("ID-2", shared), ("ID-3", own)):
        a_study(tmp_path / "src" / patient, patient, pixels)
    gathered = gather(Wishes(source=tmp_path / "src", out=tmp_path / "out", name="d", key=b"k" * 32, unmarked=True))
    (warning,) = gathered.warnings
    contents = {case.id: (split, case.images[0].read_bytes()) for split, case in gathered.dataset.cases}
    twins = [name for name, (_, content) in contents.items()
             if [other for _, other in contents.values()].count(content) == 2]
    assert len(twins) == 2
    assert warning.count("case ") == 2
    assert all(f"case {name} ({contents[name][0]})" in warning for name in twins)
