"""Diagnosis of an installation and its machine: `mmv_tf doctor`."""
