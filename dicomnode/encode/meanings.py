"""What a code is called in the language of a report.

Concept names that viewers match on ("Measurement Group", "Finding", "Finding Site") stay as the standard has them; what
people read, that is, findings, places, quantities and answers, is said in their language (PS3.16 TID 1204).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from highdicom.sr import CodedConcept

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import Label
from dicomnode.domain.settings import ClassLabel
from dicomnode.encode.anatomy_zh import ANATOMY_ZH

MEANINGS_ZH: Final[Mapping[tuple[str, str], str]] = MappingProxyType({
    **{("SCT", value): meaning for value, meaning in ANATOMY_ZH.items()},
    ("SCT", "52101004"): "有",  # Present
    ("SCT", "272519000"): "无",  # Absent
    ("SCT", "373068000"): "无法判断",  # Undetermined
    ("SCT", "7771000"): "左",  # Left
    ("SCT", "24028007"): "右",  # Right
    ("SCT", "81827009"): "直径",  # Diameter
    ("SCT", "118565006"): "体积",  # Volume
    ("DCM", "122157"): "概率",  # Probability
    ("DCM", "112031"): "CT 值",  # Attenuation Coefficient
    ("SCT", "373098007"): "平均值",  # Mean
    ("SCT", "363679005"): "影像检查",  # Imaging procedure
    ("LN", "25045-6"): "CT 检查（未指定部位）",  # CT unspecified body region
    ("LN", "25056-3"): "MR 检查（未指定部位）",  # MRI unspecified body region
    ("LN", "44136-0"): "PET 检查（未指定部位）",  # PET unspecified body region
    ("LN", "24590-2"): "头颅 MR 检查",  # MRI Head
    ("LN", "24627-2"): "胸部 CT 检查",  # CT Chest
    ("LN", "41806-1"): "腹部 CT 检查",  # CT Abdomen
    ("LN", "24725-4"): "头颅 CT 检查",  # CT Head
    ("UCUM", "[hnsf'U]"): "亨氏单位",  # Hounsfield unit
    ("UCUM", "{1}"): "无单位",  # no units
    ("RFC5646", "en-US"): "英语（美国）",
    ("RFC5646", "zh-CN"): "中文（中国）",
    ("DCM", "110501"): "设备故障",  # Equipment failure
    ("DCM", "110513"): "因未说明的原因中止",  # Discontinued for unspecified reason
    ("DCM", "110521"): "对象格式不正确",  # Objects incorrectly formatted
    ("DCM", "110522"): "不支持的对象类型",  # Object Types not supported
    ("DCM", "110523"): "对象集不完整",  # Object Set incomplete
    ("DCM", "110531"): "图像质量不足以解读",  # Insufficient quality for interpretation
})
"""(Coding scheme, code) → what Chinese readers call it. A code that is not here keeps its own meaning."""


def meaning(code: Code, language: str) -> str:
    """Return what a code is called in 'en' or 'zh', a region after it ignored; its own meaning where unknown."""
    if not language.startswith("zh"):
        return code.meaning
    return code.meaning_zh or MEANINGS_ZH.get((code.scheme, code.value), code.meaning)


def said(code: Code, language: str) -> CodedConcept:
    """Return a code as a content item's value, its meaning in the language of the report."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=meaning(code, language))


def label_name(label: Label, language: str) -> str:
    """Return what readers call a label: its name, in Chinese side, place and type with the name after them."""
    if not language.startswith("zh"):
        return label.name
    parts = [code for code in (label.modifier, label.region, label.type) if code is not None]
    words = [meaning(code, language) for code in parts]
    if any(word == code.meaning for word, code in zip(words, parts, strict=True)):
        return label.name
    return f"{''.join(words)}（{label.name}）"


def class_name(of: ClassLabel, language: str) -> str:
    """Return what readers call a class: its name, in Chinese the meaning of its code with the name after it."""
    word = meaning(of.code, language)
    return of.name if word == of.code.meaning else f"{word}（{of.name}）"
