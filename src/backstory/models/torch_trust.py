"""Which classes of `torch.nn` a stored module may name: reviewed by hand, never read from a file.

A class is listed only if its `forward` computes with its own tensors, plain attributes and inner modules, and does
nothing else whatever those are: it calls no attribute that a file could set, opens nothing and imports nothing. Left
out are those that keep tensors or functions in attributes: recurrent layers, transformers.
"""

from __future__ import annotations

from typing import Any

_LINES = (
    "Identity Linear Bilinear Flatten Unflatten Sequential ModuleList ModuleDict ParameterList Embedding",
    "EmbeddingBag BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm",
    "GroupNorm RMSNorm LocalResponseNorm Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout",
    "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d MaxPool1d MaxPool2d MaxPool3d AvgPool1d",
    "AvgPool2d AvgPool3d LPPool1d LPPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d AdaptiveMaxPool3d ReLU ReLU6 LeakyReLU PReLU RReLU ELU CELU SELU GELU SiLU Mish Hardtanh",
    "Hardsigmoid Hardswish Hardshrink Softshrink Tanhshrink Threshold Sigmoid LogSigmoid Tanh Softplus Softsign",
    "Softmin Softmax LogSoftmax Softmax2d GLU ConstantPad1d ConstantPad2d ZeroPad1d ZeroPad2d ReflectionPad1d",
    "ReflectionPad2d ReplicationPad1d ReplicationPad2d PixelShuffle PixelUnshuffle Upsample ChannelShuffle",
    "CosineSimilarity",
)


def reviewed_classes() -> dict[str, type[Any]]:
    """Return the reviewed classes this PyTorch has, by qualified name."""
    import torch

    names = [name for line in _LINES for name in line.split()]
    found = [getattr(torch.nn, name) for name in names if hasattr(torch.nn, name)]
    return {f"{one.__module__}.{one.__qualname__}": one for one in found}
