"""Python in three lines: `mmv_tf.load`, and the model that it gives."""
