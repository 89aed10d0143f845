"""Sentences for people, in English and Chinese. What codes are called is in ``meanings``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SENTENCES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({
    "not_found": {
        "en": "{model} {version} looked for {label} and found none.",
        "zh": "{model} {version} 已查找{label}，未发现。",
    },
    "nothing_found": {
        "en": "{model} {version} marked nothing in this series.",
        "zh": "{model} {version} 在该序列中未标记任何结构。",
    },
    "class_present": {
        "en": "{model} {version}: {label} (probability {probability}).",
        "zh": "{model} {version}：{label}，概率 {probability}。",
    },
    "class_absent": {
        "en": "{model} {version} looked for {label} and does not report it (probability {probability}).",
        "zh": "{model} {version} 已查找{label}，未报告，概率 {probability}。",
    },
    "class_undetermined": {
        "en": "{model} {version} cannot tell: no class is probable enough; {label} has probability {probability}.",
        "zh": "{model} {version} 无法判断：没有任何类别的概率足够高；{label} 的概率为 {probability}。",
    },
    "examined": {
        "en": "Examined: series {series}, {images} images.",
        "zh": "已分析：序列 {series}，共 {images} 幅图像。",
    },
    "absence_is_no_proof": {
        "en": "That the software found nothing does not prove that nothing is there. Not verified by a physician.",
        "zh": "软件未发现并不能证明不存在病变。本结果未经医师审核。",
    },
    "research": {
        "en": "Research use only. Not for clinical use.",
        "zh": "仅供研究使用，不得用于临床。",
    },
    "intended_use": {
        "en": "Intended use of {model}: {text}",
        "zh": "{model} 的预期用途：{text}",
    },
    "not_analysed": {
        "en": "NOT ANALYSED. The software has not looked at these images for findings.",
        "zh": "未分析。软件没有对这些图像进行病灶分析。",
    },
    "reason": {
        "en": "Reason: {reason}: {text}",
        "zh": "原因：{reason}：{text}",
    },
    "read_as_without": {
        "en": "Read the study as if the software did not exist.",
        "zh": "请按未使用该软件的情况阅片。",
    },
    "manifest": {
        "en": "All {count} result objects of one analysis by {models}. Not verified by a physician.",
        "zh": "{models} 一次分析的全部 {count} 个结果对象。未经医师审核。",
    },
    "rejection": {
        "en": "Superseded: the study was handled again. Do not use these {count} objects of the earlier analysis.",
        "zh": "已被取代：该检查已重新处理。请勿使用此前分析的这 {count} 个对象。",
    },
    "warning": {
        "en": "Note: {text}",
        "zh": "注意：{text}",
    },
    "in_english": {
        "en": "{text}",
        "zh": "技术说明（英文原文）：{text}",
    },
})


def sentence(key: str, language: str, **values: object) -> str:
    """Return one sentence in 'en' or 'zh' (a region after the language is ignored)."""
    return SENTENCES[key][language[:2]].format(**values)
