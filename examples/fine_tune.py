"""Fine-tuning of an export on a few labelled clips, through TensorFlow Hub and tf_keras.

    python examples/fine_tune.py --module exported/demo --baseline exported/demo_untrained \\
      --train 'build/demo/records/train-*' --test 'build/demo/records/test-*'

The label of a clip is the first folder in its key: in the records of the demo, which of 24 games it shows. Test clips
are of episodes that neither pretraining nor fine-tuning saw. The model is what a user of TensorFlow Hub writes: the
video network as a hub.KerasLayer, a linear classifier on it, `fit`. Each seed draws its own labelled clips; the two
modules get the same ones, the same recipe and the same initial classifier.

Measured with the demo's run (400 steps) against its initial weights; accuracy on 432 test clips of 24 games (chance
4 %), mean of three seeds and the least and greatest:

    labelled clips a game    tuned: pretrained, untrained              classifier alone (--frozen)
    1                        86 % (83 to 87)    79 % (75 to 81)        87 % (86 to 90)    23 % (19 to 30)
    2                        92 % (90 to 94)    85 % (83 to 86)        92 % (91 to 93)    20 % (20 to 21)

Which game a clip shows is an easy label, so that an untrained network learns it from a clip or two as well.
"""

import argparse
import collections

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

from mmv_tf.export import module_files
from mmv_tf.export.embedding.clip_cutter import ClipCutter, ClipSettings


def read(pattern, cutter):
    """[(label, key, clip uint8 [T,H,W,3])] of all records; a record gives several clips."""
    files = sorted(tf.io.gfile.glob(pattern))
    if not files:
        raise SystemExit(f"error: no records {pattern}")
    for serialized in tf.data.TFRecordDataset(files).as_numpy_iterator():
        for clip in cutter.cut(serialized):
            yield clip.key.partition("/")[0], clip.key, clip.value


def draw(clips, shots, rs):
    """Indices of `shots` clips a label, each of another record."""
    by_label = collections.defaultdict(dict)
    for index in rs.permutation(len(clips)):
        by_label[clips[index][0]].setdefault(clips[index][1], index)
    return [index for label in sorted(by_label) for index in list(by_label[label].values())[:shots]]


def fine_tune(module, train, test, classes, seed, steps, rate, frozen):
    """Accuracy on `test` after training on `train`, both (clips, labels)."""
    tf_keras.utils.set_random_seed(seed)
    network = hub.KerasLayer(module, trainable=not frozen, output_key="before_head")
    # The usual momentum of .99 would leave the averages stale after so few steps.
    norm = tf_keras.layers.BatchNormalization(momentum=0.9)
    model = tf_keras.Sequential([network, norm, tf_keras.layers.Dense(classes)])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    batches = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train[1]), seed).repeat().batch(16)
    model.fit(batches, steps_per_epoch=steps, verbose=0)
    return model.evaluate(tf.data.Dataset.from_tensor_slices(test).batch(32), verbose=0)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--module", required=True, help="export to fine-tune")
    parser.add_argument("--baseline", required=True, help="export to compare with, such as that of train --mode=init")
    parser.add_argument("--train", required=True, help="pattern of records to draw labelled clips from")
    parser.add_argument("--test", required=True, help="pattern of records to test on")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5], help="labelled clips a class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="of 16 clips")
    parser.add_argument("--rate", type=float, default=0.001, help="learning rate of Adam")
    parser.add_argument("--frozen", action="store_true", help="train the classifier only")
    args = parser.parse_args()
    module_files.parse_config(args.module)
    cutter = ClipCutter(ClipSettings.from_gin(has_audio=False), ["video"])
    labelled, held_out = list(read(args.train, cutter)), list(read(args.test, cutter))
    names = sorted({label for label, _, _ in labelled})

    def arrays(clips):
        frames = np.stack([clip for _, _, clip in clips]).astype(np.float32) / 255
        return frames, np.array([names.index(label) for label, _, _ in clips])

    test = arrays(held_out)
    print(f"{len(names)} labels, {len(test[1])} test clips, chance {1 / len(names):.3f}", flush=True)
    for shots in args.shots:
        found = {args.module: [], args.baseline: []}
        for seed in range(args.seeds):
            train = arrays([labelled[i] for i in draw(labelled, shots, np.random.RandomState(seed))])
            for module, accuracies in found.items():
                accuracies.append(fine_tune(module, train, test, len(names), seed, args.steps, args.rate, args.frozen))
        for module, accuracies in found.items():
            listed = " ".join(f"{accuracy:.3f}" for accuracy in accuracies)
            print(f"{shots:3} a label  {np.mean(accuracies):.3f}  ({listed})  {module}", flush=True)


if __name__ == "__main__":
    main()
