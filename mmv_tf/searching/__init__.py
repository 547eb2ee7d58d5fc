"""Search over one's own videos: an index of windows, queries of any modality, and the page that shows the moments."""

from mmv_tf.searching.index import Hit, Index

__all__ = ["Hit", "Index"]
