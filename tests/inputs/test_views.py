"""Views: times as published, starts that belong together, and what a batch then holds."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from helpers.record_fixtures import SAMPLE_RATE, record, write_shards
from helpers.system_arrays import arrays
from mmv_tf.inputs.audio import LogMel
from mmv_tf.inputs.augmentation.sound import SoundAugment
from mmv_tf.inputs.faults import explain_data_error
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.inputs.video import VideoInput
from mmv_tf.inputs.views import times
from mmv_tf.inputs.views.view import View, in_order, starts_of

STILL = dict(scale_jitter_probability=0.0, flip_probability=0.0, colour_probability=0.0, jit_compile=False)


class Waveform(LogMel):
    """Leaves the sound as it is: [B, S] -> [B, S, 1, 1]."""

    def __call__(self, waveform):
        return waveform[..., None, None]


def video(num_frames=2, **more):
    return VideoInput(**{"num_frames": num_frames, "min_side": 20, "crop_size": 20, **STILL, **more})


def waveform():
    return Waveform(sample_rate=SAMPLE_RATE, window=64, stride=32, num_bins=8, min_frequency=20.0, max_frequency=400.0)


def drawn(views, count=200, frames=40, num_frames=4, rate=10.0, of_run=7):
    """{'' and each view: starts [count]} for one record and as many seeds of the run `of_run`."""
    clip = video(num_frames)
    views = in_order(views, ("video", "audio", "text"), waveform())

    def one(number):
        seed = tf.stack([tf.constant(of_run, tf.int64), number])
        first = clip.random_start(tf.constant(frames), tf.constant(rate), seed)
        return starts_of(views, clip, tf.constant(frames), tf.constant(rate), first, seed, tf.constant("k"))

    many = tf.data.Dataset.range(count).map(one).batch(count)
    return {name: starts.numpy() for name, starts in next(iter(many)).items()}


def test_the_gap_of_cvrl_equals_the_reference():
    for name in ("cvrl_input", "derived"):
        golden = arrays(f"{name}/clip_gap")
        if name == "derived":  # in float64, in which the last bit of float32 decides two draws otherwise
            kept = ~np.isin(np.round(golden["u"], 4), np.float32((0.36, 0.64)))
            golden = {key: golden[key][kept] for key in ("u", "gap")}
        gaps = [int(times.gap_of(tf.constant(u, tf.float32), tf.constant(40))) for u in golden["u"]]
        np.testing.assert_array_equal(gaps, golden["gap"])


def test_the_starts_of_cvrl_have_the_published_distribution():
    """P(gap <= k) = 2 k / M - k^2 / M^2 with M = 37 starts: 40 frames, 4 of them a clip."""
    found = drawn({"two": View(time=times.decreasing_gap())}, 600)
    gap = np.abs(found[""] - found["two"])
    for k in (5, 12, 25):
        assert np.mean(gap < k) == pytest.approx(2 * k / 37 - (k / 37) ** 2, abs=0.06)
    assert 0.4 < np.mean(found["two"] > found[""]) < 0.6
    assert min(map(np.min, found.values())) >= 0 and max(map(np.max, found.values())) == 36
    short = drawn({"two": View(time=times.decreasing_gap())}, frames=3)
    assert set(short[""]) == set(short["two"]) == {0, 1, 2}
    assert np.mean(short[""] == short["two"]) == pytest.approx(1 / 3, abs=0.12)


def test_too_short_a_clip_goes_round_as_in_the_reference():
    golden = arrays("cvrl_input/clip_gap")
    frames = tf.strings.as_string(tf.range(9))
    taken = VideoInput(num_frames=16, frame_rate=5.0).sample(frames, tf.constant(10.0), tf.constant(0))
    np.testing.assert_array_equal(taken.numpy().astype(int), golden["short_video_frames"][:16])
    frames = tf.strings.as_string(tf.range(70))
    taken = VideoInput(num_frames=16, frame_rate=5.0).sample(frames, tf.constant(10.0), tf.constant(36))
    np.testing.assert_array_equal(taken.numpy().astype(int), golden["frames_of_last_u"][16:])


def test_nearby_reaches_its_last_frame():
    frames, first, span = tf.constant(1000), tf.constant(0), tf.constant(4)
    moment = times.Moment(frames, tf.constant(15.0), first, span, span, span)
    draw = times.nearby(seconds=4.2).draw  # 63 frames, and a little less in float32
    drawn = tf.function(lambda: tf.map_fn(lambda number: draw(moment, tf.stack([0, number])), tf.range(1000)))
    assert set(drawn().numpy()) == set(range(64))


def test_times_keep_their_distance():
    found = drawn(
        {
            "any": View(time=times.anywhere()),
            "with_any": View("audio", to="any"),
            "near": View(time=times.nearby(seconds=0.5)),
            "far": View("audio", times.apart(least=0.5)),
            "long": View("audio", times.within(), video=video(10)),
            "short": View(time=times.within(), video=video(2)),
        }
    )
    first, last = found[""], 36
    np.testing.assert_array_equal(found["with_any"], found["any"])
    assert set(found["any"]) == set(first) == set(range(last + 1))
    assert set(found["near"] - first) == set(range(-5, 6)) and found["near"].max() <= last
    assert np.abs(found["far"] - first).min() == 4 + 5 and found["far"].min() == 0 and found["far"].max() == last
    inside = (found["long"] <= first) & (first + 4 <= found["long"] + 10)
    assert inside.all() and found["long"].max() == 30 and found["long"].min() == 0
    assert set((first - found["long"])[(first > 6) & (first < 30)]) == set(range(7))
    assert set(found["short"] - first) == {0, 1, 2}


def test_a_clip_without_room_beside_it_moves_and_only_then():
    alone = drawn({}, frames=14)
    found = drawn({"far": View("audio", times.apart(least=0.5))}, frames=14)  # 4 + 5 + 4 of 14 frames
    moved = found[""] != alone[""]
    np.testing.assert_array_equal(moved, (alone[""] > 1) & (alone[""] < 9))
    assert np.abs(found["far"] - found[""]).min() == 9 and set(found[""][moved]) == {0, 10}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        drawn({"far": View("audio", times.apart(least=0.5))}, frames=12)
    assert explain_data_error(caught.value) == (
        "record k: 12 frames, and the time of InputPipeline.views.far needs 13: take longer records, shorter clips "
        "or another time"
    )


def test_a_view_depends_on_nothing_but_its_name_and_the_seed():
    alone = drawn({"any": View(time=times.anywhere())})
    among = drawn({"z": View(time=times.anywhere()), "any": ("video", {"time": times.anywhere()})})
    np.testing.assert_array_equal(alone["any"], among["any"])
    np.testing.assert_array_equal(alone[""], among[""])
    assert (among["z"] != among["any"]).any() and (among["any"] != among[""]).any()
    assert (drawn({"any": View(time=times.anywhere())}, of_run=8)["any"] != alone["any"]).any()


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({"a": View("text", reverse=True)}, "'a'.: reverse = True, and a text has no direction"),
        ({"a": View(to="c")}, "to = 'c' is no view; there are a"),
        ({"a": View(to="b"), "b": View(to="a")}, "is a cycle: the times of a -> b -> a refer to each other"),
        ({"a": View(to="a")}, "is a cycle: the times of a -> a"),
        ({"video": View()}, "a batch has something else of that name"),
        ({"a": View(time=times.apart()), "b": View(time=times.decreasing_gap())}, "only one view can, of a, b"),
        ({"b": View(), "a": View(time=times.apart(), to="b")}, "it cannot refer to 'b'"),
        ({"a": ("video", {"tiem": 1})}, "unknown setting 'tiem'; known: of, time"),
        ({"a": View("audio", audio=LogMel())}, "LogMel.sample_rate = 48000, and that of .* is 1000: a record has one"),
    ],
)
def test_a_bad_view_is_refused_in_one_line(views, message):
    with pytest.raises(ValueError, match=message) as caught:
        in_order(views, ("video", "audio", "text"), waveform())
    assert "InputPipeline.views" in str(caught.value) and "\n" not in str(caught.value)


def test_settings_are_checked_where_they_stand():
    with pytest.raises(ValueError, match="View.of = 'sound': must be 'video', 'audio' or 'text'"):
        View("sound")
    with pytest.raises(ValueError, match="apart.least = -1"):
        times.apart(-1)
    with pytest.raises(ValueError, match="of = 'text', and InputPipeline.modalities = .'video',. lacks it"):
        InputPipeline(modalities=("video",), video=video(), views={"a": ("text",)})
    with pytest.raises(ValueError, match="InputPipeline.views = .*: 'a', .*, time = 3: must be a Time"):
        InputPipeline(modalities=("video",), video=video(), views={"a": ("video", {"time": 3})})


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    content = [[record(f"{s}/{i}", num_frames=20, label=4 * s + i) for i in range(4)] for s in range(2)]
    return write_shards(tmp_path_factory.mktemp("records"), content)


VIEWS = {
    "video_2": View(time=times.anywhere()),
    "audio_2": View("audio", to="video_2"),
    "text_2": View("text", to="video_2"),
    "video_2r": View(to="video_2", reverse=True),
    "audio_2r": View("audio", to="video_2", reverse=True),
}


@pytest.fixture(scope="module")
def stream(pattern):
    """A pipeline and its first two batches."""
    long = {"long": View(video=video(3, min_side=12, crop_size=10)), "sound": View("audio", video=video(6))}
    pipe = InputPipeline(
        [Source(pattern)],
        video=video(),
        audio=waveform(),
        text=Tokenizer(("dog", "cat")),
        max_candidates=2,
        views={**VIEWS, **long},
    )
    dataset = pipe.training_dataset(8)
    assert dataset.element_spec == pipe.element_spec(8)
    evaluated = pipe.evaluation_dataset(pattern, 8).element_spec
    assert set(VIEWS) < set(dataset.element_spec) and not set(VIEWS) & set(evaluated)
    return pipe, [{name: value.numpy() for name, value in one.items()} for one in dataset.take(2)]


@pytest.fixture
def found(stream):
    """A batch."""
    return stream[1][0]


def seen(frames):
    """Number of the first frame of each clip, read off its grey levels."""
    return np.rint((frames[:, 0, :, :4].mean(axis=(1, 2, 3)) * 255 - 10) / 10).astype(int)


def heard(sound):
    """The frame with which the sound begins: sample s of 2 seconds is s / 2000."""
    return np.rint(sound[:, 0, 0, 0] * 20).astype(int)


def test_the_views_of_a_batch_are_of_their_times(found):
    assert (seen(found["video"]) == heard(found["audio"])).all()
    assert (seen(found["video_2"]) == heard(found["audio_2"])).all()
    assert (seen(found["video_2"]) != seen(found["video"])).any()
    assert found["video_2_mask"].all() and found["audio_2_mask"].all()
    np.testing.assert_array_equal(found["text_2"], found["text"])
    np.testing.assert_array_equal(found["text_2_mask"], found["text_mask"])


def test_a_view_backwards_is_the_view_backwards(found):
    assert (seen(found["video_2r"]) == seen(found["video_2"]) + 1).all()  # of two frames; each has a crop of its own
    assert (seen(found["video_2r"][:, 1:]) == seen(found["video_2"])).all()
    np.testing.assert_array_equal(found["audio_2r"], found["audio_2"][:, ::-1])


def test_a_view_may_have_a_length_and_size_of_its_own(found):
    assert found["video"].shape == (8, 2, 20, 20, 3) and found["long"].shape == (8, 3, 10, 10, 3)
    assert found["sound"].shape == (8, 600, 1, 1)
    np.testing.assert_array_equal(found["sound"][:, :200], found["audio"])
    levels = found["long"][:, :, :, :2].mean(axis=(2, 3, 4)) * 255
    wanted = 10 + 10 * ((seen(found["video"])[:, None] + np.arange(3)) % 20)
    np.testing.assert_allclose(levels, wanted, atol=4)


def test_views_are_resumed(stream):
    """What comes after a restart is what would have come."""
    pipe, undisturbed = stream
    (again,) = pipe.training_dataset(8, start_step=1).take(1)
    for name in again:
        np.testing.assert_array_equal(again[name], undisturbed[1][name], err_msg=name)


def test_a_missing_modality_is_missing_in_its_views(tmp_path):
    unseen = dataclasses.replace(record("unseen"), jpegs=())
    pattern = write_shards(tmp_path, [[record("silent", sound=False), unseen]])
    pipe = InputPipeline([Source(pattern)], ("video", "audio"), video=video(), audio=waveform(), views={
        name: VIEWS[name] for name in ("video_2", "audio_2")})  # fmt: skip
    (found,) = pipe.training_dataset(2).take(1)
    np.testing.assert_array_equal(found["video_mask"], ~found["audio_mask"])
    for of in ("video", "audio"):
        mask = found[f"{of}_mask"].numpy()
        assert sorted(mask) == [False, True]
        np.testing.assert_array_equal(found[f"{of}_2_mask"], mask)
        assert not found[f"{of}_2"].numpy()[~mask].any()


def test_sound_is_louder_or_softer_and_partly_hidden():
    augment = SoundAugment(volume=0.1, frequency_masks=1, frequency_width=3, time_masks=1, time_width=6, value=-1.0)
    draw = tf.constant([[0.0, 0.99, 0.5, 0.99, 0.0], [1.0, 0.34, 0.0, 0.5, 0.999], [0.5, 0.0, 0.9, 0.0, 0.9]])
    np.testing.assert_allclose(augment.change_volume(tf.ones([3, 2]), draw)[:, 0], [0.9, 1.1, 1.0], rtol=1e-6)
    hidden = augment.mask(tf.ones([3, 20, 8, 1]), draw)[..., 0] == -1.0
    wanted = np.zeros((3, 20, 8), bool)
    wanted[0, :, 3:5] = wanted[0, :5] = True  # 2 of 8 bins from the middle of 6 places on; 5 frames from 0 on
    wanted[1, :, 0] = wanted[1, 16:19] = True
    np.testing.assert_array_equal(hidden, wanted)
    assert augment.draw(tf.constant([1, 2])).shape == (5,)


def test_the_sound_of_each_view_is_augmented_by_itself(pattern):
    pipe = InputPipeline([Source(pattern)], ("audio",), video=video(), audio=waveform(), sound=SoundAugment(volume=0.5),
                         views={"audio_2": View("audio"), "plain": View("audio", sound=SoundAugment())})  # fmt: skip
    (found,) = pipe.training_dataset(8).take(1)
    factors = [(found[name][:, 150, 0, 0] / found["plain"][:, 150, 0, 0]).numpy() for name in ("audio", "audio_2")]
    for one in factors:
        assert 0.5 <= one.min() < 0.8 and 1.2 < one.max() <= 1.5
    assert np.abs(factors[0] - factors[1]).max() > 0.1
    assert "audio_draw" not in pipe.evaluation_dataset(pattern, 8).element_spec
