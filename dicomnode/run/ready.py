"""Which models this worker may claim work for: those whose bundle is there and is the pinned one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from dicomnode import logs
from dicomnode.domain.model import ModelFile
from dicomnode.errors import DicomNodeError, InferenceError
from dicomnode.infer.pool import Pool

LOOK_AGAIN: Final = timedelta(seconds=60)
"""How often a model that could not be used is tried again: its bundle may have been put in place meanwhile."""

log = logs.get("run")


class ReadyModels:
    """The verified models of one worker; one that cannot be used keeps none of the others from working."""

    def __init__(self, pool: Pool, models: Sequence[ModelFile]) -> None:
        self._pool = pool
        self._waiting = list(models)
        self._ready: list[ModelFile] = []
        self._look_at: datetime | None = None

    def digests(self, now: datetime) -> frozenset[str]:
        """Return the digests that jobs may ask for, after another look at those that failed."""
        if self._waiting and (self._look_at is None or now >= self._look_at):
            self._look_at = now + LOOK_AGAIN
            self._waiting = [model for model in self._waiting if not self._verify(model)]
        return frozenset(model.digest for model in self._ready)

    def warm_up(self, most: int, now: datetime) -> None:
        """Load the first models before their first study comes."""
        self.digests(now)
        for model in self._ready[:most]:
            try:
                log.info("model_loaded", model=model.name, seconds=round(self._pool.prepare(model), 2))
            except DicomNodeError as error:
                log.warning("model_unusable", model=model.name, reason=error.reason)

    def _verify(self, model: ModelFile) -> bool:
        try:
            self._pool.verify(model)
        except InferenceError as error:
            log.warning("model_unusable", model=model.name, reason=error.reason)
            return False
        self._ready.append(model)
        return True
