"""Augmentation of frames against the reference's values, and the values that networks get."""

import types

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import jpeg
from helpers.system_arrays import arrays, video
from mmv_tf.evaluation import networks
from mmv_tf.export import signatures
from mmv_tf.inputs.augmentation import frames as changes
from mmv_tf.inputs.video import VideoInput

STILL = dict(scale_jitter_probability=0.0, flip_probability=0.0, colour_probability=0.0, jit_compile=False)
JPEGS = tf.constant([jpeg(level, 40, 48) for level in (60, 200)])


def video_input(**settings):
    return VideoInput(**{"num_frames": 2, "min_side": 40, "crop_size": 32, **STILL, **settings})


def _probes(frames):
    flat = np.asarray(frames).reshape(-1)
    return flat[np.linspace(0, flat.size - 1, 256).astype(np.int64)]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blur/sigma0.1", lambda x: changes.blur(x, 0.1, 22)),
        ("blur/sigma0.7", lambda x: changes.blur(x, 0.7, 22)),
        ("blur/sigma2.0", lambda x: changes.blur(x, 2.0, 22)),
        ("solarized", changes.solarise),
        ("grey", changes.grey),
    ],
)
def test_what_is_done_to_frames_equals_the_reference(name, change):
    picture = tf.constant(video(1, 1, 32, 40, 181)[0])
    np.testing.assert_allclose(_probes(change(picture)), arrays("cvrl_input")[name], atol=1e-5)


def test_windows_of_random_size_keep_to_area_and_aspect():
    def window(seed):
        return changes.resized_window(tf.constant([60, 80]), tf.stack([seed, 1]), (0.3, 1.0), (0.5, 2.0))

    found = np.stack([window(tf.constant(seed, tf.int64)) for seed in range(300)])
    area, aspect = found[:, 2] * found[:, 3] / 4800, found[:, 3] / found[:, 2]
    assert area.min() == pytest.approx(0.3, abs=0.03) and area.max() > 0.9
    assert 0.49 < aspect.min() < 0.6 and 1.7 < aspect.max() < 2.05
    assert (found[:, :2] >= 0).all() and (found[:, :2] + found[:, 2:] <= [60, 80]).all()
    assert np.std(found[:, 1]) > 5


def test_colour_in_steps_is_clipped_after_each():
    frames = tf.constant(np.linspace(0, 1, 2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3))
    draw, ranges = tf.constant([1.0, 0.0, 0.5, 0.5]), (0.5, 0.4, 0.3, 0.2)  # 1.5 times as bright, 0.6 of the contrast
    x = frames.numpy()

    def contrast(x):
        mean = x.mean(axis=(0, 1, 2))
        return np.clip(mean + 0.6 * (x - mean), 0, 1)

    for order, wanted in (
        ([0, 1, 2, 3], contrast(np.clip(1.5 * x, 0, 1))),
        ([3, 1, 0, 2], np.clip(1.5 * contrast(x), 0, 1)),
    ):
        np.testing.assert_allclose(changes.jitter(frames, draw, tf.constant(order), ranges), wanted, atol=2e-3)
    turned = changes.jitter(
        frames[:, :1, :1] * [1.0, 0, 0], tf.constant([0.5, 0.5, 0.5, 1.0]), tf.range(4), (0, 0, 0, 1 / 3)
    )
    assert np.abs(turned[..., 0]).max() < 1e-5 < np.abs(turned[..., 1:]).max()  # red has gone to one of the others


def test_each_step_happens_with_its_probability():
    plain = tf.cast(video_input().training_clip(JPEGS, tf.constant([1, 2])), tf.float32) / 255
    for name, change in (("grey", changes.grey), ("solarise", changes.solarise)):
        seen = video_input(**{f"{name}_probability": 1.0}).training_clip(JPEGS, tf.constant([1, 2]))
        np.testing.assert_allclose(tf.cast(seen, tf.float32) / 255, change(plain), atol=0.005)
    blurred = video_input(blur_probability=1.0, blur_sigma=(1.0, 1.0)).training_clip(JPEGS, tf.constant([1, 2]))
    np.testing.assert_allclose(tf.cast(blurred, tf.float32) / 255, changes.blur(plain, 1.0, 3), atol=0.005)
    some = video_input(grey_probability=0.5, crop_size=16)
    is_grey = [np.ptp(some.training_clip(JPEGS, tf.constant([1, s])).numpy(), axis=-1).max() == 0 for s in range(24)]
    assert 4 < sum(is_grey) < 20
    steps = video_input(
        colour_order="random", colour_probability=1.0, brightness=0.8, hue=0.0, contrast=0.0, saturation=0.0
    )
    levels = [steps.training_clip(JPEGS, tf.constant([1, s])).numpy()[:, :, :4].mean(axis=(1, 2, 3)) for s in range(12)]
    assert min(one[0] for one in levels) < 40 and max(one[0] for one in levels) > 75
    assert all(one[1] == pytest.approx(min(255, one[0] * 200 / 60), abs=6) for one in levels)  # all frames alike


