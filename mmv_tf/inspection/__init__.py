"""Looking at folders of records: whether they are whole, and what is in them. No TensorFlow where it can be spared."""
