"""Augmentation of frames and of sound: what is drawn, and functions of what was drawn."""
