"""Batches that an accelerator finishes are those that the host makes: the same draws, and numbers but for rounding.

Levels are of 255; frames are noise on one half, on which a pixel beside the right one shows. They are small: windows of
few pixels give numbers that lie between two levels, which fall to either side.
"""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from helpers import toy
from helpers.record_fixtures import SAMPLE_RATE, jpeg, record, write_shards
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.augmentation import boxes
from mmv_tf.inputs.augmentation.sound import SoundAugment
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.inputs.video import VideoInput
from mmv_tf.inputs.views import times
from mmv_tf.training import strategies

STEPS = dict(colour_order="random", grey_probability=0.5, blur_probability=0.5, solarise_probability=0.5)
SIZES = ((40, 48), (57, 41), (63, 111), (36, 36))


def video(**settings):
    return VideoInput(**{"num_frames": 3, "min_side": 36, "crop_size": 32, "jit_compile": False, **settings})


def pipeline(pattern, of=None, **settings):
    audio = LogMel(SAMPLE_RATE, window=64, stride=32, num_bins=8, min_frequency=20.0, max_frequency=400.0)
    text = Tokenizer(("dog", "cat"))
    return InputPipeline([Source(pattern)], video=of or video(), audio=audio, text=text, max_candidates=2, **settings)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """Frames in both directions, of odd and even sides, one that lacks frames and one that lacks the rest."""
    content = [record(f"{i}", height=height, width=width) for i, (height, width) in enumerate(SIZES)]
    unseen = record("unseen")
    unseen = unseen.__class__(**{**unseen.__dict__, "jpegs": ()})
    return write_shards(tmp_path_factory.mktemp("records"), [[*content, unseen, record("silent", sound=False)]])


@pytest.fixture(scope="module")
def boxed(pattern):
    return pipeline(pattern, video(colour_order="random", grey_probability=0.5)).boxed()


def first(dataset):
    return next(iter(dataset))


def check_frames(finished, whole, levels=1, share=0.03):
    """They are equal but for a few numbers (a `share`), which are rounded the other way, by so many `levels`."""
    difference = np.abs(finished.astype(np.float32) - whole.astype(np.float32))
    assert whole.std() > 20 and difference.max() <= levels + 0.01 and (difference > 0.01).mean() <= share


def both_forms(of, box=None, seeds=4):
    """Clips of frames of several sizes, as the accelerator finishes them and as the host makes them."""
    found, whole = [], []
    box = box or of.box_for(SIZES, draws=32)
    for height, width in SIZES:
        jpegs = tf.constant(record("", 3, height, width).jpegs)
        for seed in (tf.constant([number, height]) for number in range(seeds)):
            found.append(of.boxed_clip(jpegs, seed, box))
            whole.append(of.training_clip(jpegs, seed).numpy())
    assert all(one[""][0].shape == (*box, 3) for one in found)
    batch = tf.nest.map_structure(lambda *values: tf.stack(values), *found)
    return of.unboxed(batch, tf.ones([len(found)], tf.bool)).numpy(), np.stack(whole)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_jitter_probability": 1.0, "max_side": 44},
        {"min_side": 20, "crop_size": 16, "colour_probability": 0.0},  # decoded at a half
        {
            "crop_only": True,
            "scale_jitter_probability": 0.0,
            "colour_probability": 0.0,
        },  # windows that fill their boxes
        {"crop_area": (0.2, 1.0), **STEPS},
    ],
    ids=["jitter", "smaller", "as it is", "steps"],
)
def test_both_forms_give_the_same_clips(settings):
    check_frames(*both_forms(video(**settings)))


@pytest.mark.parametrize(
    ("settings", "small"),
    [
        ({}, None),
        ({"min_side": 20, "crop_size": 20}, None),  # decoded at a half; the crop has all of the shorter side
        ({"min_side": 48, "crop_size": 40}, None),  # larger than some
        ({}, (36, 38)),  # whatever is larger is resized by the host, and by it alone
    ],
    ids=["crop", "smaller", "larger", "does not fit"],
)
def test_both_forms_give_the_same_crops_of_evaluation(settings, small):
    """Frames are resized as a whole before they are cropped: crops begin between pixels, and see beyond their edge."""
    of = video(**settings)
    box, found, whole = small or of.box_for(SIZES, draws=0), [], []
    for height, width in SIZES:
        jpegs = tf.constant(record("", 3, height, width).jpegs)
        one, three = of.boxed_evaluation(jpegs, box), of.boxed_evaluation(jpegs, box, 3)
        for crops, made in ((1, one), (3, three)):
            spec = of.boxed_spec(box, is_drawn=False, crops=crops)
            tf.nest.map_structure(lambda made, spec: spec.shape.assert_is_compatible_with(made.shape), made, spec)
        found.append(of.unboxed(three, tf.constant([True, True, False])).numpy())
        alone = of.unboxed(tf.nest.map_structure(lambda part: part[None], one), tf.constant([True]))
        np.testing.assert_array_equal(alone[0], found[-1][1])
        whole.append(of.evaluation_crops(jpegs).numpy())
        if small and min(height, width) > 40:
            np.testing.assert_array_equal(found[-1][:2], whole[-1][:2])
    found, whole = np.stack(found), np.stack(whole)
    assert not found[:, 2].any()
    check_frames(found[:, :2], whole[:, :2], share=0.01)
    assert np.abs(whole[:, 0].astype(float) - whole[:, 1]).max() > 30  # crops that a wrong place would show in


