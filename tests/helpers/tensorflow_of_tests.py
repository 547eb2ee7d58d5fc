"""TensorFlow as tests have it: four logical CPU devices, and little time for making graphs. To be imported once."""

from helpers import kernels

with kernels.without_onednn():
    import tensorflow as tf
    from tensorflow.python.util import tf_stack

    from helpers import quick_graphs

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)
quick_graphs.set_up()

# Every operation of a graph looks up the lines of all Python frames around it, a tenth of the time in which it is made:
# here they all show one and the same. Not in what is forked: there this ends in a crash.
_FRAMES = tf_stack.extract_stack()
tf_stack.extract_stack = lambda stacklevel=1: _FRAMES
