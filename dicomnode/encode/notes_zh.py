"""What the node notes of images and inputs, English to Chinese. For the marks of fields see ``chinese``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

NOTES_ZH: Final[Mapping[str, str]] = MappingProxyType({
    # which slices: domain/slice_names.py
    "slice {slice}": "第 {slice} 层",
    "slices {slices~}": "第 {slices} 层",
    "slice {slice} (Instance Number {number})": "第 {slice} 层（图像编号 {number}）",
    "slices {slices~} (Instance Numbers {numbers~})": "第 {slices} 层（图像编号 {numbers}）",
    "slice {slice} (frame {number})": "第 {slice} 层（第 {number} 帧）",
    "slices {slices~} (frames {numbers~})": "第 {slices} 层（第 {numbers} 帧）",
    "after slice {slice}": "第 {slice} 层之后",
    "after slice {slice} (between Instance Numbers {one} and {other})":
        "第 {slice} 层之后（图像编号 {one} 与 {other} 之间）",
    "after slice {slice} (between frames {one} and {other})": "第 {slice} 层之后（第 {one} 帧与第 {other} 帧之间）",
    "slices {one} and {other}": "第 {one} 层与第 {other} 层",
    "slices {one} and {other} (Instance Numbers {first} and {second})":
        "第 {one} 层与第 {other} 层（图像编号 {first} 与 {second}）",
    "slices {one} and {other} (frames {first} and {second})":
        "第 {one} 层与第 {other} 层（第 {first} 帧与第 {second} 帧）",
    # inputs, of run/reading.py, infer/request.py, infer/align.py
    "input {role}: {said+}": "输入 {role}：{said}",
    "input {role} is absent: the model ran without it": "缺少输入 {role}：模型在没有该输入的情况下运行",
    "input {role} covers {share} % of {first}: the rest was filled with its lowest value":
        "输入 {role} 只覆盖 {first} 的 {share} %：其余部分以其最低值填充",
    # maps, of infer/request.py, infer/maps.py
    "model {model} gives no parametric map: {why+}; leave PM out of `outputs` and `takes` where it runs, and of its ["
    "outputs]":
        "模型 {model} 未生成参数图：{why}；请在该模型的路由 `outputs`、节点 `takes` 及其 [outputs] 中去掉 PM",
    "only a segmentation with trust = 'pieces' can": "仅 trust = 'pieces' 的分割模型可以生成",
    "its values are no fractions of 0 to 1": "其数值不在 0 至 1 之间",
    "the network gives labels, not probabilities": "网络只给出标签，没有给出概率",
    "the inverse of the bundle's preprocessing gives {found=}, the images have {wanted=}":
        "模型预处理的逆变换得到 {found}，而图像为 {wanted}",
    # tilted and uneven stacks: infer/straight.py
    "the series {how+}: the model saw it resampled by the true positions of its slices":
        "该序列{how}：模型使用的是按各层真实位置重采样后的图像",
    "leans {angle}° (gantry tilt)": "倾斜 {angle}°（机架倾斜）",
    "has slices that lie up to {most} mm beside one line": "各层偏离直线最多 {most} mm",
    "has slices {least} to {most} mm apart, usually {usual} mm, the widest gap {where+}":
        "层间距为 {least} 至 {most} mm，通常为 {usual} mm，最大间隙在{where}",
    # phases, of read/phases.py
    "the series holds {count} stacks by {keyword}; the one with {same} = {value=} was analysed ({used} of {all} slice"
    "s)":
        "该序列按 {keyword} 含有 {count} 组图像；分析的是 {same} = {value} 的一组（{all} 层中的 {used} 层）",
    # pixels, of read/quality.py
    "image quality: {said+}": "图像质量：{said}",
    "{slices+} of {all} hold one value only ({value})": "{slices}（共 {all} 层）只有单一数值（{value}）",
    "{slices+} of {all} hold one value only ({value} and others)": "{slices}（共 {all} 层）只有单一数值（{value} 等）",
    "{slice+} has the same pixels as {other+}": "{slice}与{other}像素相同",
    "{slice+} has the same pixels as {other+}, and {more} more": "{slice}与{other}像素相同，另有 {more} 处",
    "in {slices+} up to {share} % of the pixels have the highest value {top}: the range was cut off there":
        "在{slices}，多达 {share} % 的像素为最高值 {top}：数值范围在此被截断",
    "values of {low} to {high} look like no Hounsfield units: {why+}": "数值 {low} 至 {high} 不像 CT 值（HU）：{why}",
    "values of {low} to {high} look like no Hounsfield units: {why+} (Rescale Slope {slope}, Intercept {intercept})":
        "数值 {low} 至 {high} 不像 CT 值（HU）：{why}（Rescale Slope {slope}，Intercept {intercept}）",
    "nothing is air (below {least})": "没有空气（低于 {least}）",
    "nothing is soft tissue ({low} to {high})": "没有软组织（{low} 至 {high}）",
    "many lie below {least}, which air does not reach": "许多数值低于 {least}，空气不会如此低",
    "many lie above {most}, as signed values do that are read as unsigned":
        "许多数值高于 {most}，像是有符号数被当作无符号数读取",
    # sizes, of infer/measure.py
    "{count} components below the smallest size of their label were left out":
        "{count} 个小于其标签最小尺寸的区域未计入",
    # intended use, of the shipped model files and recipes
    "Demonstration only. Trained on synthetic phantoms. Not for clinical use.":
        "仅供演示。以合成体模训练。不得用于临床。",
    "Research only. Not for clinical use.": "仅供研究。不得用于临床。",
})
