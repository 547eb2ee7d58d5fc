"""One network a file; each maps one modality to a vector and knows nothing of the others."""

from mmv_tf.backbones.audio_resnet import AudioResNet
from mmv_tf.backbones.s3d import S3D
from mmv_tf.backbones.text_network import TextNetwork

__all__ = ["S3D", "AudioResNet", "TextNetwork"]
