"""A picture file to pixels, the same for preprocessing, embedding, evaluation and deflation.

Turned as its EXIF data says; what is transparent lies on white, as most programs show it (a drawing in the alpha
channel alone would be an all-black picture otherwise). AVIF is read by Pillow, and HEIC where pillow-heif is installed.
"""

import importlib.util
import io

import numpy as np

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .gif .webp .tif .tiff .jp2 .ppm .pgm .avif".split())
HEIC = frozenset((".heic", ".heif"))


class TooLarge(ValueError):
    """It has more pixels than the limit."""


def suffixes() -> frozenset[str]:
    """The endings of what can be read here."""
    return SUFFIXES | (HEIC if importlib.util.find_spec("pillow_heif") else frozenset())


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """[height, width, 3] uint8 BGR.

    Raises:
      TooLarge: more than `max_pixels`.
      ValueError: no picture that can be decoded.
      MemoryError: OpenCV had none.
    """
    import cv2

    if data[4:8] == b"ftyp":
        return _by_pillow(data, max_pixels)
    image = _decoded(cv2, data, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("no picture that can be decoded")
    _check(image.shape[1], image.shape[0], max_pixels)
    if data[:3] == b"\xff\xd8\xff":  # JPEG has no alpha
        return image
    with_alpha = _decoded(cv2, data, cv2.IMREAD_UNCHANGED)
    if with_alpha is not None and with_alpha.ndim == 2 and (clear := _transparent_grey(data)) is not None:
        alpha = (with_alpha != clear) * np.iinfo(with_alpha.dtype).max
        with_alpha = np.dstack([with_alpha] * 3 + [alpha.astype(with_alpha.dtype)])
    if with_alpha is None or with_alpha.ndim < 3 or with_alpha.shape[2] != 4:
        return image
    alpha = with_alpha[..., 3] / np.float32(np.iinfo(with_alpha.dtype).max if with_alpha.dtype.kind == "u" else 1)
    if alpha.min() >= 1:
        return image
    colours = with_alpha[..., :3]
    if colours.dtype == np.uint16:
        colours = colours >> 8
    alpha, turn = alpha[..., None], _turn(colours, alpha[..., None], image)
    # Of 8-bit TIFF the colours come multiplied with alpha already.
    seen = colours if data[:2] in (b"II", b"MM") and with_alpha.dtype == np.uint8 else colours * alpha
    return turn(np.round(seen + 255 * (1 - alpha)).astype(np.uint8))


def orientation(data: bytes) -> int:
    """How EXIF says that a JPEG is to be turned; 1: not at all."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return int(image.getexif().get(0x0112, 1) or 1)
    except Exception:  # of a damaged header: whatever decodes the picture says what is wrong with it
        return 1


def _decoded(cv2, data, flags):
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from None
        # Its own check of the size is among the errors that it raises.
        kind = TooLarge if "MAX_IMAGE" in str(error) else ValueError
        raise kind(" ".join(str(error.err).split())[:200]) from None


def _transparent_grey(data):
    """The grey of a PNG in grey that is transparent (tRNS), which OpenCV says nothing of; None: there is none.

    On the scale of what OpenCV decodes: greys of less than 8 bits as such of 8.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[25] != 0:
        return None
    most, at = (1 << data[24]) - 1, 8
    while (kind := data[at + 4 : at + 8]) not in (b"IDAT", b""):
        if kind == b"tRNS":
            return (int.from_bytes(data[at + 8 : at + 10], "big") & most) * max(1, 255 // most)
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return None


def _turn(colours, alpha, image):
    """How OpenCV has turned `image` by its EXIF data, which it does not do where it keeps alpha: a function.

    What it makes of transparent colours differs by format: it leaves them, or multiplies them with alpha.
    """

    def turns():
        for flipped in (False, True):
            for times in range(4):
                yield lambda x, t=times, f=flipped: np.ascontiguousarray(np.rot90(x[:, ::-1] if f else x, t))

    def apart(turn):
        sides = [turn(one) for one in (colours, colours * alpha)]
        return min(
            np.abs(side - image.astype(np.float32)).mean() if side.shape == image.shape else 256 for side in sides
        )

    return min(turns(), key=apart)  # the first of equal ones, which is not to turn it


def _by_pillow(data, max_pixels):
    import PIL.Image
    import PIL.ImageOps

    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            _check(*image.size, max_pixels)
            image = PIL.ImageOps.exif_transpose(image).convert("RGBA")
            white = PIL.Image.new("RGBA", image.size, "white")
            return np.asarray(PIL.Image.alpha_composite(white, image))[..., 2::-1]
    except TooLarge:
        raise
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        advice = "" if importlib.util.find_spec("pillow_heif") else " (HEIC needs the package pillow-heif)"
        raise ValueError(f"no picture that can be decoded{advice}: {' '.join(str(error).split())[:120]}") from None


def _check(width, height, most):
    if width * height > most:
        raise TooLarge(f"{width}x{height}, over {most} pixels")
