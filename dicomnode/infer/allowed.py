"""Exactly what a bundle may name in "pieces" mode: classes, functions, tensor methods, builtins.

Exact names, never module prefixes: allowing all of ``monai.utils`` once let ``optional_import`` through.
A name that is not here is refused; the administrator of the project adds it here after reading it.
"""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_DICT_TRANSFORMS: Final = _words("""
Activationsd AsDiscreted CastToTyped CenterSpatialCropd ConcatItemsd CopyItemsd CropForegroundd DeleteItemsd
DivisiblePadd EnsureTyped FillHolesd Flipd GaussianSmoothd Invertd KeepLargestConnectedComponentd LabelFilterd Lambdad
MeanEnsembled MedianSmoothd NormalizeIntensityd Orientationd RemoveSmallObjectsd RepeatChanneld ResizeWithPadOrCropd
Resized Rotate90d ScaleIntensityRangePercentilesd ScaleIntensityRanged ScaleIntensityd SelectItemsd Spacingd
SpatialPadd SplitDimd SqueezeDimd ThresholdIntensityd ToDeviced ToNumpyd ToTensord Transposed VoteEnsembled Zoomd
""")
_ARRAY_TRANSFORMS: Final = _words("""
Activations AsDiscrete CastToType CenterSpatialCrop CropForeground DivisiblePad EnsureType FillHoles Flip
KeepLargestConnectedComponent Lambda NormalizeIntensity Orientation Resize ResizeWithPadOrCrop ScaleIntensity
ScaleIntensityRange ScaleIntensityRangePercentiles Spacing SpatialPad SqueezeDim ThresholdIntensity ToNumpy ToTensor
Transpose
""")
_INFERERS: Final = _words("SimpleInferer SliceInferer SlidingWindowInferer SlidingWindowInfererAdapt")
_NETWORKS: Final = _words("""
AHNet AttentionUnet BasicUNet BasicUNetPlusPlus DenseNet DenseNet121 DenseNet169 DenseNet201 DenseNet264 DynUNet
EfficientNetBN FlexibleUNet HighResNet RegUNet ResNet SEResNet50 SEResNet101 SENet154 SegResNet SegResNetDS
SegResNetVAE SwinUNETR UNETR UNet VNet ViT
""")
_LAYERS: Final = _words("""
AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d BatchNorm1d
BatchNorm2d BatchNorm3d ConstantPad2d ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
Dropout Dropout2d Dropout3d ELU Flatten GELU GroupNorm Hardswish Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d
LayerNorm LeakyReLU Linear LogSoftmax MaxPool1d MaxPool2d MaxPool3d Mish PReLU PixelShuffle ReLU ReLU6 ReflectionPad3d
ReplicationPad3d SELU Sequential SiLU Sigmoid Softmax Softplus Tanh Unflatten Upsample ZeroPad2d ZeroPad3d
""")

_FEATURES: Final = _words("BackboneWithFPN FeaturePyramidNetwork LastLevelMaxPool LastLevelP6P7")
_RETINANET: Final = "monai.apps.detection.networks.retinanet_"

CLASSES: Final[dict[str, str]] = {
    "Compose": "monai.transforms.Compose",
    "SkipConnection": "monai.networks.layers.SkipConnection",
    "Convolution": "monai.networks.blocks.Convolution",
    "ResidualUnit": "monai.networks.blocks.ResidualUnit",
    "UpSample": "monai.networks.blocks.UpSample",
    **{name: f"monai.transforms.{name}" for name in (*_DICT_TRANSFORMS, *_ARRAY_TRANSFORMS)},
    "RetinaNet": f"{_RETINANET}network.RetinaNet",
    "RetinaNetDetector": f"{_RETINANET}detector.RetinaNetDetector",
    "resnet_fpn_feature_extractor": f"{_RETINANET}network.resnet_fpn_feature_extractor",
    "AnchorGenerator": "monai.apps.detection.utils.anchor_utils.AnchorGenerator",
    "AnchorGeneratorWithAnchorShape": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
    **{name: f"monai.networks.blocks.{name}" for name in _FEATURES},
    **{name: f"monai.inferers.{name}" for name in _INFERERS},
    **{name: f"monai.networks.nets.{name}" for name in _NETWORKS},
    **{name: f"torch.nn.{name}" for name in _LAYERS},
}
"""Short name → the one object that it may mean."""

REMOVED: Final = frozenset({
    "LoadImage", "LoadImaged", "EnsureChannelFirst", "EnsureChannelFirstd", "SaveImage", "SaveImaged",
    "SaveClassificationd",
    "AddChanneld", "AsChannelFirstd", "PushToDisk", "DataStatsd", "DataStats",
})
"""Loaders, savers and printers: taken out of every chain, because the volume is in memory already."""

FUNCTIONS: Final = frozenset({
    *(f"torch.nn.{name}" for name in _LAYERS),
    *(f"torch.{name}" for name in _words("""
        abs argmax argsort bfloat16 bool cat clamp device exp float float16 float32 float64 half int int16 int32 int64
        int8 logical_and logical_not logical_or long max maximum mean min minimum ones ones_like round sigmoid softmax
        sort squeeze stack sum tanh tensor uint8 unsqueeze where zeros zeros_like
        cuda.is_available nn.functional.softmax nn.functional.sigmoid nn.functional.relu""")),
    *(f"np.{name}" for name in _words("""
        abs argmax array bool_ clip concatenate float16 float32 float64 int16 int32 int64 int8 max maximum mean min
        minimum ones pi round stack sum uint16 uint8 where zeros""")),
    "math.ceil", "math.floor", "math.pi", "math.sqrt",
    "monai.utils.CommonKeys.IMAGE", "monai.utils.CommonKeys.LABEL", "monai.utils.CommonKeys.PRED",
})
"""Dotted names that an expression may use (``numpy.`` counts as ``np.``)."""

METHODS: Final = frozenset(_words("""
all any argmax astype bool clamp clip cpu dim endswith flatten float get half int items keys lower long max mean min
ndim permute reshape round shape sigmoid size softmax split squeeze startswith strip sum
transpose unsqueeze upper values
view
"""))
"""Attributes of any value that an expression may use: none gives access to code, files or the interpreter."""

BUILTINS: Final = frozenset(_words("""
abs all any bool dict enumerate float int len list max min range reversed round set sorted str sum tuple zip
"""))
