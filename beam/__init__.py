"""Videos in, sharded TFRecords out: the Apache Beam pipeline. Installed as mmv_tf.beam."""
