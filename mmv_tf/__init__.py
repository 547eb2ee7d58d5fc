"""Self-Supervised MultiModal Versatile Networks (Alayrac et al., NeurIPS 2020) in TensorFlow 2 / Keras."""

import os as _os
import pathlib as _pathlib

__version__ = "0.1.0"

# TensorFlow's C++ side tells of every missing GPU library; its warnings show with TF_CPP_MIN_LOG_LEVEL=0.
_os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# setup.py installs the top-level folders beam/, export/ and gin/ as parts of this package. In a checkout they
# lie beside it; `python -m mmv_tf...` puts the checkout first on the path, so they must be found from here too.
_checkout = _pathlib.Path(__file__).resolve().parent.parent
if (_checkout / "setup.py").is_file() and (_checkout / "beam" / "preprocess.py").is_file():
    __path__.append(str(_checkout))
