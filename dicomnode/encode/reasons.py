"""Why a study was not analysed, in codes: the error class, and what PS3.16 has that is nearest to it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom import Dataset

from dicomnode.domain.dicom import Code

SCHEME: Final = "99DICOMNODE"
NOT_ANALYSED: Final = Code(
    value="NOTANALYSED", scheme=SCHEME, meaning="Reason not analysed", meaning_zh="未分析的原因")
STANDARD_REASON: Final = Code(
    value="STDREASON", scheme=SCHEME, meaning="Discontinuation reason", meaning_zh="中止原因")


def _dcm(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="DCM", meaning=meaning)


EQUIPMENT: Final = _dcm("110501", "Equipment failure")  # CID 9301
UNSPECIFIED: Final = _dcm("110513", "Discontinued for unspecified reason")  # CID 9301
MALFORMED: Final = _dcm("110521", "Objects incorrectly formatted")  # CID 9302
UNSUPPORTED: Final = _dcm("110522", "Object Types not supported")  # CID 9302
INCOMPLETE: Final = _dcm("110523", "Object Set incomplete")  # CID 9302
POOR: Final = _dcm("110531", "Insufficient quality for interpretation")  # CID 9303


def _own(value: str, meaning: str, meaning_zh: str) -> Code:
    return Code(value=value, scheme=SCHEME, meaning=meaning, meaning_zh=meaning_zh)


REASONS: Final[Mapping[str, tuple[Code, Code]]] = MappingProxyType({
    "NoSuitableSeries": (_own("NOSERIES", "No suitable series", "没有合适的序列"), UNSUPPORTED),
    "MissingSlices": (_own("MISSINGSLICES", "Missing slices", "缺少层面"), INCOMPLETE),
    "IrregularSpacing": (_own("SPACING", "Irregular slice spacing", "层间距不规则"), UNSUPPORTED),
    "GantryTilt": (_own("TILT", "Gantry tilt beyond the limits of the model", "机架倾斜超出模型限定"), UNSUPPORTED),
    "MixedOrientation": (_own("ORIENTATION", "Mixed image orientation", "图像方位不一致"), UNSUPPORTED),
    "DuplicatePositions": (_own("POSITIONS", "Two slices at one position", "同一位置有多幅图像"), UNSUPPORTED),
    "MixedPixelSpacing": (_own("PIXELSPACING", "Mixed pixel spacing", "像素间距不一致"), UNSUPPORTED),
    "MixedMatrix": (_own("MATRIX", "Mixed image matrix", "图像矩阵不一致"), UNSUPPORTED),
    "MixedFrameOfReference": (_own("FRAMEOFREF", "Mixed frame of reference", "参考坐标系不一致"), UNSUPPORTED),
    "MissingGeometry": (_own("GEOMETRY", "Missing image geometry", "缺少图像几何信息"), MALFORMED),
    "MissingRescale": (_own("RESCALE", "Missing rescale slope and intercept", "缺少重缩放参数"), MALFORMED),
    "UndecodablePixels": (_own("PIXELS", "Pixel data cannot be decoded", "像素数据无法解码"), MALFORMED),
    "TooLarge": (_own("TOOLARGE", "Images are larger than allowed", "图像超过允许的大小"), UNSUPPORTED),
    "UndecodableText": (_own("TEXT", "Text cannot be decoded", "文本无法解码"), MALFORMED),
    "PoorPixels": (_own("QUALITY", "Pixel values fail the quality check", "像素值未通过质量检查"), POOR),
    "UnalignedInputs": (_own("UNALIGNED", "Inputs do not lie on each other", "各输入序列未对齐"), UNSUPPORTED),
    "UnusableAnnotation": (_own("ANNOTATION", "Annotation cannot be used", "标注无法使用"), MALFORMED),
    "ConflictingInstances": (_own("CONFLICT", "Conflicting copies of one image", "同一图像的副本相互矛盾"), MALFORMED),
    "MixedPatients": (_own("PATIENTS", "Images of more than one patient", "图像属于不同患者"), MALFORMED),
    "OutsideIntendedUse": (_own("INTENDEDUSE", "Outside the intended use of the model", "超出模型的预期用途"),
                           UNSUPPORTED),
    "MissingInput": (_own("MISSINGINPUT", "Images are no longer stored", "图像已不再保存"), INCOMPLETE),
    "GpuOutOfMemory": (_own("MEMORY", "Memory did not suffice", "内存不足"), EQUIPMENT),
    "ModelTimeout": (_own("TIMEOUT", "Time limit of the model exceeded", "超出模型的时间限制"), EQUIPMENT),
    "ModelProcessDied": (_own("DIED", "Process of the model ended early", "模型进程意外结束"), EQUIPMENT),
    "ModelMissing": (_own("NOMODEL", "Model is not installed", "模型未安装"), EQUIPMENT),
    "ModelChanged": (_own("CHANGED", "Model differs from its pinned digest", "模型与登记的摘要不符"), EQUIPMENT),
    "ModelRefused": (_own("REFUSED", "Model asks for what is not allowed", "模型请求了不被允许的操作"), EQUIPMENT),
    "ModelFailed": (_own("FAILED", "Model failed", "模型运行失败"), EQUIPMENT),
    "EncodingError": (_own("ENCODING", "Result could not be encoded", "结果无法编码"), EQUIPMENT),
})
"""Error class → its own code, and the nearest standard reason (PS3.16 CID 9301, 9302, 9303)."""
OTHER: Final = (_own("OTHER", "Other reason", "其他原因"), UNSPECIFIED)


def coded(reason: str) -> tuple[Code, Code]:
    """Return an error class as codes: its own, and the nearest standard reason."""
    return REASONS.get(reason, OTHER)


def scheme_identification() -> Dataset:
    """Return the item of Coding Scheme Identification Sequence for the project's own codes (PS3.3 C.12.1.1.8)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "dicomnode: reasons why a study was not analysed"
    item.CodingSchemeResponsibleOrganization = "dicomnode"
    return item
