"""Publishing a trained model. Installed as mmv_tf.export."""
