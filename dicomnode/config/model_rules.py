"""What one key of a model file says of another: values and names that must differ, labels that thresholds name.

The rules read the raw tables, so that they find their mistakes even where the schema found others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dicomnode.config.input_rules import broken_input_rules
from dicomnode.config.problems import shown
from dicomnode.domain.model import MOST_OVERLAPPING, UNCONFIRMED_SCHEME

PROCEDURES: Final = frozenset({
    ("LN", "25045-6"),  # CT unspecified body region
    ("LN", "39142-5"),  # CT perfusion head with contrast IV
    ("LN", "25056-3"),  # MRI unspecified body region
    ("DCM", "126020"),  # Multiparametric MRI
    ("SCT", "719178004"),  # Multiparametric MRI of prostate
    ("DCM", "126022"),  # Multiparametric MRI of whole body
    ("SCT", "433139009"),  # Dynamic magnetic resonance imaging of knee
    ("SCT", "446315002"),  # Dynamic magnetic resonance imaging of pelvis
    ("SCT", "258177008"),  # Magnetic resonance imaging guidance
    ("LN", "44136-0"),  # PET unspecified body region
    ("LN", "44139-4"),  # PET whole body
    ("SCT", "443271005"),  # PET/CT FDG imaging of whole body
    ("SCT", "764704008"),  # PET/CT MET imaging of whole body
    ("RADLEX", "RPID5427"),  # NM head perfusion brain PET-CT AV-45
    ("LN", "49118-3"),  # NM unspecified body region
    ("LN", "39632-5"),  # SPECT brain
    ("LN", "43468-8"),  # XR unspecified body region
    ("SCT", "77343006"),  # Angiography
    ("SCT", "363679005"),  # Imaging procedure
})
"""What Procedure Reported of a measurement report may be (PS3.16 TID 1500, CID 100): the reports' validators insist."""


def broken_rules(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per broken rule, without the file's name."""
    for table, key in (("labels", "value"), ("labels", "name"), ("classes", "value"), ("classes", "name"),
                       ("inputs", "role")):
        entries = raw.get(table, [])
        met = [entry.get(key) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        for value, count in Counter(v for v in met if isinstance(v, int | str)).items():
            if count > 1:
                yield f"[[{table}]] {key} = {shown(value)}: stands {count} times; each needs its own"
    if raw.get("task") in {"segmentation", "detection"} and not raw.get("labels"):
        yield f"labels: a {raw['task']} model needs at least one [[labels]] table"
    if raw.get("overlapping") is True and any(value > MOST_OVERLAPPING for value in _label_values(raw)):
        yield f"overlapping = true: allowed are label values 1 to {MOST_OVERLAPPING}, met {max(_label_values(raw))}"
    if isinstance(inputs := raw.get("inputs"), list) and inputs and isinstance(inputs[0], dict) \
            and inputs[0].get("required") is False:
        yield "[[inputs]] number 1: required = false: allowed is true, the first input gives the grid of the results"
    if raw.get("task") == "classification" and not raw.get("classes"):
        yield "classes: a classification model needs at least one [[classes]] table"
    yield from _fast_paths_that_do_not_fit(raw)
    outputs = raw.get("outputs")
    if isinstance(outputs, dict) and outputs.get("parametric") is True and not _runs_by_pieces(raw):
        yield "[outputs] parametric = true: allowed only for a segmentation with trust = 'pieces': no other gives a map"
    yield from broken_input_rules(raw)
    if raw.get("confirmed") is not False:
        yield from _codes_to_confirm(raw)
    yield from _self_test_names_labels(raw)
    yield from _procedure_of_no_report(raw)


def _procedure_of_no_report(raw: Mapping[str, Any]) -> Iterator[str]:
    code = raw.get("procedure")
    if isinstance(code, dict) and (code.get("scheme"), code.get("value")) not in PROCEDURES:
        allowed = ", ".join(f"{value} ({scheme})" for scheme, value in sorted(PROCEDURES))
        yield f"procedure = {shown(code.get('value'))}: allowed are the codes of CID 100: {allowed}"


def _fast_paths_that_do_not_fit(raw: Mapping[str, Any]) -> Iterator[str]:
    runtime = raw.get("runtime")
    if not isinstance(runtime, dict):
        return
    plain = _runs_by_pieces(raw)
    if runtime.get("backend", "torch") != "torch" and not plain:
        yield (f"[runtime] backend = {shown(runtime['backend'])}: allowed is 'torch', except for a segmentation "
               "with trust = 'pieces'")
    if runtime.get("crop_to_body") is True:
        inputs = raw.get("inputs", [])
        kinds = {item.get("modality", "CT") for item in inputs if isinstance(item, dict)} \
            if isinstance(inputs, list) else set()
        if not (plain and runtime.get("fast_resample") is True and kinds == {"CT"}):
            yield ("[runtime] crop_to_body = true: allowed only for a CT segmentation with fast_resample = true "
                   "and trust = 'pieces': the body is found by its Hounsfield units")


def _runs_by_pieces(raw: Mapping[str, Any]) -> bool:
    """Whether the model is a segmentation whose scores are in our hands."""
    return raw.get("task") == "segmentation" and raw.get("trust", "pieces") == "pieces"


def _codes_to_confirm(raw: Mapping[str, Any]) -> Iterator[str]:
    for table, key in (("labels", "type"), ("labels", "category"), ("labels", "region"), ("classes", "code")):
        entries = raw.get(table)
        for entry in entries if isinstance(entries, list) else ():
            code = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(code, dict) and code.get("scheme") == UNCONFIRMED_SCHEME:
                yield (f"[[{table}]] {shown(entry.get('name'))}: {key} is a placeholder (scheme {UNCONFIRMED_SCHEME}): "
                       "give the code, or say confirmed = false")


def _label_values(raw: Mapping[str, Any]) -> list[int]:
    labels = raw.get("labels")
    met = [label.get("value") for label in labels if isinstance(label, dict)] if isinstance(labels, list) else []
    return [value for value in met if isinstance(value, int)]


def _self_test_names_labels(raw: Mapping[str, Any]) -> Iterator[str]:
    test, labels = raw.get("self_test"), raw.get("labels")
    names = [label.get("name") for label in labels if isinstance(label, dict)] if isinstance(labels, list) else []
    for key in ("dice_at_least", "found_at_least"):
        floors = test.get(key) if isinstance(test, dict) else None
        for name in floors if isinstance(floors, dict) else ():
            if name not in names:
                yield f"[self_test] {key}.{name}: there is no label of that name"
