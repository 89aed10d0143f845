"""Why no series of a study was taken, English to Chinese. For the marks of fields see ``chinese``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CHOICES_ZH: Final[Mapping[str, str]] = MappingProxyType({
    # route/select.py, route/match.py
    "no series can be {role=} of model {model}: {why+}": "没有序列可作为模型 {model} 的输入 {role}：{why}",
    "the study is empty": "该检查没有序列",
    "model {model} was not validated for this: {why+}": "模型 {model} 未针对此类图像验证：{why}",
    "no one Frame of Reference has a series for each input of model {model}: {series+}; places cannot be compared: "
    "register the series, or say any_frame = true for an input where the UIDs alone differ":
        "没有一个参考坐标系能为模型 {model} 的每个输入提供序列：{series}；位置无法比较：请先配准，若仅 UID 不同则为该输"
        "入设置 any_frame = true",
    "{role} is series {number} ({what=}) in {frame=}": "{role} 为序列 {number}（{what}），参考坐标系 {frame}",
    "series {number} ({what=}): {why+}": "序列 {number}（{what}）：{why}",
    "fills another role": "已用于另一输入",
    "{count} SOP Instances arrived with different pixels or geometry ({uids=}); nobody can tell which are right: "
    "correct the source and send the study under new UIDs":
        "{count} 个 SOP 实例以不同的像素或几何信息重复到达（{uids}）；无法判断哪份正确：请更正来源，并以新的 UID 发送该"
        "检查",
    "the images to be analysed are of {count} patients by Patient ID (0010,0020): {series+}; nobody can tell whose the "
    "result would be: correct the source and send the study again":
        "待分析的图像按 Patient ID (0010,0020) 属于 {count} 名患者：{series}；无法判断结果属于谁：请更正来源并重新发"
        "送该检查",
    "series {number} ({what=})": "序列 {number}（{what}）",
    "when: no series satisfies it: {why+}": "路由条件 when：没有序列满足：{why}",
    "from: the study came from {came=}, the route takes {wanted=}":
        "路由条件 from：该检查来自 {came}，路由接受 {wanted}",
    "the study has no series but those made by this node": "该检查只有本节点生成的序列",
    # route/conditions.py, domain/condition.py, domain/model.py
    "{keyword} is {found*}, wanted {wanted*} (in {some} of {all} images)":
        "{keyword} 为 {found}，要求 {wanted}（{all} 幅图像中的 {some} 幅）",
    "{keyword} is {found*}, wanted {wanted*}": "{keyword} 为 {found}，要求 {wanted}",
    "Image Type is {found*}, wanted {wanted*}": "Image Type 为 {found}，要求 {wanted}",
    "another": "其他值",
    "absent": "缺少",
    "present": "存在",
    "text with {text*}": "文本含 {text}",
    "text without {text=}": "文本不含 {text}",
    "or absent": "或缺少",
    "at least {least}": "至少 {least}",
    "at most {most}": "至多 {most}",
    "any": "任意",
    # route/judge.py, route/contrast.py, route/facts.py, route/places.py
    "made by this node": "由本节点生成",
    "{count} slices, wanted {wanted*}": "{count} 层，要求 {wanted}",
    "orientation is {found}, wanted {wanted}": "方位为 {found}，要求 {wanted}",
    "{apart} mm between slices, wanted {wanted*}": "层间距 {apart} mm，要求 {wanted}",
    "{apart} mm between pixels, wanted {wanted*}": "像素间距 {apart} mm，要求 {wanted}",
    "wanted with contrast, but its attributes {attributes+} and its description the contrary":
        "要求增强，但其属性{attributes}，而描述与此相反",
    "wanted without contrast, but its attributes {attributes+} and its description the contrary":
        "要求平扫，但其属性{attributes}，而描述与此相反",
    "say that a contrast agent was given": "表明使用了对比剂",
    "say of no contrast agent": "未提及对比剂",
    "made with contrast agent, wanted without": "使用了对比剂，要求平扫",
    "made without contrast agent, wanted with": "未使用对比剂，要求增强",
    "SOP Class {uid} is no CT or MR image": "SOP 类 {uid} 不是 CT 或 MR 图像",
    "localizer": "定位像",
    "Image Type says {word}": "Image Type 为 {word}",
    "no position or orientation in the patient": "没有患者坐标系中的位置或方位",
    "FrameOfReferenceUID is absent": "缺少 FrameOfReferenceUID",
    "PixelSpacing is absent": "缺少 PixelSpacing",
    "more than one matrix": "有多种图像矩阵",
    "more than one Frame of Reference": "有多个参考坐标系",
    "more than one orientation": "有多种方位",
    "more than one PixelSpacing": "有多种 PixelSpacing",
    "several images in one place": "同一位置有多幅图像",
    # route/limits.py
    "the patient's age is not said; the model was validated for {range*} years":
        "未注明患者年龄；模型的验证范围为 {range} 岁",
    "{source+} is {age+}; the model was validated for {range*} years": "{source}为 {age}；模型的验证范围为 {range} 岁",
    "PatientAge": "患者年龄（PatientAge）",
    "the patient's age at the study": "检查时的患者年龄",
    "over {years} years": "{years} 岁以上",
    "under 1 month": "不足 1 个月",
    "{years} years": "{years} 岁",
    "{years} year": "{years} 岁",
    "{months} months": "{months} 个月",
    "{months} month": "{months} 个月",
})
