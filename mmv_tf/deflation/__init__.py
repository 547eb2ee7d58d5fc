"""Training of image networks that are made of video networks (`python -m mmv_tf.deflate`)."""
