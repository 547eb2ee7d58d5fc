"""Networks behind one interface: what is put into them, and what is fresh in a fresh one."""

import numpy as np
import tensorflow as tf

from helpers import tiny, tiny_export
from mmv_tf.common import config
from mmv_tf.evaluation import networks, protocol, run
from mmv_tf.evaluation.classifiers import Classifier
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.linear import LinearAudio
from mmv_tf.evaluation.networks import Network
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.model.mmv import MMV
from mmv_tf.training import workdir


def test_8_bit_pixels_come_as_0_to_1():
    shown = Network("network", "1", {"video": lambda x: {"it": tf.reduce_mean(x, [1, 2, 3])}}, {"video": ("it",)})
    frames = tf.constant(np.full((2, 3, 4, 4, 3), 255, np.uint8))
    np.testing.assert_allclose(shown.function("video", "it")(frames), np.ones((2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(shown.function("video", "it")(tf.ones([2, 3, 4, 4, 3])), np.ones((2, 3)))


def test_a_fresh_network_keeps_the_word_vectors_that_training_leaves_alone():
    """Otherwise the baseline would lack what was given to the network, and not learned by it."""
    kept = {}
    for learned in (False, True):
        loaded = workdir.load(str(tiny_export.export().workdir), [f"TextNetwork.learned = {learned}"])
        fresh, _ = run._fresh(7, loaded)
        trained = loaded.model.named_variables()
        same = {name: np.array_equal(v, trained[name]) for name, v in fresh.named_variables().items()}
        kept[learned] = same["text/embeddings"]
        assert not same["text/dense/kernel"] and fresh.backbones["text"].learned is learned
    assert kept == {False: True, True: False}


class _Seen(Classifier):
    """Keeps the features that it is to learn from."""

    def __init__(self):
        self.features = []

    def fit(self, features, targets, counted=None):
        self.features.append(features)
        return lambda x: np.zeros((len(x), 2))


def test_a_probe_of_gdts_sound_learns_from_the_last_convolution(tmp_path):
    """As gin/evals/esc50.gin has it: of its residual network the last map of the spectrogram, its mean."""
    pattern = tiny.make_records(tmp_path, count=6, shards=1)
    small = ["ResNetV1.width = 0.125", "VideoResNet.width = 0.0625", "VideoInput.num_frames = 4"]
    small += ["VideoInput.min_side = 32", "VideoInput.max_side = 0", "VideoInput.crop_size = 32"]
    small += [f"FilterBank.sample_rate = {tiny.SAMPLE_RATE}", "FilterBank.max_frequency = 3800.0"]
    config.parse(["gin/systems/gdt.gin"], [f"TRAIN_DATA = '{pattern}'", *small])
    model, pipeline = MMV(), InputPipeline()
    model.build_by_call(pipeline.zeros(batch_size=1))
    network, seen = networks.of_model(model, pipeline), _Seen()
    made = LinearAudio(
        records=str(tmp_path), folds=(("train", "train"),), seconds=0.5, train_windows=2, classifier=seen
    )
    made.run(protocol.Comparison(network, None, networks.raw(tiny.SAMPLE_RATE)), Extractor(batch_size=4))
    windows = made.windows(True, tiny.SAMPLE_RATE).dataset([(str(tmp_path / "train-00000-of-00001"), 6, 0, 6)])
    (batch,) = windows.batch(12)
    assert batch["present"].numpy().all()
    maps = model.backbones["audio"].endpoints(pipeline.audio(batch["input"]), training=False)["last_conv"]
    assert maps.shape[1:] == (2, 2, 64)
    np.testing.assert_allclose(seen.features[0], tf.reduce_mean(maps, axis=[1, 2]), rtol=1e-4, atol=1e-5)
