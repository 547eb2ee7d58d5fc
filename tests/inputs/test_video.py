import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import jpeg
from mmv_tf.inputs.video import VideoInput, preprocess_ops_3d

SEED = tf.constant([3, 4], tf.int64)
STILL = dict(scale_jitter_probability=0.0, flip_probability=0.0, colour_probability=0.0)


def video_input(**settings):
    return VideoInput(**{"num_frames": 4, "min_side": 40, "crop_size": 32, **settings})


def indices(video, stored, rate, start):
    frames = tf.constant([str(i).encode() for i in range(stored)])
    return [int(name) for name in video.sample(frames, tf.constant(rate), tf.constant(start)).numpy()]


@pytest.mark.parametrize(
    "stored, rate, start, expected",
    [
        (10, 10.0, 3, [3, 4, 5, 6]),
        (20, 25.0, 2, [2, 4, 7, 10]),  # every 2.5th frame: of two that are equally near now one, now the other
        (20, 30.0, 1, [1, 4, 7, 10]),
        (10, 5.0, 1, [1, 1, 2, 3]),
        (10, 5.0, 8, [8, 8, 9, 9]),  # the last frame is the nearest to times after it
        (3, 10.0, 0, [0, 1, 2, 0]),  # too short: repeated
        (1, 10.0, 0, [0, 0, 0, 0]),
    ],
)
def test_sampled_frames(stored, rate, start, expected):
    assert indices(video_input(), stored, rate, start) == expected


def test_evaluation_starts_are_evenly_spaced():
    def starts(stored, rate, num_clips):
        return video_input().spaced_starts(tf.constant(stored), tf.constant(rate), num_clips).numpy().tolist()

    assert starts(24, 10.0, 5) == [0, 5, 10, 15, 20]
    assert starts(24, 10.0, 1) == [10]
    assert starts(24, 25.0, 3) == [0, 7, 14]
    assert starts(2, 10.0, 3) == [0, 0, 0]


def test_random_starts_cover_all_places_and_no_more():
    starts = {
        int(video_input().random_start(tf.constant(7), tf.constant(10.0), tf.constant([0, i]))) for i in range(50)
    }
    assert starts == {0, 1, 2, 3}
    assert int(video_input().random_start(tf.constant(2), tf.constant(10.0), SEED)) == 0


def test_seconds_and_shape():
    assert VideoInput().seconds == 3.2 and VideoInput().shape == (32, 200, 200, 3)


def test_evaluation_takes_the_centre():
    image = np.zeros([48, 80, 3], np.uint8)
    image[8:40, 24:56] = 200  # the centre 32 x 32 is white
    jpegs = tf.fill([4], tf.io.encode_jpeg(image, quality=100))
    clip = video_input(min_side=48).evaluation_clip(jpegs).numpy()
    assert clip.shape == (4, 32, 32, 3) and clip.dtype == np.uint8
    np.testing.assert_allclose(clip, 200, atol=6)
    # Twice as large, decoded at half the size, the same comes out.
    large = tf.fill([4], tf.io.encode_jpeg(image.repeat(2, axis=0).repeat(2, axis=1), quality=100))
    np.testing.assert_allclose(video_input(min_side=48).evaluation_clip(large), 200, atol=12)