def test_windows_that_do_not_fit_are_resized_by_the_host():
    """Their pixels are rounded once more, before colour makes more of it."""
    small = (32, 34)
    assert video().box_for(SIZES, draws=32) > small
    check_frames(*both_forms(video(), box=small, seeds=2), levels=3, share=0.7)
    check_frames(*both_forms(video(colour_probability=0.0), box=small, seeds=2), share=0)


def test_two_replicas_finish_what_one_host_makes_whole(pattern):
    """With a view of another size, backwards, all that is drawn of sound, and records that lack something."""
    small = video(num_frames=2, crop_size=16, min_side=16, flip_probability=1.0, colour_probability=0.0)
    views = {
        "video_2": ("video", {"time": times.anywhere(), "reverse": True, "video": small}),
        "audio_2": ("audio", {"to": "video_2", "reverse": True}),
    }
    sound = SoundAugment(volume=0.2, frequency_masks=1, time_masks=1, noise=0.01)
    pipe = pipeline(pattern, modalities=("video", "audio"), views=views, sound=sound)
    strategy = toy.mirrored(2)
    boxed, size = pipe.boxed(), 6
    given = strategy.distribute_datasets_from_function(lambda context: boxed.training_dataset(size, 2, 0, context))
    finish = tf.function(lambda batch: strategy.run(boxed.finish, (batch,)), autograph=False)
    finished = {name: strategy.experimental_local_results(v) for name, v in finish(next(iter(given))).items()}
    whole = first(pipe.training_dataset(size, 2))
    assert not np.all(whole["video_mask"]) and not np.all(whole["audio_mask"])
    assert finished.keys() == whole.keys()
    for name, values in whole.items():
        ours = np.concatenate(finished[name])
        assert (ours.shape, ours.dtype) == (values.shape, values.dtype.as_numpy_dtype)
        if name in ("video", "video_2"):
            check_frames(255 * ours, 255 * values.numpy())
        else:
            np.testing.assert_allclose(ours, values, rtol=1e-4, atol=1e-5, err_msg=name)


def test_resizing_is_that_of_tensorflow_wherever_the_window_lies():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 2, 50, 70, 3), np.uint8)  # [B, T, ...]
    windows = np.array([[[0, 0], [50, 70]], [[3, 17], [9, 11]], [[29, 0], [21, 69]]])
    places = tf.stack([boxes.place(*tf.constant(window, tf.int32)) for window in windows])
    found = boxes.resized([tf.constant(frames[:, i]) for i in range(2)], places, 24)
    for clip, ((top, left), (height, width)), ours in zip(frames, windows, found, strict=True):
        expected = tf.image.resize(clip[:, top : top + height, left : left + width].astype(np.float32), [24, 24])
        np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_factors_are_split_into_what_eight_bits_hold():
    """A TPU multiplies bfloat16: with factors cut to it the products are still right to 0.01 of 255 levels."""
    rng = np.random.default_rng(0)
    weights, pixels = (tf.constant(rng.random((1, 16, 16)) * most, tf.float32) for most in (1, 255))
    exact = tf.matmul(weights / 16, pixels)

    def cut(parts):
        return [tf.cast(tf.cast(part, tf.bfloat16), tf.float32) for part in parts]

    weights = cut(boxes._split(weights / 16, 128.0))
    np.testing.assert_allclose(boxes._product(weights, cut(boxes._split(pixels, 1.0))), exact, atol=0.01)
    assert np.abs(tf.matmul(*cut([tf.add_n(weights), pixels])) - exact).max() > 0.05


def without_gpu_kernel(op):
    """Whether TensorFlow, as far as this build of it knows, would fetch the operation's inputs from a GPU."""
    found = [one for one in kernels.get_registered_kernels_for_op(op.type).kernel if one.device_type == "GPU"]
    attributes = op.node_def.attr
    return not any(
        all(attributes[c.name].type in c.allowed_values.list.type for c in one.constraint if c.name in attributes)
        for one in found
    )


