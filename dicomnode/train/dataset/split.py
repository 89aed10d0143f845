"""Which patients train, which validate, which test: never one in two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from dicomnode.errors import UnusableDataset
from dicomnode.train.dataset.cases import SPLITS


def patients_to_splits(cases: Iterable[tuple[str | None, str]], seed: int, shares: tuple[float, float, float]
                       ) -> dict[str, str]:
    """Return the split of each patient: the one that was stated, else by the rank of a hash of seed and pseudonym.

    Parameters
    ----------
    cases:
        The split that was stated, or None, and the patient of each case.
    shares:
        Of the patients that are free, for training, validation and test; any sum. A share above 0 gets at least
        one patient where there are enough, training first.

    Raises
    ------
    UnusableDataset
        If a patient was put into two splits, or the shares are no shares.
    """
    stated: dict[str, str] = {}
    patients = set()
    for split, patient in cases:
        patients.add(patient)
        if split is not None and stated.setdefault(patient, split) != split:
            raise UnusableDataset(f"patient {patient} is put into {stated[patient]} and {split}; all cases of a "
                                  "patient go into one")
    free = sorted(patients - stated.keys(), key=lambda patient: hashlib.sha256(f"{seed}|{patient}".encode()).digest())
    names = [name for name, count in zip(SPLITS, _shared_out(len(free), shares), strict=True) for _ in range(count)]
    return {**dict(zip(free, names, strict=True)), **stated}


def _shared_out(patients: int, shares: tuple[float, float, float]) -> tuple[int, int, int]:
    total = sum(shares)
    if not 0 < total < float("inf") or min(shares) < 0:
        raise UnusableDataset(f"shares = {shares}: allowed are three numbers, none below 0, one above")
    wanted = [share / total * patients for share in shares]
    least = [int(share > 0) for share in shares]
    test = min(max(least[2], round(wanted[2])), max(0, patients - least[0]))
    validation = min(max(least[1], round(wanted[1])), max(0, patients - least[0] - test))
    if not least[0]:
        return 0, patients - test, test
    return patients - test - validation, validation, test
