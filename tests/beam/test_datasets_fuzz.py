"""Damaged annotation files end in Inputs, or in a ValueError of one line; in nothing else."""

import random

import pytest

from helpers import annotations
from mmv_tf.beam.datasets import catalog

MUTATIONS = 300

_PIECES = [
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\r\n",
        b"\r",
        b"\n",
        b",",
        b'"',
        b'""',
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b":",
        b" ",
        b"\t",
        b"<",
        b"&amp;",
        b"<![CDATA[",
        b"NaN",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"null",
        b"true",
        b"'",
        b"#",
        b"\\u0000",
    ),
    *(b"../../etc/passwd", b"-", b"x" * 5000, b"[" * 3000, b"\xe2\x80\xae", b"%s%n", b"\\ud800", b"-Infinity"),
]


def _mutate(data, rng):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(6)
        if kind == 0:
            data[at:at] = rng.choice(_PIECES)
        elif kind == 1:
            del data[at : at + rng.randint(1, 30)]
        elif kind == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.randint(1, 80)]
        else:
            data[at : at + rng.randint(1, 8)] = rng.choice(_PIECES)
    return bytes(data)


@pytest.mark.parametrize("maker", annotations.ALL, ids=lambda maker: maker.__name__)
def test_300_mutations(tmp_path, maker):
    name, request, files = maker(tmp_path)
    files = [(path, path.read_bytes()) for path in files]
    rng, read = random.Random(maker.__name__), 0
    for number in range(MUTATIONS):
        path, content = rng.choice(files)
        path.write_bytes(_mutate(content, rng))
        try:
            inputs = catalog.read(name, request)
            for source in inputs.sources:
                source.path.encode()
                assert all(0 <= clip.start < (clip.end or 1e9) for clip in source.clips)
                labels = {label for clip in source.clips for label in clip.labels}
                assert labels <= set(inputs.labels)
            for rejection in inputs.rejections:
                "".join(rejection).encode()
            read += 1
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, number
            assert not isinstance(error, UnicodeError), number
        path.write_bytes(content)
    assert 0 < read < MUTATIONS  # both ends were seen
