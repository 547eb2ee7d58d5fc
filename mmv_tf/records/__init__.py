"""The stored format. Nothing here imports TensorFlow."""
