"""Starter weights: the demo's network as one small file, to try search and embedding within a minute.

    python -m demo.starter --build build/demo --output build/starter      # `make starter` runs the demo before it

Writes OUTPUT/mmv_tf-starter-VERSION.tar.gz and its sha256. The same export gives the same bytes.
"""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import tarfile

import mmv_tf
from demo.stages import one_line_errors
from mmv_tf.common.files import whole_file, write_text

NAME = "mmv_tf-starter"
MOST_BYTES = 50 << 20  # of a small release asset
LIMITS = """\
# Starter weights of mmv_tf {version}: games, and not the world

The network of `make demo`: {megabytes:.0f} MB, trained for minutes on a CPU on short recordings of 24 video games with
their own sound and a loose narration of some two hundred sentences.

    tar xzf {name}-{version}.tar.gz
    mmv_tf search index my_videos/ --module {name} --index my.index
    python -c "import mmv_tf; print(mmv_tf.load('{name}').embed(text='a spaceship shoots')['text'])"

What it is for: to try `mmv_tf search`, `mmv_tf embed` and `mmv_tf.load` before you have a network of your own. On your
videos it runs, and tells pictures and sounds apart by colour, movement and pitch; it does NOT know people, animals,
places, speech, music or most words ({words} are in its vocabulary, and a text of others says nothing to it). Measure
nothing with it, and judge by it neither MMV nor mmv_tf: train your own (`mmv_tf train --gin_file=gin/own.gin`).

On held-out episodes of its own games (R@1; chance beside it):
{figures}

Licence: that of mmv_tf, Apache-2.0, as far as it is ours to give. The weights were trained on pictures and sounds that
the package ale-py makes (GPL-2.0; it states no licence for the games); neither it nor any game is in this file.
"""


def limits(build: pathlib.Path, megabytes: float) -> str:
    """The text that travels with the weights, with the figures of this very run."""
    results = json.loads((build / "results.json").read_text("utf-8"))
    words = len((build / "vocabulary.txt").read_text("utf-8").split())
    rows = [f"    {pair:<14}{r['trained']['R@1']:>6.0%}  {r['chance']['R@1']:>4.0%}" for pair, r in results.items()]
    about = {"version": mmv_tf.__version__, "name": NAME, "words": words, "megabytes": megabytes}
    return LIMITS.format(**about, figures="\n".join(rows))


def pack(export: pathlib.Path, text: str, output: pathlib.Path) -> str:
    """Writes the archive; its sha256.

    Raises:
      ValueError: a file of the export names a folder of this machine, or it is too large for what it is for.
    """
    contents = {"LIMITS.md": text.encode()}
    for path in sorted(path for path in export.rglob("*") if path.is_file()):
        contents[path.relative_to(export).as_posix()] = path.read_bytes()
    for name, content in contents.items():
        for place in {str(pathlib.Path.home()), str(pathlib.Path.cwd())} - {"/"}:
            if place.encode() + b"/" in content:
                raise ValueError(
                    f"{export / name} names {place}, a folder of this machine: run the demo by `make demo`"
                )
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in sorted(contents.items()):
            info = tarfile.TarInfo(f"{NAME}/{name}")
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    data = packed.getvalue()
    if len(data) > MOST_BYTES:
        raise ValueError(f"{output}: {len(data) >> 20} MB, over {MOST_BYTES >> 20}: no small asset; train gin/demo.gin")
    with whole_file(output) as partial:
        partial.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def check(export: pathlib.Path) -> None:
    """Tries what the text says. ValueError: it gives no vectors."""
    import numpy as np

    model = mmv_tf.load(export)
    film = np.random.RandomState(0).randint(0, 255, (8, 64, 64, 3), np.uint8)
    words = (export / "assets.extra" / "vocabulary.txt").read_text("utf-8").split()
    found = model.embed(video=film, text=words[0])
    if not all(np.isfinite(rows).all() and rows.any() for spaces in found.values() for rows in spaces.values()):
        raise ValueError(f"{export}: gives no vectors of a film and a sentence; run the demo again")


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build/demo", help="folder of the demo (default: %(default)s)")
    parser.add_argument("--output", default="build/starter", help="folder to write (default: %(default)s)")
    arguments = parser.parse_args(argv)
    build, output = pathlib.Path(arguments.build), pathlib.Path(arguments.output)
    with one_line_errors():
        if absent := [name for name in ("export", "results.json", "vocabulary.txt") if not (build / name).exists()]:
            raise ValueError(f"{build}: has no {', '.join(absent)}; `make demo` makes it (own videos are no starter)")
        check(build / "export")
        output.mkdir(parents=True, exist_ok=True)
        size = sum(path.stat().st_size for path in (build / "export").rglob("*") if path.is_file())
        text = limits(build, size / 1e6)
        archive = output / f"{NAME}-{mmv_tf.__version__}.tar.gz"
        digest = pack(build / "export", text, archive)
        write_text(f"{archive}.sha256", f"{digest}  {archive.name}\n")
        print(f"{text}\n{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {digest}")


if __name__ == "__main__":
    main()
