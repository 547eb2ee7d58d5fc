"""JPEGs without decoding them: whether they begin and end as they should, and how large they are."""

# Start of frame in its kinds (baseline, progressive, ...): C4, C8 and CC among them mean something else.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


MAX_PIXELS = 1 << 26  # that are decoded: a small file can say that it holds gigabytes
MAX_SCANS = 100  # each of which takes as long as a picture; progressive JPEGs have about 10


def size(data: bytes) -> tuple[int, int]:
    """(height, width) by the header.

    Raises:
      ValueError: what is wrong: no JPEG, cut off, no size in it, or so many scans that decoding takes for ever.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("is no JPEG")
    if data.rstrip(b"\0")[-2:] != b"\xff\xd9":
        raise ValueError("is a JPEG that is cut off (no end mark)")
    if (scans := data.count(b"\xff\xda")) > MAX_SCANS:
        raise ValueError(f"is a JPEG of {scans} scans")
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            return int.from_bytes(data[position + 5 : position + 7], "big"), int.from_bytes(
                data[position + 7 : position + 9], "big"
            )
        if marker == 0xFF:  # fill
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise ValueError("is a JPEG without a size in its header")


def decode(data: bytes, least_width: int | None = None):
    """uint8 [H, W, 3] RGB; with `least_width` in a half, a quarter or an eighth of the size, of at least that width.

    A small picture takes a fraction of the time.

    Raises:
      ValueError: it cannot be decoded, or has more than MAX_PIXELS.
    """
    import cv2
    import numpy as np

    height, width = size(data)
    if height * width > MAX_PIXELS:
        raise ValueError(f"is a JPEG of {width}x{height} pixels, which is not decoded")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _how(width, least_width)) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("cannot be decoded")
    return image[..., ::-1]


def _how(width, least_width):
    import cv2

    reduced = ((8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2))
    return next((how for share, how in reduced if least_width and width >= share * least_width), cv2.IMREAD_COLOR)
