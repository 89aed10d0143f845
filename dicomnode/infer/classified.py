"""From probabilities to what is reported: which classes are present, which are not, and when nobody can tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dicomnode.domain.findings import Classification, ModelFindings, Presence, Provenance
from dicomnode.domain.model import ModelFile
from dicomnode.domain.volume import Volume
from dicomnode.errors import ModelFailed
from dicomnode.infer.output import RawOutput


def classified(model: ModelFile, volume: Volume, output: RawOutput, *, provenance: Provenance) -> ModelFindings:
    """Judge each class by the model file's ``[classification]``; most probable first.

    Raises
    ------
    ModelFailed
        If the output has no probability for a class.
    """
    given = output.probabilities
    missing = [one.name for one in model.classes if given is None or one.value not in given]
    if given is None or missing:
        msg = f"model {model.name} gave no probability for {', '.join(missing)}"
        raise ModelFailed(msg)
    found = sorted(_judged(model, given), key=lambda one: (-one.probability, one.of.value))
    return ModelFindings(provenance=provenance, stack=volume.stack, classifications=tuple(found),
                         seconds=output.seconds)


def _judged(model: ModelFile, probabilities: Mapping[int, float]) -> Iterator[Classification]:
    settings = model.classification
    best = max(model.classes, key=lambda one: (probabilities[one.value], -one.value))
    for one in model.classes:
        probability = probabilities[one.value]
        enough = probability >= settings.report_at_least
        if not settings.exclusive:
            presence = Presence.PRESENT if enough else Presence.ABSENT
        elif probabilities[best.value] < settings.report_at_least:
            presence = Presence.UNDETERMINED
        else:
            presence = Presence.PRESENT if one is best else Presence.ABSENT
        yield Classification(of=one, probability=probability, presence=presence)
