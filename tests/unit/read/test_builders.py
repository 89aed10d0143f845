from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from tests.builders import ct_series, dataset, enhanced_ct, mr_series, write_file

VALUES = np.arange(2 * 16 * 16).reshape(2, 16, 16)


def test_a_misspelt_keyword_is_refused_with_the_right_one():
    with pytest.raises(TypeError, match="PatientNam is no DICOM keyword; did you mean PatientName"):
        dataset(PatientNam="x")
    with pytest.raises(TypeError, match="RescaleSlop"):
        ct_series(VALUES, RescaleSlop="1")


def test_the_same_call_builds_the_same_data():
    assert ct_series(VALUES) == ct_series(VALUES)
    assert enhanced_ct(VALUES) == enhanced_ct(VALUES)


@pytest.mark.parametrize(
    "built", [ct_series(VALUES)[1], mr_series(VALUES)[1], enhanced_ct(VALUES)], ids=["ct", "mr", "enhanced"]
)
def test_what_the_builders_make_is_valid(tmp_path, built):
    if not shutil.which("dciodvfy"):
        pytest.skip("no dciodvfy: install the Debian package dicom3tools")
    said = subprocess.run(
        ["dciodvfy", write_file(tmp_path / "a.dcm", built)], capture_output=True, text=True, check=False
    )
    assert "Error" not in said.stderr, said.stderr
