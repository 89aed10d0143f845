"""The child's side of the channel."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from dicomnode.infer import wire
from dicomnode.infer.child import _Server
from dicomnode.infer.job import Answer

BOX: Mapping[str, object] = {"box_zyx": [1 / 3] * 6, "label": 1, "score": 0.987654321}


def test_more_boxes_than_a_message_holds_are_a_failure_with_a_sentence_not_a_dead_process():
    ours, theirs = wire.pair()
    with ours, theirs:
        server = _Server(theirs, {})
        many = Answer(seconds={}, found={"boxes": [BOX] * 5000})
        server._runner = SimpleNamespace(device="cpu", run=lambda _job: many)
        fd = wire.allocate(1)
        server.answer({"do": "run", "inputs": [], "shape": [1, 1, 1], "affine_ras_mm": np.eye(4).tolist(),
                       "settings": {}, "out_dtype": "uint8"}, [fd])
        answer, _fds = wire.receive(ours)
        assert answer["error"] == "ModelFailed"
        assert "raise its score threshold" in answer["message"]
        server.answer({"do": "load"}, [])
        assert "error" in wire.receive(ours)[0], "it still answers"
