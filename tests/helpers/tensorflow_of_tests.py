"""TensorFlow as tests have it: four logical CPU devices, and little time for making graphs. To be imported once."""

from helpers import kernels

with kernels.without_onednn():
    import tensorflow as tf
    from tensorflow.python.util import tf_stack

    from helpers import eager

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

eager.at_once()

# It makes nothing of graphs for CPUs; to find that out takes a sixth of the time in which a graph is made ready to run.
tf.config.experimental.disable_mlir_bridge()

# Grappler makes graphs faster that run many times, and takes a fifth of the time of those that run a few. It is on in
# all that the tests start as a user does, in processes of their own.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# Most of the time goes into making graphs that are run a few times. Every operation of a graph looks up the lines of
# all Python frames around it, a tenth of that time: here they all show one and the same.
_FRAMES = tf_stack.extract_stack()
tf_stack.extract_stack = lambda stacklevel=1: _FRAMES
