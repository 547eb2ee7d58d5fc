"""Set-up of all tests: quiet TensorFlow, and four logical CPU devices for tests of several replicas."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import gin  # noqa: E402  (the environment comes first)
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)


@pytest.fixture(autouse=True)
def no_configuration():
    """gin's configuration is global: no test sees what another one has parsed."""
    gin.clear_config()
