"""Raw inputs that are out of the ordinary, and what an export makes of them (in words: mmv_tf.export.saved_model)."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_export
from mmv_tf.export.signatures import RAW_INPUTS

CLIPS = np.random.RandomState(1).uniform(size=(2, 3, 24, 24, 3)).astype(np.float32)
IMAGES = CLIPS[:, 0]
SOUND = np.random.RandomState(2).uniform(-0.5, 0.5, (2, 4000)).astype(np.float32)


@pytest.fixture(scope="module")
def module():
    return tiny_export.module()


def _call(module, modality, inputs):
    return {key: value.numpy() for key, value in module.signatures[modality](tf.constant(inputs)).items()}


def _assert_same(found, wanted, tolerance=1e-5):
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=tolerance * np.abs(value).max(), err_msg=key)


def _cut(outputs, rows):
    return {key: value[rows] for key, value in outputs.items()}


# Pictures


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 8, 8), (5, 37, 51), (2, 200, 33)])
def test_any_size_and_number_of_frames(module, size):
    frames = np.random.RandomState(0).uniform(size=(2, *size, 3)).astype(np.float32)
    for modality, inputs in (("video", frames), ("image", frames[:, 0])):
        outputs = _call(module, modality, inputs)
        assert all(np.isfinite(value).all() for value in outputs.values())
        # Each sample is embedded for itself.
        _assert_same(_cut(outputs, slice(1)), _call(module, modality, inputs[:1]))
        assert np.abs(outputs["va"][0] - outputs["va"][1]).max() > 0


@pytest.mark.parametrize(("modality", "frames"), [("video", CLIPS), ("image", IMAGES)])
def test_uint8_and_one_channel(module, modality, frames):
    embed = getattr(module.embed, modality)
    bytes_ = np.round(frames * 255).astype(np.uint8)
    wanted = _call(module, modality, (bytes_ / 255).astype(np.float32))
    _assert_same(embed.uint8(tf.constant(bytes_)), wanted)
    grey = bytes_[..., :1]
    wanted = _call(module, modality, np.repeat(grey / 255, 3, axis=-1).astype(np.float32))
    _assert_same(embed.grey_uint8(tf.constant(grey)), wanted)
    _assert_same(embed.grey(tf.constant((grey / 255).astype(np.float32))), wanted)


@pytest.mark.parametrize(("modality", "frames"), [("video", CLIPS), ("image", IMAGES)])
def test_wrong_ranges_are_errors_that_say_so(module, modality, frames):
    for scaled, most in ((255 * frames, "25[0-9]"), (2 * frames - 1, "[.0-9]*")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{modality} takes pixels in \[0, 1\].*\[{most}"):
            _call(module, modality, scaled)
    with pytest.raises(tf.errors.InvalidArgumentError, match="8-bit ones divided by 255"):
        getattr(module.embed, modality)(tf.constant(255 * frames), training=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="8-bit ones divided by 255"):
        _call(module, modality, frames * np.float32(np.inf))
    # What resampling overshoots is left as it is.
    beyond = 1.4 * frames - 0.2
    outputs, clipped = _call(module, modality, beyond), _call(module, modality, np.clip(beyond, 0, 1))
    assert np.abs(outputs["before_head"] - clipped["before_head"]).max() > 1e-3


@pytest.mark.parametrize("modality", ["video", "image"])
def test_wrong_shapes_are_errors(module, modality):
    shape = {"video": (2, 3, 24, 24, 3), "image": (2, 24, 24, 3)}[modality]
    for wrong in ((*shape[:-1], 1), (*shape[:-1], 4), shape[1:], (shape[0], 0, *shape[2:])):
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=rf"{modality} takes a tensor \[B,"):
            _call(module, modality, np.zeros(wrong, np.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected to be a float tensor but is a uint8"):
        _call(module, modality, np.zeros(shape, np.uint8))
    for wrong in (tf.zeros((*shape[:-1], 4)), tf.zeros(shape, tf.uint8)):
        with pytest.raises(TypeError, match="Can not cast TensorSpec"):
            getattr(module.embed, modality)(wrong)


# Sound


def test_lengths_of_sound(module):
    outputs = _call(module, "audio", SOUND[:, :100])  # the window has 256 samples, the stride 128
    _assert_same(outputs, _call(module, "audio", np.pad(SOUND[:, :100], [(0, 0), (0, 28)])))
    assert np.isfinite(_call(module, "audio", SOUND[:, :1])["vat"]).all()
    long = _call(module, "audio", np.tile(SOUND, 20))
    assert long["last_conv"].shape[1] == -(-80000 // 128 // 32)
    # A sound that goes on as it was is embedded as it was, but for the ends.
    short = _call(module, "audio", np.tile(SOUND, 10))
    cosine = np.sum(long["va"] * short["va"], -1) / np.linalg.norm(long["va"], axis=-1)
    np.testing.assert_allclose(cosine / np.linalg.norm(short["va"], axis=-1), 1, atol=0.02)


def test_int16_and_loudness(module):
    samples = np.round(SOUND * 32767).astype(np.int16)
    wanted = _call(module, "audio", samples.astype(np.float32) / 32768)
    _assert_same(module.embed.audio.int16(tf.constant(samples)), wanted)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"audio takes samples in \[-1, 1\] \(16-bit .*\[1[0-9]"):
        _call(module, "audio", samples.astype(np.float32))
    assert np.isfinite(_call(module, "audio", 3 * SOUND)["va"]).all()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"audio takes a tensor \[B,S\].*\[2 0\]"):
        _call(module, "audio", SOUND[:, :0])
    assert np.isfinite(_call(module, "audio", 0 * SOUND)["va"]).all()  # silence


# Sentences


def test_texts_without_a_known_word_give_the_vector_of_the_empty_text(module):
    texts = ["", "xyzzy", "the and of", b"\xff\xfe\xfa", "\x00", "🙂 !?", "x" * 1_000_000, "a red ball"]
    vat = module.signatures["text"](tf.constant(texts))["vat"].numpy()
    assert np.isfinite(vat).all()
    np.testing.assert_array_equal(vat[1:-1], np.repeat(vat[:1], len(texts) - 2, axis=0))
    assert np.abs(vat[-1] - vat[0]).max() > 1e-4


def test_texts_that_are_long_or_broken(module):
    def vat(*texts):
        return module.signatures["text"](tf.constant(texts))["vat"].numpy()

    # Only the first 4096 bytes are looked at, and only the first 16 known words; bad bytes separate words.
    far = vat("red " + " " * 1_000_000 + "ball", "red", "red " * 16 + "ball", b"\xffRED\xfe\xff", "red\x00")
    np.testing.assert_allclose(far, np.repeat(vat("red"), 5, axis=0), rtol=0, atol=1e-6)
    # A character of several bytes that the limit cuts in two does no harm.
    np.testing.assert_allclose(vat("red " + "é" * 4000), vat("red"), rtol=0, atol=1e-6)


# All


@pytest.mark.parametrize(("modality", "inputs"), [("video", CLIPS), ("image", IMAGES), ("audio", SOUND)])
def test_nan_comes_out_where_it_went_in(module, modality, inputs):
    broken = inputs.copy()
    broken[0].flat[inputs[0].size // 2] = np.nan
    outputs = _call(module, modality, broken)
    for value in outputs.values():
        assert np.isnan(value[0]).all()
    _assert_same(_cut(outputs, slice(1, None)), _cut(_call(module, modality, inputs), slice(1, None)))


@pytest.mark.parametrize(("modality", "inputs"), [("video", CLIPS), ("image", IMAGES), ("audio", SOUND)])
def test_nan_does_not_hide_a_sample_that_is_out_of_range(module, modality, inputs):
    broken = inputs.copy()
    broken[0].flat[0], broken[1].flat[0] = np.nan, 255.0
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{modality} takes"):
        _call(module, modality, broken)


@pytest.mark.parametrize(
    ("modality", "inputs"), [("video", CLIPS), ("image", IMAGES), ("audio", SOUND), ("text", np.array([b"red"]))]
)
def test_an_empty_batch_gives_empty_outputs(module, modality, inputs):
    full, empty = _call(module, modality, inputs), _call(module, modality, inputs[:0])
    assert {k: v.shape for k, v in empty.items()} == {k: (0, *v.shape[1:]) for k, v in full.items()}


@pytest.mark.parametrize("modality", ["video", "image", "audio", "text"])
def test_a_callable_is_traced_once_whatever_the_sizes(module, modality):
    """TensorFlow keeps every trace of a loaded function, each with a network: the memory of a client would grow."""
    layer = getattr(module.embed, modality)
    callables = [layer, *(getattr(layer, name) for name in RAW_INPUTS[modality].others)]
    for call in callables:
        function = call.__call__ if call is layer else call
        (concrete,) = function.concrete_functions
        spec = concrete.structured_input_signature[0][0]
        before = [variable.numpy() for variable in layer.variables]  # of the module that all tests share
        for size in (5, 6, 9):
            shape = [1 if axis == 0 else size if n is None else n for axis, n in enumerate(spec.shape)]
            inputs = tf.constant(["red ball"] * size) if modality == "text" else tf.zeros(shape, spec.dtype)
            call(inputs)
            call(inputs, training=True)
        for variable, value in zip(layer.variables, before, strict=True):
            variable.assign(value)
        assert function.experimental_get_tracing_count() == 1
