"""Every sentence that the node writes into a report has its Chinese words, numbers and names kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.findings import Classification, ModelFindings, NotAnalysed, Presence
from dicomnode.domain.settings import ClassLabel
from dicomnode.encode.chinese import FIELD, in_chinese, known
from dicomnode.encode.choices_zh import CHOICES_ZH
from dicomnode.encode.kos import encode_manifest
from dicomnode.encode.notes_zh import NOTES_ZH
from dicomnode.encode.refusals_zh import REFUSALS_ZH
from dicomnode.encode.sr import encode_reports
from dicomnode.encode.text import encode_notice
from tests.builders import ct_series
from tests.findings import LUNG, NODULE, block, findings, parsed, stack_of, stamp

ROOT = Path(__file__).parents[3]
TABLES = {**NOTES_ZH, **REFUSALS_ZH, **CHOICES_ZH}
ENGLISH = re.compile(r"[A-Za-z]{2,}( [A-Za-z]+){2,}")
"""Three English words in a row: a sentence, no name and no keyword."""
WRITERS = (
    "domain/spacing.py", "read/geometry.py", "read/phases.py", "read/pixels.py", "read/preflight.py",
    "read/quality.py", "route/select.py", "route/judge.py", "route/contrast.py", "route/facts.py", "route/places.py",
    "route/limits.py", "route/conditions.py", "infer/align.py", "infer/request.py", "infer/straight.py",
    "infer/measure.py", "run/reading.py",
)
"""Modules whose sentences about images and inputs end in reports."""
ELSEWHERE = (
    "model  no volume for the input", "fills ", "no series is left for another input that the model needs",
    "another Frame of Reference than that of , which fits the other inputs", " is preferred",
    "input  was interpolated onto the grid of ", " gave labels of shape ; expected is ",
    "Normalized entropy of class probabilities",
)
"""What these modules say to operators only: in `explain`, in notes of the job, of failures of a model."""
WITHIN_FIELDS = (" no frame", "Modality is ", ", wanted at least ", ", wanted at most ")
"""What stands in the fields of an entry: attributes and values."""
EXAMPLES = {
    "input t2: image quality: slices 3, 7 to 9 (Instance Numbers 98, 94 to 92) of 9 hold one value only (0 and others)":
        "输入 t2：图像质量：第 3、7 至 9 层（图像编号 98、94 至 92）（共 9 层）只有单一数值（0 等）",
    "slice 7 (frame 2) has the same pixels as slice 6 (frame 3)":
        "第 7 层（第 2 帧）与第 6 层（第 3 帧）像素相同",
    "slice 7 (frame 2) has the same pixels as slice 6 (frame 3), and 2 more":
        "第 7 层（第 2 帧）与第 6 层（第 3 帧）像素相同，另有 2 处",
    "gap of 7.0 mm after slice 12 where 4.0 mm is the spacing (ImagePositionPatient projected on the normal); send "
    "the missing slices":
        "第 12 层之后有 7.0 mm 的间隙，而层间距为 4.0 mm（ImagePositionPatient 在法线上的投影）；请补发缺少的层面",
    "no series can be 'ct' of model m: series 3 (…12345678, CT): localizer; series 4 (…1, MR): Modality is MR, "
    "wanted CT, orientation is sagittal, wanted axial":
        "没有序列可作为模型 m 的输入 'ct'：序列 3（…12345678, CT）：定位像；序列 4（…1, MR）：Modality 为 MR，要求 CT，"
        "orientation 为 sagittal，要求 axial",
    "model m was not validated for this: series 3 (…1, CT): KVP is 160, wanted 80 to 140 (in 3 of 5 images), "
    "PatientAge is over 89 years; the model was validated for 18 to 80 years":
        "模型 m 未针对此类图像验证：序列 3（…1, CT）：KVP 为 160，要求 80 至 140（5 幅图像中的 3 幅），"
        "患者年龄（PatientAge）为 89 岁以上；模型的验证范围为 18 至 80 岁",
}


def pieces() -> Iterator[tuple[str, str]]:
    """Every text of two words or more that these modules put together, without what stands in its fields."""
    for name in WRITERS:
        tree = ast.parse((ROOT / "dicomnode" / name).read_text(encoding="utf-8"))
        quiet = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in quiet | inside:
                continue
            texts = [part.value for part in node.values if isinstance(part, ast.Constant)] \
                if isinstance(node, ast.JoinedStr) else [getattr(node, "value", "")]
            yield from ((name, text) for text in texts if isinstance(text, str) and re.search("[a-z]+ [a-z]+", text))


def test_every_sentence_about_images_and_inputs_has_its_chinese_words():
    said = [FIELD.sub("\0", english) for english in TABLES]
    missing = [(name, text) for name, text in pieces()
               if not any(text.strip(" ;:,()…") in one for one in (*said, *ELSEWHERE, *WITHIN_FIELDS))]
    assert missing == []


def test_every_entry_keeps_each_of_its_fields():
    for english, chinese in TABLES.items():
        kept = sorted(set(re.findall(r"\{(\w+)\}", chinese)))
        assert kept == sorted(name for name, _ in FIELD.findall(english)), english
        assert not re.search("[一-鿿]", english)


@pytest.mark.parametrize(("english", "chinese"), EXAMPLES.items())
def test_a_sentence_keeps_its_numbers_and_names(english, chinese):
    assert in_chinese(english) == chinese


def test_what_no_table_has_is_quoted_as_english():
    assert known("the bundle raised TypeError") is None
    assert in_chinese("the bundle raised TypeError") == "技术说明（英文原文）：the bundle raised TypeError"


def told(report) -> Iterator[str]:
    for item in report.get("ContentSequence", []):
        yield from ([item.TextValue] if "TextValue" in item else [])
        yield from told(item)


def test_no_english_sentence_is_left_in_a_chinese_report_of_any_kind():
    series = ct_series(np.zeros((6, 16, 18)))
    stack, mask = stack_of(series), np.zeros((6, 16, 18), np.uint8)
    mask[1:4, 2:9, 2:9] = LUNG.value
    warnings = tuple(EXAMPLES)
    model = stamp().provenance[0]
    noted = {"warnings": warnings, "model": model}
    found = findings(stack, mask, lesions=[block(mask.shape, slice(1, 3), slice(3, 6), slice(3, 6))], **noted)
    nothing = findings(stack, np.zeros_like(mask), looked_for=(NODULE,), **noted)
    classes = ModelFindings(provenance=model, stack=stack, warnings=warnings, classifications=tuple(
        Classification(of=ClassLabel(value=1, name="Nodule", code=NODULE.type), probability=0.7, presence=presence)
        for presence in Presence))
    zh = stamp(model, language="zh")
    reports = [one for case in (found, nothing, classes)
               for one in encode_reports((case,), {stack.series_uid: series}, zh)]
    for english in warnings:
        reason = NotAnalysed(reason="OutsideIntendedUse", text=english, study_uid=stack.study_uid)
        reports.append(encode_notice(reason, series, zh))
    reports.append(encode_manifest(reports[:2], series[0], zh))
    assert {one.group for one in reports} == {
        "findings", "volumes", "negative", "classification", "notice", "manifest"}
    texts = [text for one in reports for text in told(parsed(one))]
    assert [text for text in texts if ENGLISH.search(text.replace(model.intended_use, ""))] == []
