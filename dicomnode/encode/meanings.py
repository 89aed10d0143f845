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
    ("LN", "43468-8"): "X 线检查（未指定部位）",  # XR unspecified body region
    ("LN", "49118-3"): "核医学检查（未指定部位）",  # NM unspecified body region
    ("LN", "44139-4"): "全身 PET 检查",  # PET whole body
    ("LN", "39142-5"): "头颅 CT 灌注增强检查",  # CT perfusion head with contrast IV
    ("LN", "39632-5"): "脑 SPECT 检查",  # SPECT brain
    ("RADLEX", "RPID5427"): "脑 AV-45 PET-CT 检查",  # NM head perfusion brain PET-CT AV-45
    ("DCM", "126020"): "多参数 MR 检查",  # Multiparametric MRI
    ("DCM", "126022"): "全身多参数 MR 检查",  # Multiparametric MRI of whole body
    ("SCT", "719178004"): "前列腺多参数 MR 检查",  # Multiparametric MRI of prostate
    ("SCT", "433139009"): "膝关节动态 MR 检查",  # Dynamic magnetic resonance imaging of knee
    ("SCT", "446315002"): "盆腔动态 MR 检查",  # Dynamic magnetic resonance imaging of pelvis
    ("SCT", "258177008"): "MR 引导",  # Magnetic resonance imaging guidance
    ("SCT", "443271005"): "全身 FDG PET/CT 检查",  # PET/CT FDG imaging of whole body
    ("SCT", "764704008"): "全身 MET PET/CT 检查",  # PET/CT MET imaging of whole body
    ("SCT", "77343006"): "血管造影",  # Angiography
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
