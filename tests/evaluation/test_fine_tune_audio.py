"""Fine-tuning of sound: what is learned, of one label a clip and of several, and what is refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from helpers import record_fixtures as fixtures
from mmv_tf.evaluation import protocol, tuner
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.fine_tune import FineTuneAudio
from mmv_tf.evaluation.labelled import Labelled
from mmv_tf.evaluation.networks import Network, Trainable


def _hearing(name, seed):
    """Loudness of 10 parts of the sound -> 4 numbers."""
    weights = tf.Variable(np.random.default_rng(seed).normal(size=(10, 4)), dtype=tf.float32)

    def call(sound, training):
        parts = tf.reshape(sound[:, : sound.shape[1] // 10 * 10], [-1, 10, sound.shape[1] // 10])
        return tf.tanh(tf.reduce_mean(tf.abs(parts), axis=2) @ weights)

    tuned = {"audio": Trainable(call, [weights], [weights])}
    return Network(name, str(seed), {}, {"audio": ("before_head",)}, fixtures.SAMPLE_RATE, trainable=tuned)


@pytest.fixture
def heard():
    return protocol.Comparison(_hearing("network", 0), _hearing("untrained", 1), Network("raw", "", {}, {}))


def _sound_of(key, labels, levels, seconds=1.0):
    """A record of noise with these levels one after the other, and no frames."""
    noise = np.random.default_rng(len(key) + sum(map(ord, key))).uniform(-1, 1, int(seconds * fixtures.SAMPLE_RATE))
    loud = np.repeat(levels, -(-len(noise) // len(levels)))[: len(noise)]
    record = fixtures.record(key, num_frames=0, sound=False, label=None)
    labels = tuple(enumerate(labels))
    return dataclasses.replace(record, waveform=(noise * loud).astype(np.float32), labels=labels)


def _listen(records, **options):
    given = dict(seconds=0.2, test_windows=2, batch_size=8, epochs=20, warm_up_epochs=1, learning_rate=0.1, dropout=0.0)
    return FineTuneAudio(records=str(records), **{**given, "decay_epochs": (12,), **options})


def test_several_labels_have_a_logistic_loss_each_that_rare_ones_weigh_in():
    """vatt, modeling/backbones/audio/factory.py, with loops."""
    network = _hearing("network", 0).trainable["audio"]
    sound, targets = (
        np.random.default_rng(0).normal(size=(4, 20)),
        np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]),
    )
    sound, targets = tf.constant(sound, tf.float32), tf.constant(targets, tf.float32)
    made = {balance: tuner.Tuner(network, 3, 0.0, 0.0, several=True, balance=balance) for balance in (False, True)}
    losses = {}
    for balance, one in made.items():
        one.reset(sound, 1)
        np.testing.assert_allclose(one._head.bias, -np.log(2), rtol=1e-6)
        chances = 1 / (1 + np.exp(-one.logits(sound).numpy().astype(float)))
        losses[balance] = one.step(sound, targets, 0.1, (0, 0), False)
    own = [sum(-np.log(chances[i, c] if targets[i, c] else 1 - chances[i, c]) for c in range(3)) for i in range(4)]
    weights = [1 / 3, (1 / 3 + 1) / 2, 1 / 3, 0]  # three clips are of the first class, one of the second
    np.testing.assert_allclose(losses[False], np.mean(own), rtol=1e-5)
    np.testing.assert_allclose(losses[True], np.mean(np.multiply(own, weights)), rtol=1e-5)


def test_sound_is_learned(tmp_path, heard):
    """As VATT does it; with the defaults: the test of several labels."""
    heard.untrained = None
    for split, count in (("train", 8), ("test", 4)):
        clips = [
            _sound_of(f"{split}{label}{n}", (label,), [level]) for n in range(count) for label, level in LEVELS.items()
        ]
        clips += [_sound_of(f"{split}-mute", ("loud",), [0.0]), _sound_of(f"{split}-bare", (), [0.5])]
        fixtures.write_shards(tmp_path, [clips], split, card=False)
    options = dict(mixup=5.0, optimizer="sgd", cosine=True, decay_epochs=())
    found = _listen(tmp_path, **options).run(heard, Extractor(batch_size=3))
    assert found.outcomes["network"]["top1"][0].tolist() == [True] * 8
    assert found.outcomes["chance"]["top1"][0].mean() == 0.5 and found.n == {"test": 8, "classes": 2}
    assert found.left_out == {f"{side}: no {what}": 1 for side in ("train", "test") for what in ("audio", "label")}


LEVELS = {"faint": 0.05, "loud": 0.9}


def test_windows_of_silence_do_not_count_where_others_have_sound(tmp_path):
    clips = [
        _sound_of("half", ("a",), [0.0, 0.8]),  # the first window is silent
        _sound_of("between", ("a",), [0.0, 0.0, 0.9, 0.0, 0.0]),  # both windows are
    ]
    pattern = [fixtures.write_shards(tmp_path, [clips], "test", card=False)]

    class Loudness:
        def logits(self, sound):
            return tf.reduce_mean(tf.abs(sound), axis=1, keepdims=True) + 1.0

    one, test = _listen(tmp_path), Labelled.read(pattern, "audio", "", "")
    scores = one._test(Loudness(), test, Extractor(), one._windows(False, 1000))
    np.testing.assert_allclose(scores[:, 0], [1 + np.abs(clips[0].waveform[-200:]).mean(), 1.0], rtol=1e-5)


def test_several_labels_of_sound_are_learned_and_measured_as_the_linear_protocol_does(tmp_path, heard):
    """Loud in the first half, the last, both or none: 'first' and 'last'. 'rare' is not tested, 'new' not learned."""
    heard.untrained = None
    halves = {("first",): [0.9, 0.05], ("last",): [0.05, 0.9], ("first", "last"): [0.9, 0.9], (): [0.05, 0.05]}
    for split, count in (("train", 6), ("test", 3)):
        clips = [
            _sound_of(f"{split}{'+'.join(names)}{n}", names, levels, seconds=0.2)
            for n in range(count)
            for names, levels in halves.items()
        ]
        if split == "train":
            clips.append(_sound_of("train-rare", ("rare",), [0.05, 0.05], seconds=0.2))
        else:
            clips.append(_sound_of("test-new", ("new",), [0.05, 0.05], seconds=0.2))
        fixtures.write_shards(tmp_path, [clips[:5], clips[5:]], split, card=False)
    found = _listen(tmp_path, several_labels=True, balance=True, epochs=8, learning_rate=0.3).run(
        heard, Extractor(batch_size=5)
    )
    np.testing.assert_allclose(found.outcomes["network"]["average_precision"][0], [1.0, 1.0])
    np.testing.assert_allclose(found.outcomes["chance"]["average_precision"][0], [6 / 13, 6 / 13])
    np.testing.assert_allclose(found.outcomes["chance"]["area_under_roc"][0], [0.5, 0.5])
    assert [measure.name for measure in found.measures] == ["mAP", "d_prime"]
    assert found.n == {"test": 13, "classes": 2} and len(found.items) == 13
    assert found.notes[1:] == [
        "6 training and 3 test clips have no label: wrong ones for all classes",
        "1 of 3 classes cannot be measured on the test set",
        "1 classes of the test set have no training clip, 'new' among them",
    ]


def test_what_is_for_one_label_a_clip_is_refused_with_several():
    for name, value in (("label_smoothing", 0.1), ("clips_per_class", 5)):
        with pytest.raises(ValueError, match=f"FineTuneAudio.{name} = {value} is for one label a clip"):
            _listen("", several_labels=True, **{name: value})
