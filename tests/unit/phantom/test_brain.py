"""The brain phantom: four sequences of one head, and their truth."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.phantom.brain import LABEL_BRAIN, LABEL_CORE, LABEL_OEDEMA, LABEL_VENTRICLE, SEQUENCES, brain_mr

SMALL = {"shape_zyx": (44, 54, 44), "spacing_zyx_mm": (4.0, 4.0, 4.0)}


def test_the_same_seed_gives_the_same_brain_voxel_for_voxel():
    first, second = brain_mr(2, **SMALL), brain_mr(2, **SMALL)
    assert np.array_equal(first.truth_zyx, second.truth_zyx)
    assert all(np.array_equal(first.mr_zyx[name], second.mr_zyx[name]) for name in SEQUENCES)


def test_a_brain_has_a_brains_volume():
    phantom = brain_mr(3, tumour=False)
    litres = np.count_nonzero(phantom.truth_zyx == LABEL_BRAIN) * 8e-6
    assert 0.9 < litres < 1.7


def test_fluid_is_dark_on_t1_and_flair_and_bright_on_t2():
    phantom = brain_mr(4, tumour=False, **SMALL)
    fluid, brain = phantom.truth_zyx == LABEL_VENTRICLE, phantom.truth_zyx == LABEL_BRAIN
    darker = {name: np.median(image[fluid]) < np.median(image[brain]) for name, image in phantom.mr_zyx.items()}
    assert darker == {"t1": True, "t1c": True, "t2": False, "flair": True}


def test_a_tumour_is_there_only_where_it_was_asked_for():
    with_tumour, without = brain_mr(5, tumour=True, **SMALL), brain_mr(5, tumour=False, **SMALL)
    assert {LABEL_OEDEMA, LABEL_CORE} <= set(np.unique(with_tumour.truth_zyx).tolist())
    assert set(np.unique(without.truth_zyx).tolist()) == {0, LABEL_BRAIN, LABEL_VENTRICLE}


def test_oedema_is_bright_on_flair():
    phantom = brain_mr(6, tumour=True, **SMALL)
    flair, truth = phantom.mr_zyx["flair"], phantom.truth_zyx
    assert np.median(flair[truth == LABEL_OEDEMA]) > 1.3 * np.median(flair[truth == LABEL_BRAIN])


def test_an_impossible_shape_is_refused():
    with pytest.raises(ValueError, match="at least 2 voxels"):
        brain_mr(1, shape_zyx=(1, 4, 4))
