"""Transformers over patches of pixels and of waveforms, and over words (VATT, arXiv 2104.11178)."""

from mmv_tf.backbones.transformers.shared_transformer import SharedTransformer, modality_agnostic
from mmv_tf.backbones.transformers.text_transformer import TextTransformer, WordVectors
from mmv_tf.backbones.transformers.video_transformer import VideoTokens, VideoTransformer
from mmv_tf.backbones.transformers.waveform_transformer import WaveformTokens, WaveformTransformer

__all__ = [
    "SharedTransformer",
    "TextTransformer",
    "VideoTokens",
    "VideoTransformer",
    "WaveformTokens",
    "WaveformTransformer",
    "WordVectors",
    "modality_agnostic",
]
