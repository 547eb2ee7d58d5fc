"""The image networks of a deflated run (paper section 3.3), measured like the video network: on the middle frame.

    python -m benchmarks.miniature.images --workdir build/miniature/runs/fac-0 --data build/miniature

Measured is what one frame shows: the material, less well the event, and finding pictures by sentence and sound.
"""

import argparse
import json
import pathlib

from benchmarks.miniature import embeddings, measure
from mmv_tf.common.files import whole_file

VARIANTS = ("naive", "trained", "inflated")
PROBES = {"video": ("material", "event")}


def named(values: dict[str, float]) -> dict[str, float]:
    """The measures of pictures, under their own names."""
    return {
        name.replace("video", "image"): value
        for name, value in values.items()
        if "video" in name and "tempo" not in name and "within" not in name
    }


def measure_variants(workdir: pathlib.Path, data: pathlib.Path, variants=VARIANTS, baselines: bool = False) -> dict:
    """{variant: {measure: per cent}}, and with `baselines` 'raw' and 'chance' alike."""
    import tensorflow as tf

    from mmv_tf.deflation.network import image_network
    from mmv_tf.training import workdir as workdirs

    loaded = workdirs.load(str(workdir))
    model, embedder = loaded.model, embeddings.Embedder(loaded, data)
    networks = {name: image_network(model, str(workdir), name, loaded.pipeline.video.num_frames) for name in variants}

    def middle(batch):
        return batch["video"][:, batch["video"].shape[1] // 2]

    @tf.function(autograph=False)
    def embed(images, audio):
        seen = {name: model.embed_repr("video", network(images)) for name, network in networks.items()}
        return {**model.embed({"audio": audio}), **seen}

    def of_batch(batch):
        values = embed(tf.constant(middle(batch)), tf.constant(batch["audio"]))
        return {(m, space): rows.numpy() for m, spaces in values.items() for space, rows in spaces.items()}

    def as_video(part, variant):
        kept = {(m, s): rows for (m, s), rows in part.embeddings.items() if m in ("audio", variant)}
        return embeddings.Part(part.rows, {("video" if m == variant else m, s): rows for (m, s), rows in kept.items()})

    texts = embedder.sentences([s["text"] for s in measure.sentences()])
    parts, found = {name: embedder.part(name, of_batch) for name in embeddings.SPLITS}, {}
    for variant in variants:
        of_variant = {name: as_video(part, variant) for name, part in parts.items()}
        found[variant] = named(measure.probes(of_variant, PROBES) | measure.retrievals(of_variant["test"], texts))
    if baselines:
        bare = {
            name: embedder.part(name, lambda batch: embeddings.raw({**batch, "video": middle(batch)[:, None]}))
            for name in embeddings.SPLITS
        }
        found["raw"] = named(measure.probes(bare, PROBES))
        nothing = embeddings.Part(bare["test"].rows, {})
        found["chance"] = named(measure.probe_chance(bare) | measure.retrievals(nothing, {}))
    return found


def cli(argv=None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.images", description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--data", default="build/miniature", type=pathlib.Path)
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="a run of train --mode=init: nothing is deflated in it; raw frames and chance, too",
    )
    arguments = parser.parse_args(argv)
    variants = ("inflated",) if arguments.untrained else VARIANTS
    result = measure_variants(arguments.workdir, arguments.data, variants, baselines=arguments.untrained)
    with whole_file(arguments.workdir / "images.json") as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    from mmv_tf.common.command import run

    run(cli)
