"""The plain values of a recipe: what each is called, what is allowed, what it is where it is left out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PatchSize = Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=3, max_length=3)]
"""Voxels along x, y, z."""
Shares = dict[str, Annotated[float, Field(ge=0)]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(_Strict):
    """How the learning rate moves within a cycle: up over ``warm_up`` of the steps, then down to ``final``."""

    shape: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warm_up: float = Field(default=0.15, ge=0, lt=1)
    first: float = Field(default=0.04, gt=0, le=1)
    final: float = Field(default=4e-6, ge=0, le=1)


class Place(_Strict):
    """Voxels by their prepared intensity, for patches to be centred on: what looks like a finding and is none."""

    label: int = Field(default=0, ge=0)
    above: float | None = None
    below: float | None = None


class StageSettings(BaseModel):
    """One entry of ``stages``: what is left out is as in the recipe; further keys are the task's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    steps: int = Field(gt=0)
    batch_size: int | None = Field(default=None, gt=0)
    patch_size: PatchSize | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    restart: bool = False


class Settings(_Strict):
    """Every plain key of a recipe."""

    task: Literal["segmentation", "detection", "classification"]
    name: str = ""
    version: str = "1.0.0"
    description: str = ""
    authors: str = "unnamed"
    licence: str = ""
    intended_use: str = Field(min_length=1)
    limitations: str = ""

    seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, gt=0)
    batch_size: int = Field(gt=0)
    patch_size: PatchSize
    learning_rate: float = Field(gt=0)
    schedule: Schedule = Schedule()
    stages: list[StageSettings] = Field(default_factory=list)
    clip_norm: float | None = Field(default=12.0, gt=0)
    amp: Literal["auto", True, False] = "auto"
    validate_every: int = Field(default=200, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    early_stopping: int | None = Field(default=None, gt=0)
    keep: Literal["best", "last"] = "best"
    deterministic: bool = True

    around: Shares = Field(default_factory=lambda: {"foreground": 0.6, "anywhere": 0.4})
    places: dict[str, Place] = Field(default_factory=dict)
    shift: float = Field(default=0.25, ge=0, le=0.5)
    rare_class_prior: dict[str, float] = Field(default_factory=dict)
    class_weights: Shares = Field(default_factory=dict)
    scripts: str | None = None
    model_file: dict[str, Any] = Field(default_factory=dict)
    detection: dict[str, Any] = Field(default_factory=dict)
