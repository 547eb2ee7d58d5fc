"""Networks behind one interface: what is put into them, and what is fresh in a fresh one."""

import types

import numpy as np
import tensorflow as tf

from helpers import graphs, tiny, tiny_export, toy
from mmv_tf.backbones.batch_norm import BatchNorm
from mmv_tf.common import config
from mmv_tf.evaluation import networks, protocol, run
from mmv_tf.evaluation.classifiers import Classifier
from mmv_tf.evaluation.features import Extractor
from mmv_tf.evaluation.linear import LinearAudio
from mmv_tf.evaluation.networks import Network
from mmv_tf.inputs.pipeline import InputPipeline
from mmv_tf.inputs.video import VideoInput
from mmv_tf.model.mmv import MMV
from mmv_tf.training import workdir


def test_8_bit_pixels_come_as_0_to_1():
    shown = Network("network", "1", {"video": lambda x: {"it": tf.reduce_mean(x, [1, 2, 3])}}, {"video": ("it",)})
    frames = tf.constant(np.full((2, 3, 4, 4, 3), 255, np.uint8))
    np.testing.assert_allclose(shown.function("video", "it")(frames), np.ones((2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(shown.function("video", "it")(tf.ones([2, 3, 4, 4, 3])), np.ones((2, 3)))


def test_a_fresh_network_keeps_the_word_vectors_that_training_leaves_alone():
    """Otherwise the baseline would lack what was given to the network, and not learned by it."""
    kept, run_of_words_that_are_learned = {}, tiny_export.export()
    for learned in (False, True):
        if learned:
            loaded = run_of_words_that_are_learned.loaded
            workdir.parse_config(str(run_of_words_that_are_learned.workdir))
        else:
            loaded = workdir.load(str(run_of_words_that_are_learned.workdir), ["TextNetwork.learned = False"])
        fresh, _ = run._fresh(7, loaded)
        trained = loaded.model.named_variables()
        same = {name: np.array_equal(v, trained[name]) for name, v in fresh.named_variables().items()}
        kept[learned] = same["text/embeddings"]
        assert not same["text/dense/kernel"] and fresh.backbones["text"].learned is learned
    assert kept == {False: True, True: False}


def test_what_concerns_the_training_of_a_network_alone_is_told_beside_its_checksum():
    """A network of which less is trained gives the same features, and is not tuned to the same scores."""
    model = toy.mmv(graphs.disjoint())
    pipeline = types.SimpleNamespace(video=VideoInput(), audio=None, text=None)
    one = networks.of_model(model, pipeline)
    model.backbones["video"].trainable = False
    other = networks.of_model(model, pipeline)
    assert one.checksum == other.checksum
    same = {modality: tuned.settings == other.trainable[modality].settings for modality, tuned in one.trainable.items()}
    assert same == {"video": False, "audio": True}


def test_what_is_bound_for_a_workdir_acts_in_the_scopes_of_its_configuration_too():
    """Of VIDEO = @S3D() it says VIDEO/S3D.rematerialise. A scope that is bound by itself is as it is bound."""
    given = ["S3D.rematerialise = True", "BatchNorm.decay = 0.5", "BatchNorm.epsilon = 0.25"]
    model = workdir.load(str(tiny_export.export().workdir), [*given, "VIDEO/BatchNorm.epsilon = 0.125"]).model
    assert model.backbones["video"].rematerialise
    found = {}
    for modality in ("video", "audio"):
        norms = [layer for layer in model.backbones[modality]._flatten_layers() if isinstance(layer, BatchNorm)]
        found[modality] = {(norm.decay, norm.epsilon) for norm in norms}
    assert found == {"video": {(0.5, 0.125)}, "audio": {(0.5, 0.25)}}


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
    small = ["MMV.backbones = {'video': @S3D(), 'audio': @ResNetV1()}", "S3D.final_endpoint = 'Conv2d_1a_7x7'"]
    small += ["S3D.width = 0.125", "ResNetV1.width = 0.125", "VideoInput.num_frames = 4"]
    small += ["VideoInput.min_side = 32", "VideoInput.max_side = 0", "VideoInput.crop_size = 32"]
    small += [f"FilterBank.sample_rate = {tiny.SAMPLE_RATE}", "FilterBank.max_frequency = 3800.0"]
    config.parse(["gin/systems/gdt.gin"], [f"TRAIN_DATA = '{pattern}'", *small])
    model, pipeline = MMV(), InputPipeline()
    model.build_by_call(pipeline.zeros(batch_size=1))
    network, seen = networks.of_model(model, pipeline), _Seen()
    few = dict(seconds=0.5, train_windows=2, test_windows=2, random_windows=False)
    made = LinearAudio(records=str(tmp_path), folds=(("train", "train"),), classifier=seen, **few)
    made.run(protocol.Comparison(network, None, networks.raw(tiny.SAMPLE_RATE)), Extractor(batch_size=4))
    windows = made.windows(True, tiny.SAMPLE_RATE).dataset([(str(tmp_path / "train-00000-of-00001"), 6, 0, 6)])
    (batch,) = windows.batch(12)
    assert batch["present"].numpy().all()
    maps = model.backbones["audio"].endpoints(pipeline.audio(batch["input"]), training=False)["last_conv"]
    assert maps.shape[1:] == (2, 2, 64)
    np.testing.assert_allclose(seen.features[0], tf.reduce_mean(maps, axis=[1, 2]), rtol=1e-4, atol=1e-5)
