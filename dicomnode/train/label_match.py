"""Which label of a model means which label of a data set: the same code, else the same name."""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import ModelFile
from dicomnode.train.cases import Dataset, DatasetLabel


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
    pairs, notes = [], []
    for index, label in enumerate(dataset.labels):
        partner = _partner(label, known)
        if partner is None:
            notes.append(f"{label.name} of the data set is not scored: the model has no label of its code or name")
            continue
        known.remove(partner)
        pairs.append(Pair(name=label.name, model_value=partner[0], truth_value=label.value, truth_index=index,
                          lesion=label.lesion or partner[3], colour_rgb=label.colour_rgb))
    notes += [f"{name} of the model is not scored: the data set has no label of its code or name"
              for _, name, _, _ in known]
    return tuple(pairs), tuple(notes)


Known = tuple[int, str, Code | None, bool]


def _known(model: ModelFile) -> list[Known]:
    if model.task == "classification":
        return [(one.value, one.name, one.code, False) for one in model.classes]
    return [(label.value, label.name, label.type, label.lesion) for label in model.labels]


def _partner(label: DatasetLabel, known: list[Known]) -> Known | None:
    """The label of the same name, else the only one of the same code (two sides of an organ share one)."""
    by_name = [one for one in known if one[1].casefold() == label.name.casefold()]
    by_code = [one for one in known if label.type is not None and one[2] is not None and _same(one[2], label.type)]
    if by_name:
        return by_name[0]
    return by_code[0] if len(by_code) == 1 else None


def _same(first: Code, second: Code) -> bool:
    return (first.value, first.scheme) == (second.value, second.scheme)