def test_finishing_compiles_to_what_accelerators_have(boxed):
    """Static sizes, no strings and no state, nothing that a GPU lacks; compiled it gives the same numbers."""
    batches = boxed.training_dataset(2, seed=3)
    compiled = tf.function(boxed.finish, autograph=False, jit_compile=True)
    graph = compiled.get_concrete_function(batches.element_spec).graph
    has_gpu = any(one.device_type == "GPU" for one in kernels.get_registered_kernels_for_op("MatMul").kernel)
    calls = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "PartitionedCall", "Placeholder")
    for op in [op for one in (graph, *(f.graph for f in graph._functions.values())) for op in one.get_operations()]:
        is_shape = all(tensor.dtype == tf.int32 for tensor in (*op.inputs, *op.outputs))  # which hosts compute
        assert not has_gpu or is_shape or op.type in calls or not without_gpu_kernel(op), op
        assert not op.op_def.is_stateful or op.type in ("While", "If", "PartitionedCall"), op.type
        for tensor in op.outputs:
            assert tensor.dtype != tf.string
            assert tensor.dtype in (tf.resource, tf.variant) or tensor.shape.is_fully_defined(), tensor
    batch = first(batches)
    plain, found = boxed.finish(batch), compiled(batch)
    assert plain["video"].numpy().std() > 0.05
    kept = {"text", "text_mask", "video_mask", "audio_mask", "label", "source"}
    assert found.keys() == plain.keys() == {"video", "audio", *kept}
    for name in kept:
        np.testing.assert_array_equal(found[name], batch[name], err_msg=name)
    np.testing.assert_array_equal(batch["text"][:, 0, :2], [[1, 0]] * 2)  # 'a dog runs'
    np.testing.assert_allclose(found["video"], plain["video"], atol=1.01 / 255)
    np.testing.assert_allclose(found["audio"], plain["audio"], rtol=1e-4, atol=1e-5)


def test_frames_of_several_sizes_are_no_clip():
    """Of a larger frame only a part would be decoded, and nobody would know."""
    jpegs = tf.constant([jpeg(10, 40, 48), jpeg(20, 40, 48), jpeg(30, 60, 80)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="frames of several sizes"):
        video().boxed_clip(jpegs, tf.constant([0, 0]), (36, 40))


def test_a_bad_record_is_named_or_left_out(tmp_path):
    good = record("good", num_frames=3)
    torn = good.__class__(**{**good.__dict__, "key": "torn", "jpegs": (good.jpegs[0], b"\xff\xd8\xff", good.jpegs[2])})
    settings = dict(modalities=("video",), max_bad_records=1)
    boxed = pipeline(write_shards(tmp_path, [[good, torn]]), video(grey_probability=1.0), **settings).boxed()
    batch = boxed.finish(first(boxed.training_dataset(2)))
    assert sorted(batch["video_mask"].numpy()) == [False, True]
    absent = batch["video"][int(np.argmin(batch["video_mask"]))]
    assert not np.any(absent) and [bad["key"] for bad in boxed.bad_records] == ["torn"]
    keys = sorted((key, is_bad) for _, key, is_bad in boxed.keys_of_step(2, 0, 0))
    assert keys == [("", False), ("good", False)]


def test_a_run_says_who_makes_its_input(pattern, boxed):
    host = pipeline(pattern, modalities=("video",))
    assert host.who_does_what() == "input: all of it is made by the host (InputPipeline.finish_on = 'auto')"
    height, width = boxed.boxes["video"]
    assert f"(boxes of video 3 x {height} x {width} pixels); the accelerator does the rest" in boxed.who_does_what()
    chosen = {
        (where, is_there): pipeline(pattern, finish_on=where, modalities=()).finishes_on_accelerator(is_there)
        for where in ("auto", "host", "accelerator")
        for is_there in (False, True)
    }
    assert [key for key, value in chosen.items() if value] == [
        ("auto", True),
        ("accelerator", False),
        ("accelerator", True),
    ]
    assert not strategies.on_accelerator(tf.distribute.get_strategy())
    assert strategies.on_accelerator(tf.distribute.OneDeviceStrategy("/gpu:0"))


def test_windows_are_those_of_the_whole_frame_and_decoding_begins_with_a_block():
    """libjpeg gives other colours in the first and last column of what it decodes, and is slow off its blocks."""
    jpegs, size = [jpeg(number, 40, 90) for number in range(2)], tf.constant([40, 90])
    whole, begun = [tf.io.decode_jpeg(one).numpy() for one in jpegs], []

    def decode(part):
        begun.append(int(part[1]))
        return [tf.image.decode_and_crop_jpeg(one, part) for one in jpegs]

    for top, left, height, width in [(0, 0, 40, 90), (3, 16, 20, 30), (3, 17, 37, 30), (9, 33, 7, 57), (1, 63, 9, 26)]:
        found = boxes.windows(tf.constant([top, left]), tf.constant([height, width]), size, decode)
        np.testing.assert_array_equal(found, [one[top : top + height, left : left + width] for one in whole])
    assert begun == [0, 0, 16, 32, 48]


@pytest.mark.parametrize(
    ("left", "width", "expected"),
    [(17, 30, 16), (16, 30, 0), (40, 39, 32), (40, 40, 36), (50, 40, 42)],
    ids=["block", "its edge", "just holds it", "one more column", "at the end"],
)
def test_a_box_begins_with_a_block_where_the_window_allows_it(left, width, expected):
    part = boxes.cut(tf.constant([2, left]), tf.constant([20, width]), tf.constant([40, 90]), (30, 48))
    assert part.numpy().tolist() == [0, expected, 30, 48]
