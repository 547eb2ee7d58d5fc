"""Pictures as one sees them: turned, on white, whatever their format."""

import io
import struct
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from mmv_tf.beam.decoding import picture
from mmv_tf.deflation import images

MANY = 1 << 20
COLOURS = (
    np.random.default_rng(0).integers(0, 256, (6, 9, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
)  # RGB, 48 x 72


def _file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _exif(orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


def _with_alpha(alpha):
    return PIL.Image.fromarray(np.dstack([COLOURS, alpha]))


def _shown(data):
    return picture.decode(data, MANY)[..., ::-1]


ALPHA = np.linspace(0, 255, 72).astype(np.uint8)[None].repeat(48, 0)
ON_WHITE = np.round(COLOURS * (ALPHA / 255)[..., None] + 255 - ALPHA[..., None])


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})])
def test_what_is_transparent_lies_on_white(kind, options):
    np.testing.assert_allclose(_shown(_file(_with_alpha(ALPHA), kind, **options)), ON_WHITE, atol=1)
    whole = np.full_like(ALPHA, 255)
    np.testing.assert_array_equal(_shown(_file(_with_alpha(whole), kind, **options)), COLOURS)


def test_a_drawing_in_the_alpha_channel_alone_is_seen():
    shape = np.zeros((48, 72), np.uint8)
    shape[10:30, 20:50] = 255
    black = PIL.Image.fromarray(np.dstack([np.zeros((48, 72, 3), np.uint8), shape]))
    for image in (black, black.convert("LA"), black.quantize(4)):  # the last with the alpha of a palette
        seen = _shown(_file(image, "PNG"))
        assert seen[20, 30].max() < 3 and seen[0, 0].min() > 252
    deep = np.dstack([np.zeros((48, 72, 3), np.uint16), shape.astype(np.uint16) * 257])
    seen = _shown(cv2.imencode(".png", deep)[1].tobytes())
    assert seen.dtype == np.uint8 and seen[20, 30].max() == 0 and seen[0, 0].min() == 255


def _grey_png(depth, row, clear):
    """Two equal rows of 4 pixels, in which the grey `clear` is transparent."""
    header = struct.pack(">IIBBBBB", 4, 2, depth, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"tEXt", b"a\0tRNS"), (b"tRNS", struct.pack(">H", clear)), (b"IEND", b"")
    chunks = (*chunks[:3], (b"IDAT", zlib.compress((b"\0" + row) * 2)), *chunks[3:])
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@pytest.mark.parametrize(
    ("depth", "row", "clear", "seen"),
    [
        (1, b"\x50", 0, [255, 255, 255, 255]),
        (2, b"\x1b", 1, [0, 255, 170, 255]),
        (4, b"\x5a\xf0", 5, [255, 170, 255, 0]),
        (8, b"\7\x08\xff\0", 7, [255, 8, 255, 0]),
        (8, b"\7\x08\xff\0", 0x0107, [255, 8, 255, 0]),  # the bits above the depth mean nothing
        (16, struct.pack(">4H", 300, 301, 65535, 0), 300, [255, 1, 255, 0]),
        (8, b"\7\x08\xff\0", 9, [7, 8, 255, 0]),
    ],
)
def test_a_transparent_grey_lies_on_white(depth, row, clear, seen):
    assert _shown(_grey_png(depth, row, clear))[..., 0].tolist() == [seen] * 2


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_transparent_grey_turns_with_the_picture(orientation):
    grey = COLOURS[..., 0]
    data = _file(PIL.Image.fromarray(grey), "PNG", transparency=int(grey[0, 0]), exif=_exif(orientation))
    upright = np.rot90(np.where(grey == grey[0, 0], 255, grey), {1: 0, 3: 2, 6: 3}[orientation])
    np.testing.assert_array_equal(_shown(data), upright[..., None].repeat(3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_everywhere_alike(orientation, tmp_path):
    image = PIL.Image.fromarray(COLOURS)
    upright = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(
        _file(image, "PNG", exif=_exif(orientation))))))  # fmt: skip
    data = _file(image, "JPEG", quality=95, subsampling=0, exif=_exif(orientation))
    assert np.abs(_shown(data).astype(int) - upright).mean() < 6
    np.testing.assert_array_equal(_shown(_file(image, "PNG", exif=_exif(orientation))), upright)
    (tmp_path / "a.jpg").write_bytes(data)
    (jpeg,) = images.from_files(str(tmp_path), 10).jpegs  # what deflation learns from
    assert np.abs(_shown(jpeg).astype(int) - upright).mean() < 9
    assert (jpeg == data) == (orientation == 1)  # what is upright is not encoded again


@pytest.mark.parametrize("orientation", [3, 6])
def test_alpha_turns_with_the_picture(orientation):
    data = _file(_with_alpha(ALPHA), "PNG", exif=_exif(orientation))
    upright = np.rot90(ON_WHITE, {3: 2, 6: 3}[orientation])
    np.testing.assert_allclose(_shown(data), upright, atol=1)


def test_avif():
    seen = _shown(_file(_with_alpha(ALPHA), "AVIF", quality=100))
    assert np.abs(seen - ON_WHITE).mean() < 6


def test_what_is_no_picture_or_too_large_says_so():
    data = _file(PIL.Image.fromarray(COLOURS), "PNG")
    for kind in ("PNG", "AVIF"):
        with pytest.raises(picture.TooLarge, match="72x48, over 1000 pixels"):
            picture.decode(_file(PIL.Image.fromarray(COLOURS), kind), 1000)
    for broken in (b"", data[:60], b"nothing", b"\0\0\0\x20ftypavif" + bytes(99)):
        with pytest.raises(ValueError, match="no picture that can be decoded|"):
            picture.decode(broken, MANY)


def test_what_is_left_out_of_a_folder_is_counted(tmp_path, capsys):
    for name in ("a.png", "b.HEIC", "c.heic", "d.txt", "e"):
        (tmp_path / name).write_bytes(_file(PIL.Image.fromarray(COLOURS), "PNG"))
    assert len(images.from_files(str(tmp_path), 10)) == 1
    assert "left out, being neither JPEG nor PNG: 2 .heic, 1 .txt, 1 without an ending" in capsys.readouterr().out