def test_crops_of_random_size_stored_pixels_and_random_sides():
    resized = video_input(crop_area=(0.1, 0.3)).training_clip(JPEGS, tf.constant([1, 2]))
    assert resized.shape == (2, 32, 32, 3)
    stored = tf.io.decode_jpeg(JPEGS[0]).numpy()
    crop = video_input(crop_only=True, min_side=36, crop_size=24).training_clip(JPEGS, tf.constant([1, 2])).numpy()[0]
    places = [(i, j) for i in range(17) for j in range(25) if np.array_equal(stored[i : i + 24, j : j + 24], crop)]
    assert len(places) == 1
    sides = video_input(min_side=32, max_side=40)
    windows = [sides._random_window(tf.constant([40.0, 48.0]), tf.zeros([5]), draw) for draw in (0.0, 0.5, 0.999)]
    np.testing.assert_allclose([w[2] for w in windows], [40.0, 40 * 32 / 36, 32.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_area": (0.5, 0.2)}, "VideoInput.crop_area = (0.5, 0.2): the second number must be above the first"),
        ({"crop_area": (0.0, 0.5)}, "VideoInput.crop_area = (0.0, 0.5): the first number must be above 0"),
        ({"value_range": (1.0, 1.0)}, "VideoInput.value_range = (1.0, 1.0): the second"),
        ({"mean": (0.5,)}, "VideoInput.mean = (0.5,): there are three channels"),
        (
            {"deviation": (0.5, 0.0, 1.0)},
            "VideoInput.deviation = (0.5, 0.0, 1.0): item 2, 0.0, must be a number above 0",
        ),
        ({"max_side": 30}, "VideoInput.max_side = 30 is less than VideoInput.min_side = 40"),
        ({"crop_only": True, "crop_area": (0.1, 1.0)}, "VideoInput.crop_only does not resize"),
    ],
)
def test_settings_that_contradict_are_refused(settings, message):
    with pytest.raises(ValueError) as caught:
        video_input(**settings)
    assert message in str(caught.value)


def test_mean_deviation_and_range_reach_every_network_and_no_picture():
    seen = VideoInput(value_range=(-1.0, 1.0), mean=(0.1, 0.2, 0.3), deviation=(0.5, 1.0, 2.0), jit_compile=False)
    pixels = np.array([[[0, 51, 255]]], np.uint8)
    wanted = np.float32([(-1 - 0.1) / 0.5, (-0.6 - 0.2) / 1.0, (1 - 0.3) / 2.0])
    np.testing.assert_allclose(seen.to_float(pixels)[0, 0], wanted, rtol=1e-6)
    np.testing.assert_allclose(seen.restored(wanted), [0, 0.2, 1.0], atol=1e-6)
    assert not VideoInput(jit_compile=False).normalises

    class Means:
        """Mean values of what it gets."""

        trainable_variables = variables = []

        def __call__(self, inputs, training):
            return tf.reduce_mean(inputs, list(range(1, inputs.shape.rank - 1)))

        def endpoints(self, inputs, training):
            return {"embedding": self(inputs, training)}

    model = types.SimpleNamespace(
        backbones={"video": Means()},
        graph=types.SimpleNamespace(modalities=("video",), spaces_of=lambda m: (), path=None),
        heads={},
        trainable_variables=[],
        named_variables=dict,
        embed_repr=lambda modality, x, training, every_space=False: {"repr": x},
    )
    pipeline = types.SimpleNamespace(video=seen, audio=None, text=None)
    clips = np.broadcast_to(pixels, (1, 2, 4, 4, 3))
    network = networks.of_model(model, pipeline, image_network=None)
    np.testing.assert_allclose(network.function("video", "before_head")(tf.constant(clips))[0], wanted, rtol=1e-5)
    tuned = network.trainable["video"].call(tf.constant(clips, tf.float32) / 255, False)
    np.testing.assert_allclose(tuned[0], wanted, rtol=1e-5)
    loaded = types.SimpleNamespace(model=model, pipeline=pipeline)
    exported = signatures.embed_function(loaded, "video", Means())(tf.constant(clips, tf.float32) / 255)
    np.testing.assert_allclose(exported["before_head"][0], wanted, rtol=1e-5)
