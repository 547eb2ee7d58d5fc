"""Fine-tuning of the video or the sound network, end to end, with a linear classifier on its representation."""

import collections
import dataclasses
import hashlib
import io
import json
import math
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
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.labelled import (
    Labelled,
    Tagged,
    about_bare,
    about_both,
    check_classes,
    frequencies,
    measurable,
)
from mmv_tf.evaluation.networks import Trainable
from mmv_tf.evaluation.tuner import Tuner
from mmv_tf.evaluation.windows import Windows, whole_shards
from mmv_tf.inputs import shards
from mmv_tf.inputs.augmentation.frames import check_windows
from mmv_tf.inputs.faults import named_errors
from mmv_tf.metrics import classification


@dataclasses.dataclass
class _FineTuning(protocol.Protocol):
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
      cosine: the rate also falls to 0 by half a cosine over the epochs (VATT, which has no decay_epochs).
      ramp: share of the steps of these epochs in which it first rises from 0 (VATT: 0.025).
      weight_decay: decoupled from the gradient.
      optimizer: 'adam', or 'sgd' with a momentum of 0.9 (VATT: 0.005).
      clip_norm: greatest norm of the network's gradient, 0 for any (VATT: 0.75); the classifier's is not bounded.
      label_smoothing: share of a label that is spread over all classes (VATT: 0.1, of video).
      mixup: each clip of a batch is mixed with another one, and its labels with that one's, in shares from
        Beta(mixup, mixup); 0 is none of it (VATT: 5, of sound).
      dropout: in front of the classifier.
      shuffle: records that are permuted among themselves.
      test_windows: of a test clip, evenly spaced; their logits are averaged. Those without sound do not count.
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
    cosine: bool = False
    ramp: ShareBelowOne = 0.0
    weight_decay: NotNegative = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    clip_norm: NotNegative = 0.0
    label_smoothing: ShareBelowOne = 0.0
    mixup: NotNegative = 0.0
    dropout: ShareBelowOne = 0.5
    shuffle: Count = 256
    test_windows: Count = 10
    # Settings where they mean something.
    several_labels, balance, test_crops = False, False, 1

    def run(self, compared: protocol.Comparison, extractor: Extractor) -> protocol.Measured:
        networks, found, tests, tuners = compared.trained_and_not(), [], [], {}
        modality, rate, notes, classes = self.modalities[0], compared.network.sample_rate, [], 0
        left_out: collections.Counter[str] = collections.Counter()
        for name, network in networks.items():
            if modality not in network.trainable:
                raise ValueError(f"the {name} network cannot be fine-tuned: its module has no variables to train")
        patterns = [[protocol.split_pattern(self.records, s, self.prepare) for s in fold] for fold in self.folds]
        for pair, (_, test_name) in zip(patterns, self.folds, strict=True):
            kind, setting = Tagged if self.several_labels else Labelled, f"{type(self).__name__}.label_prefix"
            train, test = (kind.read(p, modality, self.label_prefix, setting) for p in pair)
            check_classes(train.names, test.names, train.classes, self.several_labels)
            tests.append(test)
            records = [extractor.contents(pattern) for pattern in pair]
            sides = {True: train, False: test}
            windows = [extractor.form(self._windows(random, rate), one.pattern) for random, one in sides.items()]
            targets, columns = test.targets(train.classes), np.arange(len(train.classes))
            if self.several_labels:
                columns, about = measurable(targets)
                targets = targets[:, columns]
                notes += [*about_bare(train.labels, test.labels), *about]
                if unknown := sorted(set(test.classes) - set(train.classes)):
                    notes.append(
                        f"{len(unknown)} classes of the test set have no training clip, {unknown[0]!r} among them"
                    )
            classes, learned = max(classes, len(columns)), set()
            for title, one in (("train", train), ("test", test)):
                left_out.update({f"{title}: {reason}": count for reason, count in one.left_out.items()})
            for seed in self.seeds:
                chosen = train.draw(self.clips_per_class, seed)
                learned.update(chosen.stored_keys)
                guessed = frequencies(chosen.names, train.classes, self.several_labels, len(test.keys))[:, columns]
                outcomes = {"chance": classification.outcomes(guessed, targets)}
                for name, network in networks.items():
                    title = f"{name}, {protocol.named(test_name)}, seed {seed}"
                    made_of = [name, network.checksum, network.trainable[modality].settings]
                    made_of += [seed, records, chosen.keys, test.keys]
                    # What an accelerator finishes is kept apart, as features are.
                    made_of += [one.box for one in windows if one.box]
                    path = self._path(extractor.cache, made_of)
                    scores = _read(path)
                    if scores is None:
                        of_network = (name, len(train.classes))
                        if of_network not in tuners:
                            tuners[of_network] = self._tuner(network.trainable[modality], len(train.classes))
                        tuner = tuners[of_network]
                        try:
                            self._train(tuner, chosen, seed, title, extractor.stop, windows[0])
                            scores = self._test(tuner, test, extractor, windows[1])
                        finally:
                            tuner.restore()
                        _write(path, scores)
                    outcomes[name] = classification.outcomes(scores[:, columns], targets)
                counts = {"train": len(chosen.keys), "test": len(test.keys)}
                found.append((f"{protocol.named(test_name)}, seed {seed}", counts, outcomes))
            notes += about_both(learned, test.stored_keys)
        outcomes, left = protocol.over_runs([outcomes for *_, outcomes in found])
        return protocol.Measured(
            measures=classification.measures_of(outcomes["chance"]),
            outcomes=outcomes,
            items=[key for test in tests for key in test.keys],
            folds=[{"name": name, **counts} for name, counts, _ in found],
            n={"test": sum(len(test.keys) for test in tests), "classes": classes},
            left_out=dict(left_out),
            notes=["untrained: the same network trained from scratch with the same recipe", *left, *notes],
            seeds=len(self.seeds),
        )

    def _path(self, cache, made_of) -> str:
        """Where the scores of a run are kept; '' for nowhere."""
        without = ("records", "seeds", "folds", "prepare")
        settings = {k: v for k, v in dataclasses.asdict(self).items() if k not in without}
        described = json.dumps([made_of, type(self).__name__, settings, 5], sort_keys=True)
        digest = hashlib.sha256(described.encode()).hexdigest()
        return os.path.join(cache, f"tuned-{made_of[0]}-{digest[:16]}.npy") if cache else ""

    def _windows(self, random: bool, sample_rate: int) -> Windows:
        count, more = (1, {}) if random else (self.test_windows, {"crops": self.test_crops})
        return Windows.as_in(self, self.modalities[0], count, random, sample_rate=sample_rate, **more)

    def _tuner(self, network: Trainable, num_classes: int) -> Tuner:
        names = ("dropout", "weight_decay", "label_smoothing", "optimizer", "clip_norm", "mixup", "balance")
        given = {name: getattr(self, name) for name in names}
        return Tuner(network, num_classes, several=self.several_labels, **given)

    def _rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, which is below 0 while the classifier learns alone; steps: of an epoch."""
        if step < 0:
            return 10 * self.learning_rate
        rate = self.learning_rate * self.decay ** sum(step // steps >= after for after in self.decay_epochs)
        total = steps * self.epochs
        rising = round(self.ramp * total)
        if step < rising:
            return rate * step / rising
        return rate * (0.5 + 0.5 * math.cos(math.pi * (step - rising) / (total - rising))) if self.cosine else rate

    def _train(self, tuner: Tuner, train: Labelled, seed: int, title: str, stop, windows: Windows) -> None:
        """A run of fine-tuning. FloatingPointError names the step where the loss is NaN or Inf."""
        tf.random.set_seed(seed)  # on which the order of tf.data depends beside its own
        epochs = self.warm_up_epochs + self.epochs
        steps = -(-len(train.keys) // self.batch_size)  # an epoch
        with tqdm.tqdm(total=steps * epochs, unit="step", desc=title, dynamic_ncols=True) as bar:
            for number, (inputs, labels) in enumerate(self._training_batches(train, seed, epochs, windows)):
                if number == 0:
                    tuner.reset(inputs, seed)
                step = number - self.warm_up_epochs * steps
                loss = tuner.step(inputs, labels, self._rate(step, steps), (seed, number), end_to_end=step >= 0)
                if not np.isfinite(loss):
                    raise FloatingPointError(f"fine-tuning ({title}): the loss is {loss} at step {number}")
                bar.update()
                if stop:
                    stop()

    def _training_batches(self, train: Labelled, seed: int, epochs: int, windows: Windows):
        """Batches (inputs, labels) of all epochs, for `Tuner`, each in an order and with windows of its own."""
        clips = self._training_clips(train, seed, epochs, dataclasses.replace(windows, seed=seed))
        for inputs, present, labels in named_errors(clips.batch(self.batch_size, drop_remainder=True).prefetch(2)):
            yield windows.finish(inputs, present), labels

    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes most of the time to build
    def _training_clips(self, train: Labelled, seed: int, epochs: int, windows: Windows) -> tf.data.Dataset:
        window = windows.function()
        found, find = shards.find(train.pattern), train.finder()
        steps = -(-len(train.keys) // self.batch_size)

        def example(number, serialized):
            cut = window(number, serialized)
            return cut["input"], cut["present"], find(serialized)[1]

        # Shuffled anew in every epoch, by a sequence of seeds that follows from the first.
        kept = shards.slices(found).shuffle(len(found.files), seed=seed).flat_map(shards.read_shard)
        kept = kept.filter(lambda serialized: find(serialized)[0]).shuffle(self.shuffle, seed=seed)
        # The last batch of an epoch is filled with clips of the next order, so that all steps have one shape.
        numbered = kept.repeat().take(steps * self.batch_size).repeat(epochs).enumerate()
        return numbered.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _test(self, tuner: Tuner, test: Labelled, extractor: Extractor, windows: Windows) -> np.ndarray:
        """Scores [N, C] of the test clips: the mean of the logits of their windows, all crops of each."""
        table = {key: i for i, key in enumerate(test.stored_keys)}
        counts, sums = np.zeros((2, len(test.keys)), int), None  # of windows without and with sound
        batches = windows.dataset(whole_shards(shards.find(test.pattern)))
        for batch in named_errors(batches.batch(extractor.batch_size).prefetch(2)):
            size = len(batch["key"])
            rows = tf.minimum(tf.range(extractor.batch_size), size - 1)
            whole = tf.nest.map_structure(lambda one: tf.gather(one, rows), (batch["input"], batch["present"]))  # noqa: B023
            logits = tuner.logits(windows.finish(*whole)).numpy()[:size]
            sums = np.zeros((*counts.shape, logits.shape[1])) if sums is None else sums
            for key, there, row in zip(batch["key"].numpy(), batch["present"].numpy(), logits, strict=True):
                if (place := table.get(key)) is not None:
                    sums[int(there), place] += row / windows.views
                    counts[int(there), place] += 1
        # Of a clip whose sound lies between the windows, what is said of silence is all there is.
        heard = np.where(counts[1] > 0, 1, 0)
        every = np.arange(len(test.keys))
        return sums[heard, every] * (windows.views / counts[heard, every])[:, None]


@configurable
@dataclasses.dataclass
class FineTune(_FineTuning):
    """Fine-tunes the video network: see `_FineTuning`, and `Windows` for its frames.

    Args:
      num_frames, frame_rate, min_side, crop_size, flip_probability, scale_jitter, colour_probability: as in Windows.
      crop_area, crop_aspect: a training window is a part of the frame: this share of it, and this width over height,
        each the least and the greatest, resized to crop_size (VATT: 0.08 and 1, 0.5 and 2), as in VideoInput; None:
        a crop of crop_size out of min_side, jittered in scale.
      test_crops: of a test window: 1, the centre, or 3 along the longer side (VATT); their logits are averaged, too.
    """

    num_frames: Count = 32
    frame_rate: Positive = 12.5
    min_side: Count = 224
    crop_size: Count = 224
    flip_probability: Share = 0.5
    scale_jitter: ShareBelowOne = 0.2
    colour_probability: Share = 0.8
    test_crops: Literal[1, 3] = 1
    crop_area: tuple[Share, Share] | None = None
    crop_aspect: tuple[Positive, Positive] | None = None
    modalities = ("video",)

    def __post_init__(self):
        if (self.crop_area is None) != (self.crop_aspect is None):
            given, other = ("crop_area", "crop_aspect") if self.crop_aspect is None else ("crop_aspect", "crop_area")
            raise ValueError(
                f"FineTune.{given} = {getattr(self, given)} and FineTune.{other} = None: a random part of the frame "
                "needs both, such as (0.08, 1.0) of its area and (0.5, 2.0) of width over height"
            )
        if self.crop_area is None:
            return
        check_windows("FineTune", self.crop_area, self.crop_aspect)
        if self.scale_jitter:
            raise ValueError(
                f"FineTune.scale_jitter = {self.scale_jitter} does nothing to a random part of the frame "
                f"(FineTune.crop_area = {tuple(self.crop_area)}): set FineTune.scale_jitter to 0"
            )
        self.crop_area, self.crop_aspect = tuple(self.crop_area), tuple(self.crop_aspect)


@configurable
@dataclasses.dataclass
class FineTuneAudio(_FineTuning):
    """Fine-tunes the sound network: see `_FineTuning`. The front end is that of the run.

    Args:
      seconds: of a window.
      sample_stride: one sample in so many of a window goes to the network (2: every second one), without a filter
        (VATT: 2 of 6.4 s, which are as many as 3.2 s of pretraining).
      several_labels: a clip can have any number of labels: a logistic loss for each class, mAP and d' in place of
        accuracy. One that has none is a wrong one for every class.
      balance: a clip's loss is weighed by how rare its labels are in the batch (VATT).
    """

    seconds: Positive = 3.2
    sample_stride: Count = 1
    several_labels: bool = False
    balance: bool = False
    modalities = ("audio",)

    def __post_init__(self):
        for name in ("label_smoothing", "clips_per_class"):
            if self.several_labels and (value := getattr(self, name)):
                raise ValueError(
                    f"FineTuneAudio.{name} = {value} is for one label a clip, and FineTuneAudio.several_labels is "
                    f"True: set FineTuneAudio.{name} to 0"
                )


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
