# The image of the workers that preprocess on Dataflow, or on another Beam runner with containers: docs/dataflow.md.
#   python -m pip wheel --no-deps --wheel-dir dist .
#   docker build --tag IMAGE .
FROM apache/beam_python3.11_sdk:2.77.0

# What decoding and writing records needs; TensorFlow is not among it. The exact versions are those of the lock, since
# another libavcodec or JPEG encoder gives other bytes. The wheels of av and OpenCV bring their native libraries along:
# nothing is missing from apt.
COPY requirements.lock /tmp/
RUN grep -oE "^(av|google-crc32c|numpy|opencv-python-headless|tqdm)==[^ ;]+" /tmp/requirements.lock > /tmp/workers.txt \
    && pip install --no-cache-dir --requirement /tmp/workers.txt

COPY dist/mmv_tf-*.whl /tmp/
RUN pip install --no-cache-dir --no-deps /tmp/mmv_tf-*.whl \
    && rm /tmp/mmv_tf-*.whl /tmp/requirements.lock /tmp/workers.txt \
    && python -c "import sys, mmv_tf.beam.pipeline, mmv_tf.beam.decoding.clips; assert 'tensorflow' not in sys.modules"
