"""Which label of a model means which label of a data set: the same name, else the same code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import ModelFile
from dicomnode.train.dataset.cases import Dataset

NO_PARTNER: Final = "the other has no label of its name, and none that alone shares its code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One thing that is scored.

    Parameters
    ----------
    name : the data set's.
    model_value : value of the model's label or class.
    truth_value : value in the data set's label maps.
    truth_index : place in ``Dataset.labels``, as boxes and classes count.
    lesion : whether it is found one by one.
    """

    name: str
    model_value: int
    truth_value: int
    truth_index: int
    lesion: bool
    colour_rgb: tuple[int, int, int]


def matched(model: ModelFile, dataset: Dataset) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Return the pairs in the data set's order, and a sentence for each label that has no partner."""
    known = _known(model)
    partners = _partners(dataset, known)
    pairs, notes = [], []
    for index, label in enumerate(dataset.labels):
        partner = partners.get(index)
        if partner is None:
            notes.append(f"{label.name} of the data set is not scored: {NO_PARTNER}")
            continue
        pairs.append(Pair(name=label.name, model_value=partner[0], truth_value=label.value, truth_index=index,
                          lesion=label.lesion or partner[3], colour_rgb=label.colour_rgb))
    notes += [f"{one[1]} of the model is not scored: {NO_PARTNER}"
              for one in known if one not in partners.values()]
    return tuple(pairs), tuple(notes)


Known = tuple[int, str, Code | None, bool]


def _known(model: ModelFile) -> list[Known]:
    if model.task == "classification":
        return [(one.value, one.name, one.code, False) for one in model.classes]
    return [(label.value, label.name, label.type, label.lesion) for label in model.labels]


def _partners(dataset: Dataset, known: list[Known]) -> dict[int, Known]:
    """Return place in the data set → the label of the same name, else of a code that only one label of each has.

    Names go first, whatever the order: two sides of an organ share one code, and neither is the whole.
    """
    named = {one[1].casefold(): one for one in known}
    found = {place: named[label.name.casefold()] for place, label in enumerate(dataset.labels)
             if label.name.casefold() in named}
    for place, label in enumerate(dataset.labels):
        ours = [one for one in dataset.labels if label.type and one.type and _same(one.type, label.type)]
        theirs = [one for one in known if label.type and one[2] is not None and _same(one[2], label.type)]
        if place not in found and len(ours) == len(theirs) == 1 and theirs[0] not in found.values():
            found[place] = theirs[0]
    return found


def _same(first: Code, second: Code) -> bool:
    return (first.value, first.scheme) == (second.value, second.scheme)
