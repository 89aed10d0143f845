"""What a code is called in the language of a report: complete for all that the project ships, structure in English."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from dicomnode import errors
from dicomnode.domain.dicom import Code
from dicomnode.encode import codes, reasons
from dicomnode.encode.meanings import MEANINGS_ZH, label_name, meaning
from dicomnode.encode.sr import encode_reports
from tests.builders import ct_series
from tests.findings import LEFT_KIDNEY, LUNG, NODULE, block, findings, parsed, sct, stack_of, stamp

ROOT = Path(__file__).parents[3]
SHAPE = (6, 16, 18)
STRUCTURE = {
    "ARTIFICIAL_INTELLIGENCE", "PROCESSING_EQUIPMENT", "IMAGING_MEASUREMENT_REPORT", "ONCOLOGY_MEASUREMENT_REPORT",
    "DIAGNOSTIC_IMAGING_REPORT", "MANIFEST", "REJECTED_FOR_QUALITY", "FINDINGS", "FINDING", "CONCLUSIONS", "CONCLUSION",
    "COMMENT", "PRESENCE", "FINDING_SITE",
}
"""Concept names and titles: viewers match on them, so that they stay as the standard has them."""
SYMBOLS = {"MILLIMETRE", "CUBIC_CENTIMETRE"}


def shipped_codes():
    """Every code that encode's tables hold, but for structure and unit symbols, and every code of a model file."""
    for name, value in vars(codes).items():
        for one in value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(one, Code) and name not in STRUCTURE | SYMBOLS:
                yield one
    for own, standard in [*reasons.REASONS.values(), reasons.OTHER]:
        yield from (own, standard)
    for path in [*(ROOT / "config" / "models").glob("*.toml"), ROOT / "config" / "model.example.toml"]:
        yield from tables_of(tomllib.loads(path.read_text(encoding="utf-8")))


def tables_of(value):
    if isinstance(value, dict) and {"value", "scheme", "meaning"} <= set(value):
        yield Code(**value)
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tables_of(part)


def test_every_code_that_is_shipped_has_a_chinese_meaning_that_fits():
    met = {(one.scheme, one.value): one for one in shipped_codes()}
    assert len(met) > 40
    missing = [str(one) for one in met.values() if meaning(one, "zh") == one.meaning]
    assert not missing
    assert all(len(word) <= 64 for word in MEANINGS_ZH.values())


def test_every_error_that_can_end_an_analysis_has_a_reason_of_its_own():
    kinds = [errors.EncodingError, *descendants(errors.UnusableInput), *descendants(errors.InferenceError)]
    missing = [kind.__name__ for kind in kinds if kind.__name__ not in reasons.REASONS]
    assert not missing
    own = [one.value for one, _ in reasons.REASONS.values()]
    assert len(set(own)) == len(own)


def descendants(kind):
    return [one for child in kind.__subclasses__() for one in (child, *descendants(child))]


def test_english_keeps_the_meaning_of_the_standard_and_an_unknown_code_keeps_its_own_in_both():
    assert meaning(LUNG.type, "en-US") == "Lung"
    assert meaning(LUNG.type, "zh-CN") == "肺"
    assert meaning(sct("1", "Something"), "zh") == "Something"


def test_a_model_file_may_say_what_its_code_is_called_in_chinese():
    code = Code(value="1", scheme="99LOCAL", meaning="Ground glass", meaning_zh="磨玻璃影")
    assert (meaning(code, "zh"), meaning(code, "en")) == ("磨玻璃影", "Ground glass")


def test_a_label_is_named_by_side_place_and_type_with_its_own_name_after():
    assert label_name(LEFT_KIDNEY, "zh") == "左肾（Left kidney）"
    assert label_name(NODULE, "zh") == "肺结节（Nodule）"
    assert label_name(NODULE, "en") == "Nodule"


def reports(language):
    series = ct_series(np.zeros(SHAPE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 2:14, 2:9] = 1
    found = findings(stack_of(series), mask, lesions=[block(SHAPE, slice(2, 4), slice(5, 8), slice(6, 9))])
    return [parsed(one) for one in encode_reports([found], {found.stack.series_uid: series}, stamp(language=language))]


def items(item):
    return [part for child in item.get("ContentSequence", []) for part in (child, *items(child))]


@pytest.mark.parametrize("report", [0, 2], ids=["findings", "volumes"])
def test_a_chinese_report_differs_from_the_english_in_meanings_that_people_read_and_nothing_else(report):
    english, chinese = (items(reports(language)[report]) for language in ("en", "zh-CN"))
    assert len(english) == len(chinese)
    names = {"Diameter": "直径", "Volume": "体积", "Probability": "概率"}
    for one, other in zip(english, chinese, strict=True):
        name = one.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in one else None
        if name is not None:
            assert other.ConceptNameCodeSequence[0].CodeValue == name.CodeValue
            assert other.ConceptNameCodeSequence[0].CodeMeaning == names.get(name.CodeMeaning, name.CodeMeaning)
        if one.ValueType == "CODE" and name.CodeMeaning in {"Finding", "Finding Site", "Laterality"}:
            assert one.ConceptCodeSequence[0].CodeValue == other.ConceptCodeSequence[0].CodeValue
            assert other.ConceptCodeSequence[0].CodeMeaning in {"结节", "肺", "左", "形态异常结构", "解剖结构"}


def test_the_language_is_stated_and_the_text_is_utf_8():
    (report, *_) = reports("zh-CN")
    language = report.ContentSequence[0]
    assert language.ConceptNameCodeSequence[0].CodeValue == "121049"
    assert language.ConceptCodeSequence[0].CodeValue == "zh-CN"
    assert language.ConceptCodeSequence[0].CodeMeaning == "中文（中国）"
    assert report.SpecificCharacterSet == "ISO_IR 192"
