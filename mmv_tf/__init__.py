"""Self-Supervised MultiModal Versatile Networks (Alayrac et al., NeurIPS 2020) in TensorFlow 2 / Keras."""

import os as _os

__version__ = "0.1.0"

# TensorFlow's C++ side tells of every missing GPU library; its warnings show with TF_CPP_MIN_LOG_LEVEL=0.
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
