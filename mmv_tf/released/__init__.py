"""The released weights of the paper's authors, read safely."""
