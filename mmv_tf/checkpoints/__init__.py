"""Checkpoints of others, read safely."""
