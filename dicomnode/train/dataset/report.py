"""A page about a data set: what was taken, what it looks like, how it is spread, what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nibabel
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from dicomnode import __version__
from dicomnode.errors import UnusableAnnotation
from dicomnode.train.dataset.cases import SPLITS, Case, Dataset, GroupValue
from dicomnode.train.dataset.pictures import drawn, seen, slices_of

TEMPLATES: Final = Path(__file__).parent / "templates"
MOST_BARS: Final = 12
LONGEST_KIND: Final = 90
SHOWN_GROUPS: Final[Mapping[str, str]] = {
    "slice_mm": "Distance between slices (mm)", "pixel_mm": "Pixel spacing (mm)", "slices": "Slices", "maker": "Maker",
    "scanner": "Scanner", "kernel": "Kernel", "body_part": "Body part",
}

_pages = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                     lstrip_blocks=True, auto_reload=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of a histogram: what it counts, how many, and its height in percent of the highest."""

    name: str
    count: int
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """One case as the page shows it: sizes in ml by label, pictures with a caption each."""

    id: str
    patient: str
    split: str
    shape: str
    spacing: str
    amounts: tuple[str, ...]
    notes: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]


def write_report(dataset: Dataset, notes: Mapping[str, Sequence[str]] | None = None,
                 warnings: Sequence[str] = ()) -> Path:
    """Write ``report.html`` and its pictures into a data set and return the page's path.

    Parameters
    ----------
    notes:
        Case id → what a person should look at.
    warnings:
        What is odd about the whole.
    """
    folder = dataset.root / "pictures"
    folder.mkdir(exist_ok=True)
    rows = [_row(case, split, dataset, tuple((notes or {}).get(case.id, ()))) for split, case in dataset.cases]
    page = dataset.root / "report.html"
    page.write_text(_pages.get_template("dataset.html").render(
        dataset=dataset, rows=rows, splits=_splits(dataset), histograms=_histograms(dataset),
        warnings=warnings, unseen=[(split, label.name) for split in SPLITS if dataset.split(split)
                                   for label in dataset.unseen(split)],
        patients=len({case.patient for _, case in dataset.cases}), version=__version__,
        reasons=_reasons(dataset)), encoding="utf-8")
    return page


def _row(case: Case, split: str, dataset: Dataset, notes: tuple[str, ...]) -> CaseRow:
    header = nibabel.Nifti1Image.from_filename(case.images[0])
    steps = np.linalg.norm(np.asarray(header.affine)[:3, :3], axis=0)
    voxel_ml = float(abs(np.linalg.det(np.asarray(header.affine)[:3, :3]))) / 1000
    return CaseRow(
        id=case.id, patient=case.patient, split=split, shape=" × ".join(str(count) for count in header.shape),
        spacing=" × ".join(f"{step:.3g}" for step in steps), notes=notes, pictures=_pictures(case, dataset),
        amounts=tuple(_amount(case, place, dataset, voxel_ml) for place in range(len(dataset.labels))))


def _amount(case: Case, place: int, dataset: Dataset, voxel_ml: float) -> str:
    """Say how much of a label a case holds: millilitres, boxes, or that it is its class."""
    if dataset.task == "classification":
        return "●" if case.klass == place else ""
    if dataset.task == "detection":
        sizes = [float(box[3:].max()) for box, label in zip(case.boxes_lps_mm, case.box_labels, strict=True)
                 if label == place]
        span = "–".join(dict.fromkeys(f"{size:.0f}" for size in (min(sizes), max(sizes)))) if sizes else ""
        return f"× {len(sizes)}, {span} mm" if sizes else "0"
    count = case.voxels.get(dataset.labels[place].value, 0)
    return f"{count * voxel_ml:.4g} ml" if count else "–"


def _pictures(case: Case, dataset: Dataset) -> tuple[tuple[str, str], ...]:
    view = seen(case)
    places, count = slices_of(view), view.images[0].shape[view.axis]
    first = next(iter(places))
    wanted = [(channel, places[first], first) for channel in range(len(view.images))]
    wanted += [(0, place, name) for name, place in places.items() if name != first]
    made = []
    for number, (channel, place, what) in enumerate(wanted):
        name = f"pictures/{case.id}_{number}.png"
        Image.fromarray(drawn(view, channel, place, dataset, case)).save(dataset.root / name, optimize=True)
        channel_name = f"{dataset.channels[channel]}, " if len(view.images) > 1 else ""
        made.append((name, f"{channel_name}{what}, slice {place + 1} of {count}"))
    return tuple(made)


def _splits(dataset: Dataset) -> list[dict[str, object]]:
    return [{"name": name, "cases": len(dataset.split(name)),
             "patients": len({case.patient for case in dataset.split(name)}),
             "showing": [dataset.showing(label, name) for label in dataset.labels]} for name in SPLITS]


def _histograms(dataset: Dataset) -> list[tuple[str, list[Bar]]]:
    groups = [case.group for _, case in dataset.cases]
    found = []
    for key, title in SHOWN_GROUPS.items():
        values = [group[key] for group in groups if key in group]
        if values:
            found.append((title, _bars(values, len(groups) - len(values))))
    return found


def _bars(values: Sequence[GroupValue], unsaid: int) -> list[Bar]:
    """Count values: numbers in order, in ranges where they are many; texts by how often they stand."""
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        counts = Counter(numbers)
        if len(counts) > MOST_BARS:
            heights, edges = np.histogram(numbers, bins=MOST_BARS)
            named = [(f"{low:.3g}–{high:.3g}", int(count)) for count, low, high in zip(
                heights, edges, edges[1:], strict=False)]
        else:
            named = [(f"{value:g}", counts[value]) for value in sorted(counts)]
    else:
        texts = Counter(str(value) for value in values)
        named = texts.most_common(MOST_BARS)
        rest = sum(texts.values()) - sum(count for _, count in named)
        named += [("others", rest)] if rest else []
    named += [("not said", unsaid)] if unsaid else []
    highest = max(count for _, count in named)
    return [Bar(name=name, count=count, percent=100 * count / highest) for name, count in named]


def _reasons(dataset: Dataset) -> list[tuple[str, int]]:
    """Count what was left out by the kind of its reason."""
    return Counter(_kind(one.why) for one in dataset.left_out).most_common()


def _kind(why: str) -> str:
    """Return the class of an error or the first words of a sentence: what comes before the particulars."""
    head, _, rest = why.removeprefix(f"{UnusableAnnotation.__name__}: ").partition(": ")
    return head.partition(" (")[0] if rest or len(head) < LONGEST_KIND else f"{head[:LONGEST_KIND]}…"
