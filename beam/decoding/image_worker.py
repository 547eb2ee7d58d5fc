"""The child process that decodes pictures: the messages, limits and answers are those of mmv_tf.beam.decoding.worker.

A picture becomes what a frame of a video becomes: upright, on white, short side at most settings.short_side, a JPEG.
"""

import os

from mmv_tf.beam.decoding import picture
from mmv_tf.beam.decoding import worker as decode_worker
from mmv_tf.beam.decoding.client import DecodeClient
from mmv_tf.records.card import Reason

SUFFIXES = picture.suffixes()


class ImageClient(DecodeClient):
    """A DecodeClient for pictures: `ask(path, [(0.0, None)])` gives the plan and one piece of one frame."""

    worker = "mmv_tf.beam.decoding.image_worker"


class _Refused(Exception):
    def __init__(self, reason, detail):
        super().__init__(detail)
        self.reason = reason


def _answer(request, settings, say):
    try:
        image = _decoded(request["path"], settings)
        height, width, jpeg = _encoded(image, settings)
        say({"plan": [[[0], 0.0, 0.0]], "truncated": None})
        say({"piece": 0, "end": 0.0, "height": height, "width": width, "frames": 1}, [jpeg])
        say({"done": True})
    except _Refused as error:
        say({"reason": error.reason.value, "detail": str(error)})
    except MemoryError:
        say({"reason": Reason.OUT_OF_MEMORY.value, "detail": f"over {settings.max_memory_bytes >> 20} MiB"})


def _decoded(path, settings):
    """[height, width, 3] uint8 BGR: see `picture.decode`."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise _Refused(Reason.MISSING_FILE, error.strerror) from None
    try:
        return picture.decode(data, settings.max_pixels)
    except picture.TooLarge as error:
        raise _Refused(Reason.TOO_LARGE, str(error)) from None
    except ValueError as error:
        raise _Refused(Reason.DECODE_ERROR, str(error)) from None


def _encoded(image, settings):
    """(height, width, JPEG)."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, settings.short_side / min(height, width))
    if too_long := settings.too_long(height * scale, width * scale):
        raise _Refused(Reason.TOO_LARGE, too_long)
    if scale < 1.0:
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, settings.jpeg_quality])
    if not done:
        raise _Refused(Reason.DECODE_ERROR, "the picture could not be written as JPEG")
    return height, width, data.tobytes()


if __name__ == "__main__":
    from mmv_tf.beam.specs import Settings

    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(Settings().max_pixels))
    decode_worker.main(_answer)
