"""Fine-tuning of the video network, end to end, with a linear classifier on its representation."""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf
import tqdm

from mmv_tf.common import files
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count, CountOrNone, NotNegative, Positive, Seed, Share, ShareBelowOne
from mmv_tf.evaluation import protocol
from mmv_tf.evaluation.features import Extractor, named_errors
from mmv_tf.evaluation.labelled import Labelled, slices
from mmv_tf.evaluation.tuner import Tuner
from mmv_tf.evaluation.windows import Windows, whole_shards
from mmv_tf.inputs import shards
from mmv_tf.inputs.shards import read_shard
from mmv_tf.metrics import classification


@configurable
@dataclasses.dataclass
class FineTune(protocol.Protocol):
    """Fine-tunes the network, and the same network with fresh weights: what a training from scratch gets.

    The paper's recipe could not be read; the defaults are those of AVID's UCF101 configuration (Morgado et al. 2021):
    Adam 1e-4, times .3 after epochs 6, 10 and 14 of 16, dropout .5, the classifier alone first.

    Args:
      records, folds, prepare, label_prefix: as in LinearVideo.
      seeds: a run each, for every fold: of the classifier, the order, the windows and the choice of clips.
      clips_per_class: training clips of a class that are used, drawn by the seed; 0 is all.
      epochs: times that every training clip is seen, with one random window.
      warm_up_epochs: epochs before these, in which the classifier alone learns, at 10 times the rate.
      batch_size: windows a step.
      learning_rate, decay, decay_epochs: of the optimiser; times `decay` after each of those epochs.
      weight_decay: decoupled from the gradient.
      optimizer: 'adam', or 'sgd' with a momentum of 0.9 (VATT: 0.005).
      clip_norm: greatest norm of the gradient, 0 for any (VATT: 0.75).
      label_smoothing: share of a label that is spread over all classes (VATT: 0.1).
      dropout: in front of the classifier.
      shuffle: records that are permuted among themselves.
      num_frames, frame_rate, min_side, crop_size, flip_probability, scale_jitter, colour_probability: as in Windows.
      test_windows: of a test clip, evenly spaced; their logits are averaged.
    """

    records: str = ""
    folds: protocol.Folds = (("train", "test"),)
    prepare: str = ""
    label_prefix: str = ""
    seeds: Sequence[Seed] = (0,)
    clips_per_class: CountOrNone = 0
    epochs: Count = 16
    warm_up_epochs: CountOrNone = 1
    batch_size: Count = 32
    learning_rate: Positive = 1e-4
    decay: NotNegative = 0.3
    decay_epochs: Sequence[CountOrNone] = (6, 10, 14)
    weight_decay: NotNegative = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    clip_norm: NotNegative = 0.0
    label_smoothing: ShareBelowOne = 0.0
    dropout: ShareBelowOne = 0.5
    shuffle: Count = 256
    num_frames: Count = 32
    frame_rate: Positive = 12.5
    min_side: Count = 224
    crop_size: Count = 224
    flip_probability: Share = 0.5
    scale_jitter: ShareBelowOne = 0.2
    colour_probability: Share = 0.8
    test_windows: Count = 10
    modalities = ("video",)

    def run(self, compared: protocol.Comparison, extractor: Extractor) -> protocol.Measured:
        networks, found, tests, tuners = compared.trained_and_not(), [], [], {}
        for name, network in networks.items():
            if "video" not in network.trainable:
                raise ValueError(f"the {name} network cannot be fine-tuned: its module has no variables to train")
        patterns = [[protocol.split_pattern(self.records, s, self.prepare) for s in fold] for fold in self.folds]
        for pair, (_, test_name) in zip(patterns, self.folds, strict=True):
            train, test = (Labelled.read(p, "video", self.label_prefix, "FineTune.label_prefix") for p in pair)
            train.check_classes(test)
            tests.append(test)
            records = [extractor.contents(pattern) for pattern in pair]
            targets = np.array([train.classes.index(label) for label in test.labels])
            for seed in self.seeds:
                chosen = train.draw(self.clips_per_class, seed)
                outcomes = {"chance": classification.top_k(chosen.frequencies(len(test.keys)), targets)}
                for name, network in networks.items():
                    title = f"{name}, {protocol.named(test_name)}, seed {seed}"
                    path = self._path(extractor.cache, [name, network.checksum, seed, records, chosen.keys, test.keys])
                    scores = _read(path)
                    if scores is None:
                        kind = (network.trainable["video"], len(train.classes), self.dropout, self.weight_decay)
                        kind += (self.label_smoothing, self.optimizer, self.clip_norm)
                        if (name, kind[1]) not in tuners:
                            tuners[name, kind[1]] = Tuner(*kind)
                        tuner = tuners[name, kind[1]]
                        try:
                            self._train(tuner, chosen, seed, title, extractor.stop)
                            scores = self._test(tuner, test, extractor)
                        finally:
                            tuner.restore()
                        _write(path, scores)
                    outcomes[name] = classification.top_k(scores, targets)
                counts = {"train": len(chosen.keys), "test": len(test.keys)}
                found.append((f"{protocol.named(test_name)}, seed {seed}", counts, outcomes))
        reported = found[0][2]["chance"]
        return protocol.Measured(
            measures=[classification.Measure(name, name, "mean") for name in reported],
            outcomes={
                name: {key: [outcomes[name][key] for *_, outcomes in found] for key in reported}
                for name in (*networks, "chance")
            },
            items=[key for test in tests for key in test.keys],
            folds=[{"name": name, **counts} for name, counts, _ in found],
            n={"test": sum(len(test.keys) for test in tests), "classes": len(train.classes)},
            left_out={key: sum(test.left_out[key] for test in tests) for key in test.left_out},
            notes=["untrained: the same network trained from scratch with the same recipe"],
            seeds=len(self.seeds),
        )

    def _path(self, cache, made_of) -> str:
        """Where the scores of a run are kept; '' for nowhere."""
        without = ("records", "seeds", "folds", "prepare")
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in without}
        digest = hashlib.sha256(json.dumps([made_of, settings, 3], sort_keys=True).encode()).hexdigest()
        return os.path.join(cache, f"tuned-{made_of[0]}-{digest[:16]}.npy") if cache else ""

    def _windows(self, random: bool) -> Windows:
        return Windows.as_in(self, "video", 1 if random else self.test_windows, random)

    def _train(self, tuner: Tuner, train: Labelled, seed: int, title: str, stop) -> None:
        """A run of fine-tuning. FloatingPointError names the step where the loss is NaN or Inf."""
        tf.random.set_seed(seed)  # on which the order of tf.data depends beside its own
        epochs = self.warm_up_epochs + self.epochs
        steps = -(-len(train.keys) // self.batch_size)  # an epoch
        with tqdm.tqdm(total=steps * epochs, unit="step", desc=title, dynamic_ncols=True) as bar:
            for number, (frames, labels) in enumerate(self._training_batches(train, seed, epochs)):
                if number == 0:
                    tuner.reset(frames, seed)
                epoch = number // steps - self.warm_up_epochs
                rate = self.learning_rate * self.decay ** sum(epoch >= after for after in self.decay_epochs)
                rate = rate if epoch >= 0 else 10 * self.learning_rate
                loss = tuner.step(frames, labels, rate, (seed, number), end_to_end=epoch >= 0)
                if not np.isfinite(loss):
                    raise FloatingPointError(f"fine-tuning ({title}): the loss is {loss} at step {number}")
                bar.update()
                if stop:
                    stop()

    def _training_batches(self, train: Labelled, seed: int, epochs: int):
        """Batches (frames uint8 [B,T,H,W,3], class [B]) of all epochs, each in an order and with windows of its own."""
        window = dataclasses.replace(self._windows(random=True), seed=seed).function()
        found, class_of = shards.find(train.pattern), train.class_of()
        steps = -(-len(train.keys) // self.batch_size)

        def example(number, serialized):
            return window(number, serialized)["input"], class_of(serialized)

        # Shuffled anew in every epoch, by a sequence of seeds that follows from the first.
        kept = slices(found).shuffle(len(found.files), seed=seed).flat_map(read_shard)
        kept = kept.filter(lambda serialized: class_of(serialized) >= 0).shuffle(self.shuffle, seed=seed)
        # The last batch of an epoch is filled with clips of the next order, so that all steps have one shape.
        numbered = kept.repeat().take(steps * self.batch_size).repeat(epochs).enumerate()
        clips = numbered.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return named_errors(clips.batch(self.batch_size, drop_remainder=True).prefetch(2))

    def _test(self, tuner: Tuner, test: Labelled, extractor: Extractor) -> np.ndarray:
        """Scores [N, C] of the test clips: the mean of the logits of their windows."""
        table, scores, seen = {key: i for i, key in enumerate(test.keys)}, None, 0
        batches = self._windows(random=False).dataset(whole_shards(shards.find(test.pattern)))
        for batch in named_errors(batches.batch(extractor.batch_size).prefetch(2)):
            size = len(batch["key"])
            frames = tf.gather(batch["input"], tf.minimum(tf.range(extractor.batch_size), size - 1))
            logits = tuner.logits(frames).numpy()[:size]
            scores = np.zeros((len(test.keys), logits.shape[1])) if scores is None else scores
            for key, row in zip(batch["key"].numpy(), logits, strict=True):
                if (place := table.get(key.decode(errors="replace"))) is not None:
                    scores[place] += row / self.test_windows
                    seen += 1
        if seen != len(test.keys) * self.test_windows:
            raise ValueError(f"{test.pattern[0]}: clips have the same key, so that their scores cannot be told apart")
        return scores


def _read(path: str) -> np.ndarray | None:
    if not path or not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return np.load(io.BytesIO(file.read()), allow_pickle=False)


def _write(path: str, scores: np.ndarray) -> None:
    if path:
        tf.io.gfile.makedirs(os.path.dirname(path))
        content = io.BytesIO()
        np.save(content, scores)
        files.write_bytes(path, content.getvalue())
