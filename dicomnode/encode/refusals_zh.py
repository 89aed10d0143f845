"""Why images were not analysed, English to Chinese. For the marks of fields see ``chinese``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

REFUSALS_ZH: Final[Mapping[str, str]] = MappingProxyType({
    # spacing and tilt: domain/spacing.py, read/preflight.py
    "gap of {gap} mm {where+} where {usual} mm is the spacing (ImagePositionPatient projected on the normal); send "
    "the missing slices":
        "{where}有 {gap} mm 的间隙，而层间距为 {usual} mm（ImagePositionPatient 在法线上的投影）；请补发缺少的层面",
    "gap of {gap} mm {where+} where {usual} mm is the spacing (ImagePositionPatient projected on the normal); the "
    "model file bridges gaps up to {most} mm; send the missing slices":
        "{where}有 {gap} mm 的间隙，而层间距为 {usual} mm（ImagePositionPatient 在法线上的投影）；模型文件最多跨越"
        " {most} mm 的间隙；请补发缺少的层面",
    "slices lie {low} to {high} mm apart, usually {usual} mm, the oddest {where+}; allowed is a deviation of {most} m"
    "m":
        "层间距为 {low} 至 {high} mm，通常为 {usual} mm，偏差最大处在{where}；允许的偏差为 {most} mm",
    "slices do not lie on one line: {slice+} lies {beside} mm beside it, allowed are {most} mm":
        "各层不在一条直线上：{slice}偏离 {beside} mm，允许 {most} mm",
    "the stack leans {angle}° from the slice normal (gantry tilt); the model was validated for at most {most}°":
        "图像组相对层面法线倾斜 {angle}°（机架倾斜）；模型验证的上限为 {most}°",
    "slices lie {apart} mm apart; the model was validated for {low} to {high} mm":
        "层间距为 {apart} mm；模型的验证范围为 {low} 至 {high} mm",
    "pixels lie {apart} mm apart; the model was validated for {low} to {high} mm":
        "像素间距为 {apart} mm；模型的验证范围为 {low} 至 {high} mm",
    "a single slice without Slice Thickness (0018,0050) has no volume; send the series it belongs to":
        "单层图像没有 Slice Thickness (0018,0050)，无法计算体积；请发送其所属的序列",
    "FrameOfReferenceUID is absent: no result can be placed on these images (PS3.3 C.7.4.1)":
        "缺少 FrameOfReferenceUID：结果无法定位到这些图像上（PS3.3 C.7.4.1）",
    # places of images: read/geometry.py, read/phases.py
    "no image: a stack needs at least one": "没有图像：至少需要一幅",
    "SOP Instance {uid}{where=}: {keyword} {found+}; {count} numbers are needed to place the image (PS3.3 C.7.6.2)":
        "SOP 实例 {uid}{where}：{keyword} {found}；需要 {count} 个数值才能定位图像（PS3.3 C.7.6.2）",
    "has {count} values": "有 {count} 个值",
    "is absent or no number": "缺少或不是数值",
    "{keyword} is absent: the images cannot be referred to": "缺少 {keyword}：无法引用这些图像",
    "{keyword} is absent: the image cannot be referred to": "缺少 {keyword}：无法引用该图像",
    "{count} series among {images} images ({uids=}); one is needed":
        "{images} 幅图像分属 {count} 个序列（{uids}）；应为一个",
    "{count} studies among {images} images ({uids=}); one is needed":
        "{images} 幅图像分属 {count} 个检查（{uids}）；应为一个",
    "{count} frames of reference among {images} images ({uids=}); one is needed":
        "{images} 幅图像有 {count} 个参考坐标系（{uids}）；应为一个",
    "SOP Instance {uid}: NumberOfFrames = {claimed}, its functional groups describe {found}; each frame needs its "
    "place (PS3.3 C.7.6.16)":
        "SOP 实例 {uid}：NumberOfFrames = {claimed}，其功能组描述了 {found} 帧；每一帧都需要位置（PS3.3 C.7.6.16）",
    "Rows × Columns differs within the series: {sizes+}; one is needed":
        "序列内图像矩阵（行 × 列）不一致：{sizes}；应为一种",
    "{rows} × {columns} ({count} images)": "{rows} × {columns}（{count} 幅）",
    "{others} of {all} images are not parallel to the first: direction cosines differ by up to {most}, allowed is "
    "{allowed} (a localizer inside the series?)":
        "{all} 幅图像中有 {others} 幅与第一幅不平行：方向余弦相差最多 {most}，允许 {allowed}（序列中含定位像？）",
    "PixelSpacing differs within the series: {low=} to {high=} mm (the first image has {first=}); one is needed":
        "序列内 PixelSpacing 不一致：{low} 至 {high} mm（第一幅为 {first}）；应为一种",
    "{count} images share places: {slices+} of {all} lie {apart} mm apart; one image per place is needed, send the "
    "phases as series of their own":
        "{count} 幅图像位置重复：共 {all} 层中的{slices}相距 {apart} mm；每个位置只能有一幅图像，请将各期相作为单独的序"
        "列发送",
    "{count} images share places: {slices+} of {all} lie {apart} mm apart; one image per place is needed, send the "
    "phases as series of their own, or name in the model file which to take: split_by ({hints+})":
        "{count} 幅图像位置重复：共 {all} 层中的{slices}相距 {apart} mm；每个位置只能有一幅图像，请将各期相作为单独的序"
        "列发送，或在模型文件中指明取哪一组：split_by（{hints}）",
    "{keyword} has {count} values": "{keyword} 有 {count} 个值",
    "slices of {count} stacks lie between one another, told apart by {keyword}; one stack is needed, send them as "
    "series of their own, or name in the model file which to take: split_by":
        "{count} 组图像的层面相互交错（由 {keyword} 区分）；只能有一组，请作为单独的序列发送，或在模型文件中用"
        " split_by 指明取哪一组",
    "the series holds no stack with {keyword} = {wanted=}, only {there=}":
        "序列中没有 {keyword} = {wanted} 的图像组，只有 {there}",
    "series {uid} has {count} slices; the model takes {wanted*}": "序列 {uid} 有 {count} 层；模型接受{wanted}",
    # pixels and texts: read/pixels.py, read/series.py, read/bounds.py, read/normalise.py, read/quality.py
    "SOP Instance {uid}: Rescale Slope (0028,1053) or Intercept (0028,1052) is absent or no number: values cannot be "
    "read as HU":
        "SOP 实例 {uid}：Rescale Slope (0028,1053) 或 Intercept (0028,1052) 缺少或不是数值：无法得到 CT 值（HU）",
    "SOP Instance {uid}: Rescale Slope (0028,1053) and Intercept (0028,1052) are not both there: allowed are both, "
    "or neither: values are not guessed":
        "SOP 实例 {uid}：Rescale Slope (0028,1053) 与 Intercept (0028,1052) 不齐：应同时存在或都不存在；数值不作猜测",
    "SOP Instance {uid}: it has a Modality LUT Sequence (0028,3000); allowed are Rescale Slope and Intercept, or "
    "neither: values are not guessed":
        "SOP 实例 {uid}：含 Modality LUT Sequence (0028,3000)；只允许 Rescale Slope 与 Intercept，或都没有；数值不作猜"
        "测",
    "{silent} of {all} slices have no Rescale Slope (0028,1053), the others have: allowed are all or none, for their "
    "values are no one quantity":
        "{all} 层中有 {silent} 层没有 Rescale Slope (0028,1053)，其余各层有：应全部有或全部没有，否则数值不是同一物"
        "理量",
    "SOP Instance {uid}: Rescale Type (0028,1054) = {kind}: allowed is HU":
        "SOP 实例 {uid}：Rescale Type (0028,1054) = {kind}：只允许 HU",
    "SOP Instance {uid}: {why+}": "SOP 实例 {uid}：{why}",
    "it has no pixel data": "没有像素数据",
    "it has Float Pixel Data (7FE0,0008) or Double Float Pixel Data (7FE0,0009), as maps of measured values have: "
    "allowed is Pixel Data (7FE0,0010) of a CT or MR image":
        "含浮点像素数据（7FE0,0008 或 7FE0,0009），如同测量值的图；只允许 CT 或 MR 图像的 Pixel Data (7FE0,0010)",
    "SamplesPerPixel = {samples}, PhotometricInterpretation = {kind=}: allowed is one MONOCHROME1 or MONOCHROME2 "
    "value per pixel":
        "SamplesPerPixel = {samples}，PhotometricInterpretation = {kind}：每像素只允许一个 MONOCHROME1 或 MONOCHROME2 "
        "值",
    "{found=}: allowed are 8, 16 or 32 bits allocated and a matrix that is not empty":
        "{found}：只允许分配 8、16 或 32 位，且矩阵不为空",
    "a frame decodes to {found=}, Rows × Columns say {rows} × {columns}":
        "一帧解码得到 {found}，而 Rows × Columns 为 {rows} × {columns}",
    "native pixel data without a length": "未压缩的像素数据没有长度",
    "pixel data end after {found} bytes, frame {frame} needs {wanted}: cut off, send it again":
        "像素数据在 {found} 字节后结束，第 {frame} 帧需要 {wanted} 字节：数据被截断，请重新发送",
    "transfer syntax {name=}: {why=}": "传输语法 {name} 无法解码（解码器原文：{why}）",
    "frame {frame}: {why=}: nothing was decoded": "第 {frame} 帧：{why}：未作解码",
    "{what=} would take {size} MB decoded; [worker] max_decoded_mb allows {most}: nothing was decoded":
        "{what} 解码后需 {size} MB；[worker] max_decoded_mb 允许 {most} MB：未作解码",
    "NumberOfFrames = {count}: allowed are {most}": "NumberOfFrames = {count}：最多允许 {most}",
    "SOP Instance {uid} is there twice with different content; keep the right one":
        "SOP 实例 {uid} 有两份不同的内容；请保留正确的一份",
    "SOP Instance {uid}: {keyword} cannot be read: Specific Character Set (0008,0005) is {terms=} and its bytes are "
    "not of it; set charset_fallback (e.g. {example}) for the peer that sends them":
        "SOP 实例 {uid}：无法读取 {keyword}：Specific Character Set (0008,0005) 为 {terms}，而其字节不属于该字符集；请"
        "为发送该图像的节点设置 charset_fallback（例如 {example}）",
    "SOP Instance {uid}: {keyword} cannot be read: Specific Character Set (0008,0005) is {terms=} and its bytes are "
    "not of it; correct it at the sender: charset_fallback stands only where no known set is declared":
        "SOP 实例 {uid}：无法读取 {keyword}：Specific Character Set (0008,0005) 为 {terms}，而其字节不属于该字符集；请"
        "在发送端更正：charset_fallback 仅在未声明已知字符集时使用",
    "series {series}: {why+}; look at the images, and send them again or anew":
        "序列 {series}：{why}；请检查图像，并重新发送或重新采集",
    # inputs on each other: infer/align.py, run/reading.py, run/inputs.py
    "model {model}: inputs {one} and {other} lie in different Frames of Reference ({first}, {second}): their places "
    "cannot be compared; register them, or say any_frame = true for the input where the UIDs alone differ":
        "模型 {model}：输入 {one} 与 {other} 处于不同的参考坐标系（{first}，{second}）：位置无法比较；请先配准，若仅"
        " UID 不同则为该输入设置 any_frame = true",
    "model {model}: input {role} lies on another grid than {first}: {found=} against {wanted=}; say resample = true "
    "in its [[inputs]] where the network was made for interpolated inputs":
        "模型 {model}：输入 {role} 与 {first} 的网格不同：{found} 对 {wanted}；若网络接受插值的输入，请在其 [[inputs]] "
        "中设置 resample = true",
    "model {model}: input {role} lies on another grid than {first}: {found=} against {wanted=}, and covers nothing "
    "of it: send series of the same part of the body":
        "模型 {model}：输入 {role} 与 {first} 的网格不同：{found} 对 {wanted}，且完全不重叠：请发送同一部位的序列",
    "two models of the route take different stacks of series {uid} (split_by, split_take): give each a route of its o"
    "wn":
        "同一路由的两个模型取用序列 {uid} 中不同的图像组（split_by、split_take）：请为每个模型单独设置路由",
    "{missing} of {all} images are no longer in the store (retention deletes finished studies); have the study sent a"
    "gain":
        "{all} 幅图像中有 {missing} 幅已不在存储中（已完成的检查会按保留期限删除）；请重新发送该检查",
})
