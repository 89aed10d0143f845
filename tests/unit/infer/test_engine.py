"""A bundle's own evaluator: one study's answer is never another's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dicomnode.errors import ModelFailed
from dicomnode.infer.engine import Engine
from dicomnode.infer.job import Job

SHAPE = (2, 3, 4)


def test_an_evaluator_that_looks_at_nothing_does_not_answer_with_the_study_before():
    before = [{"pred": torch.ones((1, *reversed(SHAPE)))}]
    evaluator = SimpleNamespace(state=SimpleNamespace(output=before), run=lambda: None)
    parser = SimpleNamespace(get_parsed_content=lambda _name: SimpleNamespace(data=[]))
    engine = Engine(evaluator=evaluator, parser=parser, config={}, keys=("image",),
                    model={"task": "segmentation", "overlapping": False}, device=torch.device("cpu"), files=None,
                    prompts={})
    out = np.zeros(SHAPE, np.uint8)
    with pytest.raises(ModelFailed, match="gave no output"):
        engine.run(Job(channels_zyx=[np.zeros(SHAPE, np.int16)], affine_ras_mm=np.eye(4), settings={}, out_zyx=out,
                       progress=lambda _fraction: None))
    assert not out.any()
