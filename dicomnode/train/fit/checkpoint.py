"""Checkpoints: after a crash at any moment there is a whole one, the new or the one before."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dicomnode.errors import UnusableCheckpoint


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a training has come.

    Parameters
    ----------
    step : optimiser steps done.
    best_score, best_step : of the best validation so far.
    worse : validations since then.
    stopped_early : whether it ended for want of progress.
    losses : (step, mean loss since the entry before, learning rate).
    scores : (step, validation scores).
    seconds : of training, over all its runs.
    """

    step: int = 0
    best_score: float | None = None
    best_step: int = 0
    worse: int = 0
    stopped_early: bool = False
    losses: list[tuple[int, float, float]] = field(default_factory=list)
    scores: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that the next step depends on.

    Parameters
    ----------
    made_of : recipe and data digests, processes: a training resumes only with the same.
    trainee, optimiser, scaler : their state dicts.
    running_loss : losses since the last entry of ``progress.losses``.
    """

    made_of: Mapping[str, object]
    trainee: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    scaler: Mapping[str, Any]
    progress: Progress
    running_loss: tuple[float, ...] = ()

    def save(self, path: Path) -> None:
        """Write it whole, or leave what was there."""
        save_durably(
            {"made_of": dict(self.made_of), "trainee": self.trainee, "optimiser": self.optimiser,
             "scaler": self.scaler, "progress": asdict(self.progress), "running_loss": list(self.running_loss)}, path)


def load_checkpoint(path: Path, made_of: Mapping[str, object]) -> Checkpoint:
    """Read a checkpoint back.

    Raises
    ------
    UnusableCheckpoint
        If it is unreadable, or was made with another recipe, data set or number of processes.
    """
    state = load_tensors(path)
    different = [f"{name} was {state['made_of'].get(name)}, is {value}" for name, value in made_of.items()
                 if state["made_of"].get(name) != value]
    if different:
        raise UnusableCheckpoint(f"{path}: made by another training ({'; '.join(different)}): go on with what it was "
                                 "begun with, or begin again with --replace")
    progress = Progress(**state.pop("progress"))
    progress.losses = [(step, loss, rate) for step, loss, rate in progress.losses]
    progress.scores = [(step, scores) for step, scores in progress.scores]
    return Checkpoint(progress=progress, running_loss=tuple(state.pop("running_loss")), **state)


def load_tensors(path: Path) -> dict[str, Any]:
    """What ``save_durably`` wrote; nothing but tensors and plain values is unpickled.

    Raises
    ------
    UnusableCheckpoint
        If it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise UnusableCheckpoint(f"{path}: no readable checkpoint: {error}") from error
    return state


def save_durably(state: Mapping[str, Any], path: Path) -> None:
    """Write beside, fsync, rename, fsync the folder."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_durably(buffer.getbuffer(), path)


def write_durably(payload: bytes | memoryview, path: Path) -> None:
    """Put bytes at ``path`` so that a crash leaves the old file or the new, never a part."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
