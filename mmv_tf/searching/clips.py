"""Previews and cuts of spans of files, decoded in the child process that indexing uses, and encoded for browsers."""

import threading

import numpy as np

from mmv_tf.beam.decoding.client import DecodeClient, Failure
from mmv_tf.beam.sources import source_files
from mmv_tf.beam.specs import Settings
from mmv_tf.searching import playing

MOST_SECONDS = 30.0


class Clips:
    """Spans of the files below a root. One at a time: decoding takes a core.

    Args:
      root: folder that the index was made of.
    """

    def __init__(self, root: str):
        self._root, self._lock, self._clients = root, threading.Lock(), {}

    def close(self):
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients = {}

    def preview(self, path: str, start: float, end: float, height: int = playing.PREVIEW_HEIGHT) -> bytes:
        """An MP4 of a span, at most MOST_SECONDS long.

        Raises:
          ValueError: the file is gone, leads out of the root, or cannot be decoded there; says why.
        """
        end = min(end, start + MOST_SECONDS)
        settings = Settings(
            frame_rate=15.0, short_side=height, sample_rate=44_100, timeout_seconds=30.0, jpeg_quality=85
        )
        with self._lock:
            client = self._clients.setdefault(height, DecodeClient(settings))
            try:
                with source_files.opened(self._root, path, settings.max_file_bytes) as found:
                    for header, blobs in client.ask(found.file, [(start, end)]):
                        if "reason" in header:
                            raise ValueError(f"{path}: {header['detail']}")
                        if "piece" in header:
                            frames = header["frames"]
                            sound = np.frombuffer(blobs[frames], "<f4") if len(blobs) > frames else None
                            return playing.preview(blobs[:frames], settings.frame_rate, sound, settings.sample_rate)
            except (source_files.Refused, Failure) as error:
                raise ValueError(f"{path}: {error}") from None
        raise ValueError(f"{path}: nothing there")
