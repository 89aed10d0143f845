"""What the node's own encoders write about two small studies with nothing in common.

Whatever two sets of results share is fixed; what each has from its own images is copied.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pydicom import Dataset, dcmread

from dicomnode.conformance.sample_model import CLASSIFICATION, DETECTION, ROLE, SEGMENTATION, a_model, an_output
from dicomnode.conformance.sample_study import derived, write_study
from dicomnode.domain.dicom import COMPREHENSIVE_3D_SR_STORAGE, InstanceRef
from dicomnode.domain.findings import EncodedObject, ModelFindings, NotAnalysed, Provenance
from dicomnode.domain.model import ModelFile
from dicomnode.domain.settings import Outputs
from dicomnode.encode.series import Stamp
from dicomnode.infer.measure import model_findings
from dicomnode.read.series import LoadedSeries, load
from dicomnode.run.analyse import Identity
from dicomnode.run.encoding import Material, encode_all
from dicomnode.run.notices import notice, take_back

FOUND, NO_LESION, NOTHING_FOUND = "findings", "structures and no lesion", "nothing found"
CLASSIFIED: Final = "classes"
NOT_ANALYSED: Final = "a reason not to be analysed"
REJECTED: Final = "results that a later analysis supersedes"
PEER: Final = "peer"
PREDECESSORS: Final = ((), (f"{COMPREHENSIVE_3D_SR_STORAGE}:2.25.4711",))
"""The second study had results before: its images came late."""
REASONS: Final = (("MissingSlices", "gap of 7.0 mm after slice 12"), ("GantryTilt", "tilt of 9.0 degrees"))
QUANTITIES: Final = ("probability", "uncertainty")
FIRST: Final = datetime(2026, 3, 1, 8, 30, 15, tzinfo=UTC)
LATER: Final = timedelta(days=40, minutes=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of a configuration decides which objects are made.

    Parameters
    ----------
    audiences:
        The kinds of objects that each peer gets; of ``TAKES``.
    outputs:
        What the model files ask for besides.
    tasks:
        Of the models.
    rejecting:
        Whether a peer is told which results a later analysis supersedes.
    """

    audiences: tuple[tuple[str, ...], ...]
    outputs: Outputs
    tasks: frozenset[str]
    language: str
    rejecting: bool

NOTED: Final = "input ct is absent: the model ran without it"
"""What a reader must know of an analysis stands as Comment in its reports, where there is anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One study's results in one case, and what they were made from."""

    case: str
    objects: tuple[EncodedObject, ...]
    headers: tuple[Dataset, ...]
    model: ModelFile
    identity: Identity


def examples(variant: int, wanted: Wanted, *, sparse: bool = False) -> tuple[Example, ...]:
    """Return the results of one of the two studies, in each case that the configuration may meet.

    Parameters
    ----------
    sparse:
        Whether its images have only what is needed.
    """
    identity = Identity(node_id=uuid.UUID(int=0xA0 + variant), job_key=f"example {variant}", language=wanted.language,
                        predecessors=PREDECESSORS[variant])
    at = FIRST + LATER * variant
    with TemporaryDirectory() as folder:
        paths = write_study(Path(folder), variant, sparse=sparse)
        headers = tuple(dcmread(path, stop_before_pixels=True) for path in paths)
        loaded = load(paths, ROLE)
        made = [
            Example(case=case, headers=headers, model=model, identity=identity,
                    objects=encode_all(_material(case, loaded, model, identity, at, wanted)))
            for case, model in _cases(variant, wanted)]
        more = {NOT_ANALYSED: _notice(variant, paths, identity, at)}
        if wanted.rejecting:
            more[REJECTED] = _take_back(made[0].objects, paths, identity, at)
    return (*made, *(replace(made[0], case=case, objects=objects) for case, objects in more.items()))


def _cases(variant: int, wanted: Wanted) -> list[tuple[str, ModelFile]]:
    """Return each case with the model that it is of: a detector speaks where nothing segments."""
    seeing = SEGMENTATION if SEGMENTATION in wanted.tasks or not wanted.tasks else DETECTION
    cases = [(case, seeing) for case in (FOUND, NO_LESION, NOTHING_FOUND)
             if wanted.tasks != {CLASSIFICATION} and (case != NO_LESION or seeing == SEGMENTATION)]
    cases += [(CLASSIFIED, CLASSIFICATION)] if CLASSIFICATION in wanted.tasks else []
    outputs = replace(wanted.outputs, quantity=QUANTITIES[variant])
    return [(case, replace(a_model(variant, task), outputs=outputs)) for case, task in cases]


def _notice(variant: int, paths: Sequence[Path], identity: Identity, at: datetime) -> tuple[EncodedObject, ...]:
    reason, text = REASONS[variant]
    return notice(NotAnalysed(reason=reason, text=text, study_uid=derived("study", variant)), paths[:1], identity,
                  clock=lambda: at)


def _take_back(objects: Sequence[EncodedObject], paths: Sequence[Path], identity: Identity, at: datetime
               ) -> tuple[EncodedObject, ...]:
    sent = [InstanceRef(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid) for one in objects]
    return tuple(take_back({PEER: sent}, paths[:1], identity, clock=lambda: at).values())


def _material(case: str, loaded: LoadedSeries, model: ModelFile, identity: Identity, at: datetime, wanted: Wanted
              ) -> Material:
    provenance = Provenance(
        model_name=model.name, model_version=model.version, model_digest=model.digest, intended_use=model.intended_use,
        device_uid=derived("device", identity.node_id), node_version="", content_time=at, research=model.research)
    series_uid = loaded.volume.stack.series_uid
    return Material(
        findings=(_findings(case, loaded, model, provenance),), models=(model,), audiences=wanted.audiences,
        volumes={series_uid: loaded.volume}, sources={series_uid: loaded.sources},
        stamp=Stamp(node_id=identity.node_id, job_key=f"{identity.job_key} {case}", content_time=at,
                    provenance=(provenance,), language=identity.language, predecessors=identity.predecessors))


def _findings(case: str, loaded: LoadedSeries, model: ModelFile, provenance: Provenance) -> ModelFindings:
    output = an_output(model, loaded.volume.stack.shape_zyx, organs=case in {FOUND, NO_LESION}, lesions=case == FOUND)
    found = model_findings(model, loaded.volume, output, provenance=provenance,
                           tracking_uid=lambda name: derived(provenance.model_name, name))
    return replace(found, warnings=(NOTED,), detections=tuple(
        replace(one, probability=0.9 - one.number / 20) for one in found.detections))
