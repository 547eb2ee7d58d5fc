"""One network a file; each maps one modality to a vector and knows nothing of the others."""

from mmv_tf.backbones.audio_resnet import AudioResNet
from mmv_tf.backbones.avid import AVIDAudio, AVIDVideo
from mmv_tf.backbones.i3d import I3D
from mmv_tf.backbones.plain_cnn import PlainCNN
from mmv_tf.backbones.resnet_v1 import ResNetV1
from mmv_tf.backbones.s3d import S3D
from mmv_tf.backbones.text_network import TextNetwork
from mmv_tf.backbones.transformers import (
    SharedTransformer,
    TextTransformer,
    VideoTokens,
    VideoTransformer,
    WaveformTokens,
    WaveformTransformer,
    WordVectors,
    modality_agnostic,
)
from mmv_tf.backbones.tsm_resnet import TSMResNet
from mmv_tf.backbones.video_resnet import R2Plus1D, VideoResNet

__all__ = [
    "I3D",
    "AVIDAudio",
    "AVIDVideo",
    "PlainCNN",
    "R2Plus1D",
    "S3D",
    "AudioResNet",
    "ResNetV1",
    "SharedTransformer",
    "TSMResNet",
    "TextNetwork",
    "TextTransformer",
    "VideoResNet",
    "VideoTokens",
    "VideoTransformer",
    "WaveformTokens",
    "WaveformTransformer",
    "WordVectors",
    "modality_agnostic",
]
