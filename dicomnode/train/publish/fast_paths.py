"""What each fast path of a model changes, measured on a data set and written into the model file."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from dicomnode.config.models import model_from_text
from dicomnode.domain.findings import marked
from dicomnode.domain.model import FAST_PATHS, ModelFile, Runtime
from dicomnode.domain.settings import Validated
from dicomnode.errors import UnusableDataset
from dicomnode.infer.pool import Pool
from dicomnode.train.score.case_image import CaseImage, read_case
from dicomnode.train.score.overlap import Counts, counts

if TYPE_CHECKING:
    from dicomnode.train.dataset.cases import Dataset

TOGETHER: Final = "together"
MOST_CASES: Final = 3
"""So many validation cases are run when a model is published."""
WARM: Final = 3
"""Children at one time: torch's, and one for each setting of another engine."""
SCALE: Final = 10_000
"""What is recorded is rounded to so many parts, to the worse side."""
HEADING: Final = "[runtime.validated]"
_TABLE: Final = re.compile(r"^\[runtime\.validated\].*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
_RUNTIME: Final = re.compile(r"^\[runtime\].*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)

Tell = Callable[[str, str], None]
Labels = NDArray[Any]


def validate_fast_paths(model: ModelFile, cases: Iterable[CaseImage], pool: Pool, *,
                        tell: Tell = lambda _case, _path: None) -> dict[str, Validated]:
    """Run every case with all fast paths off, with each that the model uses alone, and with all of them together.

    Parameters
    ----------
    tell : called with the case and the fast path before each run.

    Returns
    -------
    dict
        Fast path → what it changed, voxels of all cases counted together; empty where the model uses none.

    Raises
    ------
    UnusableDataset
        If there is no case, or the model is no segmentation.
    InferenceError
        A model gave no result.
    """
    if model.task != "segmentation":
        raise UnusableDataset(f"model {model.name}: fast paths of a {model.task} cannot be compared: only labels can")
    comparison = _Comparison(model)
    for case in cases:
        comparison.add(case, pool, tell)
    return comparison.result()


def with_measured(text: str, bundle: Path, dataset: Dataset, *, device: str, threads: int,
                  tell: Tell = lambda _case, _path: None) -> str:
    """Return the model file of a new bundle with what its fast paths change on the first validation cases.

    The same text where the model uses none, is no segmentation by pieces, or there is no validation case.

    Raises
    ------
    InferenceError
        The bundle gave no result.
    """
    model = model_from_text(text, source=f"model file of {bundle.name}")
    cases = dataset.validation[:MOST_CASES]
    if (model.task, model.trust) != ("segmentation", "pieces") or not used(model.runtime) or not cases:
        return text
    with Pool(bundle.parent, device=device, threads=threads, warm=WARM) as pool:
        read = (read_case(case, dataset, model) for case in cases)
        return with_validated(text, validate_fast_paths(model, read, pool, tell=tell))


def used(runtime: Runtime) -> dict[str, Runtime]:
    """Return each fast path that is on, alone, and all together; a crop needs the fast resampling that it works on."""
    off, default = _off(runtime), Runtime()
    on = {name: getattr(runtime, name) for name in FAST_PATHS if getattr(runtime, name) != getattr(default, name)}
    alone = {name: replace(off, **{name: value}) for name, value in on.items()}
    if "crop_to_body" in alone:
        alone["crop_to_body"] = replace(alone["crop_to_body"], fast_resample=True)
    return {**alone, TOGETHER: runtime} if on else {}


def with_validated(text: str, seen: Mapping[str, Validated]) -> str:
    """Return a model file's text with ``[runtime.validated]`` put in place of what it had.

    Raises
    ------
    ValueError
        If it has no ``[runtime]`` table.
    """
    rows = "".join(f"{name} = {_inline(one)}\n" for name, one in seen.items())
    table = f"{HEADING}\n{rows}\n" if rows else ""
    if _TABLE.search(text):
        return _TABLE.sub(lambda _: table, text, count=1)
    found = _RUNTIME.search(text)
    if found is None:
        raise ValueError("the model file has no [runtime] table")
    body = found.group(0).rstrip("\n")
    return f"{text[:found.start()]}{body}\n\n{table}{text[found.end():]}"


def _inline(one: Validated) -> str:
    return f"{{ dice_between = {one.dice_between:.4f}, dice_lost = {one.dice_lost:.4f}, cases = {one.cases} }}"


def _off(runtime: Runtime) -> Runtime:
    default = Runtime()
    return replace(runtime, **{name: getattr(default, name) for name in FAST_PATHS})


class _Sums:
    """Voxels of each label, counted over all cases."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}

    def add(self, model: ModelFile, found: Labels, other: Labels | None) -> None:
        if other is None:
            return
        for label in model.labels:
            one = counts(marked(found, label.value, overlapping=model.overlapping),
                         marked(other, label.value, overlapping=model.overlapping))
            known = self._counts.get(label.name)
            self._counts[label.name] = one if known is None else Counts(**{
                key: value + getattr(known, key) for key, value in asdict(one).items()})

    def dice(self) -> dict[str, float]:
        """Return Dice by label, without those that nothing and nobody drew."""
        return {name: one.dice for name, one in self._counts.items() if not math.isnan(one.dice)}


class _Comparison:
    """Every way to run one model, side by side."""

    def __init__(self, model: ModelFile) -> None:
        self._model, self._variants, self._cases = model, used(model.runtime), 0
        self._between = {name: _Sums() for name in self._variants}
        self._against = {name: _Sums() for name in ("", *self._variants)}

    def add(self, case: CaseImage, pool: Pool, tell: Tell) -> None:
        """Run one case in every way."""
        if not self._variants:
            return
        self._cases += 1
        plain = self._run("", _off(self._model.runtime), case, pool, tell)
        for name, runtime in self._variants.items():
            self._between[name].add(self._model, self._run(name, runtime, case, pool, tell), plain)

    def _run(self, name: str, runtime: Runtime, case: CaseImage, pool: Pool, tell: Tell) -> Labels:
        tell(case.case.id, name or "no fast path")
        output = pool.run(replace(self._model, runtime=runtime), case.volumes)
        if output.labels_zyx is None:
            raise UnusableDataset(f"model {self._model.name} gives no labels")
        self._against[name].add(self._model, output.labels_zyx, case.truth_zyx)
        return output.labels_zyx

    def result(self) -> dict[str, Validated]:
        """Return what each fast path changed."""
        if self._variants and not self._cases:
            raise UnusableDataset("the data set has no case in this split")
        return {name: self._seen(name) for name in self._variants}

    def _seen(self, name: str) -> Validated:
        lowest = min(self._between[name].dice().values(), default=1.0)
        before, after = self._against[""].dice(), self._against[name].dice()
        lost = max((before[label] - after.get(label, 0.0) for label in before), default=0.0)
        return Validated(dice_between=math.floor(lowest * SCALE) / SCALE, dice_lost=math.ceil(lost * SCALE) / SCALE,
                         cases=self._cases)