@pytest.mark.parametrize(("height", "width"), [(40, 81), (71, 40), (40, 40), (48, 48)])
def test_three_crops_lie_along_the_longer_side(height, width):
    """The corners of the crops by hand; the second is `evaluation_clip`, to the bit."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    jpegs = tf.constant([tf.io.encode_jpeg(image).numpy()] * 4)
    video = video_input(min_side=min(height, width))  # nothing is resized
    whole, found = tf.io.decode_jpeg(jpegs[0]).numpy(), video.evaluation_crops(jpegs).numpy()
    assert found.shape == (3, 4, 32, 32, 3)
    down, right = (height - 32) // 2, (width - 32) // 2
    corners = [(0, right), (down, right), (height - 32, right)]
    if width > height:
        corners = [(down, 0), (down, right), (down, width - 32)]
    for crop, (top, left) in zip(found, corners, strict=True):
        for frame in crop:
            np.testing.assert_array_equal(frame, whole[top : top + 32, left : left + 32])
    np.testing.assert_array_equal(found[1], video.evaluation_clip(jpegs))


@pytest.mark.parametrize(("height", "width"), [(40, 72), (90, 50)])
def test_three_crops_are_those_of_the_published_code_where_the_shorter_side_fits(height, width):
    """Of an odd margin their middle is a pixel further on; ours is that of one crop."""
    jpegs = tf.constant([jpeg(9, height, width)] * 4)
    video = video_input(crop_size=40)
    frames = preprocess_ops_3d().resize_smallest(tf.cast(tf.io.decode_jpeg(jpegs[0])[None], tf.float32), 40)
    theirs = preprocess_ops_3d().crop_image(tf.repeat(frames, 4, axis=0), 40, 40, num_crops=3)
    theirs = tf.cast(tf.reshape(theirs, [3, 4, 40, 40, 3]) + 0.5, tf.uint8)
    np.testing.assert_array_equal(video.evaluation_crops(jpegs), theirs)


def test_to_float_is_in_the_unit_interval():
    np.testing.assert_allclose(video_input().to_float(tf.constant([0, 51, 255], tf.uint8)), [0, 0.2, 1], atol=1e-6)


def test_training_without_augmentation_is_a_crop():
    image = np.arange(40 * 64).reshape(40, 64) // 11  # a ramp: where a crop is from can be read off
    jpegs = tf.fill([4], tf.io.encode_jpeg(np.repeat(image[..., None], 3, -1).astype(np.uint8), quality=100))
    clip = video_input(**STILL).training_clip(jpegs, SEED).numpy().astype(float)
    errors = [np.abs(clip[0, :, :, 0] - image[y : y + 32, x : x + 32]).mean() for y in range(9) for x in range(33)]
    assert min(errors) < 1.5
    assert np.abs(clip - clip[:1]).max() == 0


def test_augmentation_is_of_the_seed_and_the_same_for_all_frames():
    video = video_input()
    jpegs = tf.fill([4], jpeg(100, 60, 80))
    clips = [video.training_clip(jpegs, tf.constant([7, i], tf.int64)).numpy() for i in range(4)]
    for clip in clips:
        assert np.abs(clip.astype(int) - clip[:1]).max() == 0
    np.testing.assert_array_equal(clips[0], video.training_clip(jpegs, tf.constant([7, 0], tf.int64)))
    assert len({clip.tobytes() for clip in clips}) == 4


def test_flip():
    jpegs = tf.fill([4], jpeg(0, 40, 40))  # black left, noise right
    settings = {**STILL, "crop_size": 40}
    plain = video_input(**settings).training_clip(jpegs, SEED).numpy()
    flipped = video_input(**{**settings, "flip_probability": 1.0}).training_clip(jpegs, SEED).numpy()
    assert plain[:, :, :18].mean() < 5 < plain[:, :, 22:].mean()
    np.testing.assert_array_equal(flipped, plain[:, :, ::-1])


def colour_clip(level, **settings):
    """Mean colour [3] of a clip of one colour after the colour step with probability 1."""
    off = dict(brightness=0.0, saturation=0.0, contrast=0.0, hue=0.0)
    video = video_input(**{**STILL, **off, "colour_probability": 1.0, **settings})
    image = np.broadcast_to(np.array(level, np.uint8), [40, 40, 3])
    jpegs = tf.fill([4], tf.io.encode_jpeg(image, quality=100))
    clips = [video.training_clip(jpegs, tf.constant([1, i], tf.int64)).numpy() for i in range(12)]
    return np.array([clip.mean(axis=(0, 1, 2)) for clip in clips])


def test_brightness_is_bounded():
    change = colour_clip((100, 100, 100), brightness=0.1) - 100
    assert np.abs(change).max() <= 0.1 * 255 + 1.5 and np.abs(change).max() > 12
    assert np.ptp(change, axis=1).max() < 1.5


def test_saturation_moves_to_and_from_grey():
    colours = colour_clip((160, 100, 100), saturation=0.4)
    luma = colours @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(luma, 0.299 * 160 + 0.701 * 100, atol=2)
    spread = np.ptp(colours, axis=1)
    assert spread.min() >= 60 * 0.6 - 3 and spread.max() <= 60 * 1.4 + 3 and np.ptp(spread) > 15


def test_hue_keeps_luma_and_changes_colour():
    colours = colour_clip((160, 100, 100), hue=0.2)
    np.testing.assert_allclose(colours @ [0.299, 0.587, 0.114], 0.299 * 160 + 0.701 * 100, atol=2)
    assert np.ptp(colours[:, 0]) > 15
    np.testing.assert_allclose(colour_clip((100, 100, 100), hue=0.2), 100, atol=1.5)  # grey stays grey


def test_contrast_is_about_the_mean_of_the_clip():
    assert np.abs(colour_clip((160, 100, 30), contrast=0.4) - (160, 100, 30)).max() < 3  # one colour is its own mean


def test_scale_jitter_changes_height_and_width_apart():
    video = VideoInput(num_frames=1, min_side=224, crop_size=200)
    sizes = []
    for i in range(200):
        draw = tf.random.stateless_uniform([5], [9, i])
        top, left, height, width = video._random_window(tf.constant([256.0, 340.0]), draw).numpy()
        assert top >= 0 and left >= 0 and top + height <= 256.01 and left + width <= 340.01
        sizes.append((height, width))
    ratio = np.array([height / width for height, width in sizes])
    assert 0.8 / 1.2 - 1e-3 <= ratio.min() < 0.8 and 1.2 < ratio.max() <= 1.2 / 0.8 + 1e-3
    assert 0.1 < np.mean(np.isclose(ratio, 1)) < 0.3  # a fifth has no jitter: 200 * 256 / 224 pixels square
    assert np.isclose(sizes, 200 * 256 / 224).all(axis=1).any()


def test_frames_smaller_than_the_clip_are_enlarged():
    jpegs = tf.fill([4], jpeg(90, 16, 20))
    assert video_input().training_clip(jpegs, SEED).shape == [4, 32, 32, 3]
    assert video_input().evaluation_clip(jpegs).shape == [4, 32, 32, 3]


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="VideoInput.crop_size = 64 is more than VideoInput.min_side = 40"):
        VideoInput(min_side=40, crop_size=64)
    with pytest.raises(ValueError, match="VideoInput.num_frames = 0"):
        VideoInput(num_frames=0)
