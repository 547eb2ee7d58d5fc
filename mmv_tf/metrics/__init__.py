"""Measures of retrieval and classification; NumPy only."""
