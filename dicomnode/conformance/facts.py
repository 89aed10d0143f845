"""What a statement is drawn from: the configuration, its models, and the objects that it makes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from pydicom.uid import UID

from dicomnode.conformance.sample import Example, Wanted, examples
from dicomnode.conformance.sample_study import VARIANTS
from dicomnode.domain.dicom import LABEL_MAP_SEGMENTATION_STORAGE
from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import DEFAULT_TAKES, NodeConfig, Peer
from dicomnode.domain.settings import Outputs
from dicomnode.run.outbox import kinds_for

NEW_NAMES: Final = {LABEL_MAP_SEGMENTATION_STORAGE: "Label Map Segmentation Storage"}
"""Of 2024, which pydicom's dictionary does not have yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An object that the node makes: of two studies that have nothing in common, and of one that lacks much.

    Parameters
    ----------
    sparse:
        Of images that have only what is needed.
    """

    case: str
    first: tuple[EncodedObject, Example]
    second: tuple[EncodedObject, Example]
    sparse: EncodedObject

    @property
    def kind(self) -> str:
        """As ``takes`` calls it."""
        return self.first[0].kind

    @property
    def group(self) -> str:
        """What it stands for; alternatives have the same."""
        return _family(self.first[0])

    @property
    def sop_class_uid(self) -> str:
        """Its SOP Class."""
        return self.first[0].sop_class_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the sections are written from.

    Parameters
    ----------
    models:
        Every model that a route names, by name.
    made:
        The objects of this configuration, one of each kind, group and case.
    """

    config: NodeConfig
    models: Mapping[str, ModelFile]
    made: tuple[Made, ...]

    @property
    def receiving(self) -> tuple[Peer, ...]:
        """The peers that get results from a route."""
        names = dict.fromkeys(name for route in self.config.routes for name in route.to)
        return tuple(self.config.peers[name] for name in names if name in self.config.peers)

    def kinds_of(self, peer: str) -> frozenset[str]:
        """Return the kinds of objects that a peer gets from any route."""
        return frozenset(kind for route in self.config.routes if peer in route.to
                         for kind in kinds_for(peer, self.config.peers, route.outputs))


def facts(config: NodeConfig, models: Mapping[str, ModelFile]) -> Facts:
    """Read a configuration and make its objects; about three seconds."""
    wanted = Wanted(
        audiences=audiences_of(config), outputs=outputs_of(models), language=config.worker.language,
        tasks=frozenset(model.task for model in models.values()),
        rejecting=any(peer.rejection_notes for peer in config.peers.values()))
    sets = (*(examples(variant, wanted) for variant in VARIANTS), examples(VARIANTS[0], wanted, sparse=True))
    made = tuple(one for first, second, sparse in zip(*sets, strict=True) for one in _made(first, second, sparse))
    return Facts(config=config, models=models, made=made)


def _made(first: Example, second: Example, sparse: Example) -> Iterator[Made]:
    """Yield what all three have, one of each kind and family."""
    ours, theirs, few = ({(one.kind, _family(one)): one for one in reversed(example.objects)}
                         for example in (first, second, sparse))
    for key in dict.fromkeys((one.kind, _family(one)) for one in first.objects):
        if key in theirs and key in few:
            yield Made(case=first.case, first=(ours[key], first), second=(theirs[key], second), sparse=few[key])


def audiences_of(config: NodeConfig) -> tuple[tuple[str, ...], ...]:
    """Return the kinds that each peer of each route gets; those of a peer unasked where no route has one."""
    found = dict.fromkeys(kinds_for(name, config.peers, route.outputs) for route in config.routes for name in route.to)
    return tuple(found) or (DEFAULT_TAKES,)


def outputs_of(models: Mapping[str, ModelFile]) -> Outputs:
    """Return what any of the model files asks for; without a model, what one asks for that says nothing."""
    if not models:
        return Outputs()
    switches = [field.name for field in fields(Outputs) if isinstance(field.default, bool)]
    asked = {name: any(getattr(model.outputs, name) for model in models.values()) for name in switches}
    return replace(Outputs(), **asked)  # type: ignore[arg-type]  # each of these fields is a switch


def name_of(uid: str) -> str:
    """Return the name of a UID of the standard, and the UID itself where it has none."""
    return NEW_NAMES.get(uid) or str(UID(uid).name)


def _family(one: EncodedObject) -> str:
    """Return the group without what it names of one model."""
    return re.split("[:/|]", one.group, maxsplit=1)[0]
