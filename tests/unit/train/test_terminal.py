"""How a training looks while it runs: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from rich.console import Console

from dicomnode.train.fit.checkpoint import Progress
from dicomnode.train.fit.contact_sheet import picture
from dicomnode.train.fit.journal import curves_png
from dicomnode.train.fit.terminal import Terminal


def told(*, terminal: bool) -> str:
    heard = io.StringIO()
    console = Console(file=heard, force_terminal=terminal, width=100, highlight=False)
    with Terminal(console) as person:
        report = person.preparing("training", 2)
        report(1)
        report(2)
        person.begun(10, 20)
        person.stepped(20, 0.25, 1e-3)
        person.validated(20, {"mean_dice": 0.9}, Progress(step=20, best_step=20, stopped_early=True, worse=3))
    return heard.getvalue()


def test_a_log_gets_lines_and_no_bar():
    said = told(terminal=False)
    for part in ("2 training cases prepared", "going on after step 10 of 20", "training ends here",
                 "step 20 of 20: loss 0.2500, rate 1.00e-03", "validation mean_dice 0.9000 (best so far)"):
        assert part in said
    assert "\x1b[" not in said


def test_a_terminal_gets_a_bar_and_the_scores():
    said = told(terminal=True)
    assert "20/20" in said
    assert "validation mean_dice 0.9000" in said
    assert "step 20 of 20" not in said


def test_curves_are_drawn_with_and_without_validations():
    progress = Progress(step=2, losses=[(1, 1.0, 0.1), (2, -0.5, 0.2)])
    assert Image.open(io.BytesIO(curves_png(progress))).size[0] > 500
    progress.scores, progress.best_step = [(1, {"mean_dice": 0.5}), (2, {"mean_dice": 0.6, "dice_Lung": 0.7})], 2
    assert Image.open(io.BytesIO(curves_png(progress))).size[0] > 500
    assert curves_png(Progress()) == b""


def test_a_sample_is_pictured_with_front_up_and_its_boxes():
    image = np.zeros((1, 20, 20, 4), np.float32)
    image[0, 15:, 15:, :] = 1.0
    boxes = np.array([[15, 15, 0, 20, 20, 4]], np.float32)
    tile = np.asarray(picture({"image": image, "box": boxes, "box_label": np.zeros(1)}, [(250, 10, 10)]), int)
    bright = (tile.min(axis=2) > 200).nonzero()
    assert bright[0].mean() < 100, "the patient's front is up"
    assert bright[1].mean() < 100, "the patient's right is on the left"
    red = (np.abs(tile - [250, 10, 10]).max(axis=2) < 30).nonzero()
    assert red[0].max() <= 52
    assert red[1].max() <= 52
