"""The miniature benchmark: plans, physics, film, sound, narrations, splits, manifests, measures and tables."""

import itertools
import json

import numpy as np
import pytest

from benchmarks.miniature import (
    card,
    film,
    make,
    measure,
    physics,
    scenes,
    sound,
    words,
)
from benchmarks.miniature.embeddings import Part
from mmv_tf.common.files import whole_file

SHARE = 0.002  # an episode of each split
KINDS = {f"{kind}_{split}": kind for kind in ("new", "direction", "order") for split in ("train", "test")}
KINDS["unseen"] = "unseen"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Manifests of an episode of each split, of which one of each kind is rendered.

    Statistics of its shots are those of all of its kind: nothing here is about their numbers.
    """
    output, facts = tmp_path_factory.mktemp("miniature"), {}
    for episode in scenes.episodes(SHARE):
        path, kind = (output / "videos" / episode.path).with_suffix(".json"), KINDS.get(episode.split, "known")
        if kind not in facts:
            make.render(episode, output)
            facts[kind] = path.read_bytes()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(facts[kind])
    make.write_manifests(output, SHARE)
    return output


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_an_episode_is_in_one_split_and_a_share_is_a_part_of_the_whole():
    everything = scenes.episodes()
    assert [episode.number for episode in everything] == list(range(sum(scenes.EPISODES.values())))
    assert len({episode.path for episode in everything}) == len(everything)
    assert set(scenes.episodes(0.1)) <= set(everything)
    shown = {split: set() for split in scenes.EPISODES}
    for episode in everything:
        shown[episode.split] |= {shot.event for shot in episode.shots}
    assert {split for split, events in shown.items() if events & set(scenes.NEW_EVENTS)} == {"new_train", "new_test"}
    assert shown["test"] == set(scenes.EVENTS) and shown["new_test"] == set(scenes.NEW_EVENTS)
    seen = {split: {shot.material for one in everything if one.split == split for shot in one.shots} for split in shown}
    assert seen.pop("unseen") == set(scenes.NEW_MATERIALS)
    assert all(materials == set(scenes.MATERIALS) for materials in seen.values())
    ordered = [shot for one in everything if one.split == "order_test" for shot in one.shots]
    assert {(shot.event, shot.then) for shot in ordered} == set(itertools.permutations(scenes.EVENTS, 2))
    drifting = [shot for one in everything if one.split == "direction_test" for shot in one.shots]
    assert {(shot.event, shot.direction) for shot in drifting} == {(scenes.DRIFT, one) for one in scenes.DIRECTIONS}
    assert set(ordered[0].labels) - set(scenes.LABELS) == {"then"} and set(seen) == set(scenes.EPISODES) - {"unseen"}
    seeds = [shot.seed for episode in everything for shot in episode.shots]
    assert len(set(seeds)) == len(seeds)


def nuisances(episode, shot):
    """What is drawn first from each stream of a shot, the radius and the pace of its balls among it."""
    drawn = [shot.stream(purpose).random(3) for purpose in ("motion", "film", "sound")]
    world = physics.World(shot.stream("motion"))
    return [world.radius, *np.concatenate(drawn), *scenes.stream("words", episode.number).random(2), shot.start]


def test_no_nuisance_tells_a_label():
    """None by more than chance, over all shots: a share of n clips has a deviation of sqrt(p (1 - p) / n)."""
    from sklearn.neighbors import KNeighborsClassifier

    sides = {"fit": [], "test": []}
    for episode in scenes.episodes():
        if episode.split in ("narrated", "plain", "val", "test"):
            side = sides["fit" if episode.split in ("narrated", "plain") else "test"]
            side += [(nuisances(episode, shot), shot) for shot in episode.shots]
    features = {side: np.array([of_shot for of_shot, _ in shots]) for side, shots in sides.items()}
    for label in scenes.LABELS:
        names = {side: np.array([getattr(shot, label) for _, shot in shots]) for side, shots in sides.items()}
        guessed = 1 / len(set(names["fit"]))
        noise = np.sqrt(guessed * (1 - guessed) / len(names["test"]))
        for column in range(features["fit"].shape[1]):
            fitted = KNeighborsClassifier(25).fit(features["fit"][:, [column]], names["fit"])
            assert fitted.score(features["test"][:, [column]], names["test"]) < guessed + 5 * noise, (label, column)
    # A label of the shot before says nothing, either.
    before = [shots[index][1].material for shots in [sides["fit"]] for index in range(len(sides["fit"]) - 1)]
    after = [shot.material for _, shot in sides["fit"][1:]]
    assert abs(np.mean(np.array(before) == np.array(after)) - 1 / 4) < 5 * np.sqrt(3 / 16 / len(after))


def test_no_two_streams_are_one():
    streams = [scenes.stream("plan", episode.number) for episode in scenes.episodes()]
    streams += [scenes.stream("words", episode.number) for episode in scenes.episodes()]
    shots = [shot for episode in scenes.episodes() for shot in episode.shots]
    streams += [shot.stream(purpose) for shot in shots for purpose in ("motion", "film", "sound")]
    assert len({stream.random() for stream in streams}) == len(streams)


@pytest.mark.parametrize("event", [*scenes.EVENTS, *scenes.NEW_EVENTS])
def test_every_event_is_heard_stays_in_sight_and_is_the_same_again(event):
    motion, again = (physics.simulate(event, "fast", 4.0, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(motion.places, again.places)
    assert motion.impacts == again.impacts and motion.places.shape == (40, 3, 2)
    assert 5 <= len(motion.impacts) <= 1000
    assert all(
        0 <= first[0] <= second[0] < 4 for first, second in zip(motion.impacts, motion.impacts[1:], strict=False)
    )
    sight = ((motion.places > -0.1) & (motion.places < 1.1)).all(axis=2)
    assert sight.mean() > 0.7
    assert np.abs(np.diff(motion.places, axis=0)).max() > 0.02


def test_balls_fall_as_galileo_says():
    """A body dropped from rest over h meets the ground after sqrt(2 h / g)."""
    motion = physics.simulate("bounce", "slow", 4.0, np.random.default_rng(11))
    heights = 0.95 - 0.01 - motion.radius - motion.places[0, :, 1]  # the ground is 0.01 thick to each side
    heard = np.array([second for second, _ in motion.impacts])
    expected = heard[0] * np.sqrt(heights / heights.min())
    assert np.abs(heard[:, None] - expected).min(axis=0).max() < 0.01


def test_what_whirls_strikes_the_clapper_at_the_top():
    motion = physics.simulate("whirl", "slow", 4.0, np.random.default_rng(2))
    out = motion.places - 0.5
    angles = np.unwrap(np.arctan2(out[..., 1], out[..., 0]), axis=0)
    rounds = np.abs(angles[-1] - angles[0]).sum() / (2 * np.pi)
    assert rounds - 3 <= len(motion.impacts) <= 3 * rounds
    for second, _ in motion.impacts:
        shown = motion.places[min(round(second * scenes.FPS), len(motion.places) - 1)]
        nearest = np.hypot(*(shown - np.array([0.5, 0.5 - np.hypot(*out[0].T).mean()])).T).min()
        assert nearest < 3 * motion.radius


@pytest.fixture(scope="module")
def drifting():
    return [physics.simulate(scenes.DRIFT, "slow", 4.0, np.random.default_rng(seed)) for seed in range(40)]


@pytest.mark.parametrize("direction, way", [("right", (1, 0)), ("left", (-1, 0)), ("down", (0, 1)), ("up", (0, -1))])
def test_what_drifts_goes_one_way_and_no_frame_tells_which(drifting, direction, way):
    motions = [physics.turned(motion, direction) for motion in drifting]
    for motion in motions:
        moved = np.diff(motion.places, axis=0)
        moved -= 1.3 * np.round(moved / 1.3)  # who leaves comes in again
        speed = np.linalg.norm(moved[0, 0])
        assert 0.02 < speed < 0.07
        np.testing.assert_allclose(moved, np.broadcast_to(speed * np.array(way), moved.shape), atol=1e-9)
    shown = np.concatenate([motion.places[20] for motion in motions])
    assert np.all(np.abs(shown.mean(axis=0) - 0.5) < 4 * 1.3 / np.sqrt(12 * len(shown)))
    assert np.all(np.abs(shown.std(axis=0) - 1.3 / np.sqrt(12)) < 0.06)


def test_direction_is_as_it_is_seen():
    """Other shots are mirrored by a coin; these are not: a ball on the right is on the right."""
    sides = set()
    for seed in range(8):
        for may_mirror in (True, False):
            frame = film.frames(
                still([(0.8, 0.5)] * 3), "wood", "still", np.random.default_rng(seed), may_mirror=may_mirror
            )
            bare = film.frames(still([(9, 9)] * 3), "wood", "still", np.random.default_rng(seed), may_mirror=may_mirror)
            _, columns = np.nonzero(np.abs(frame[0].astype(int) - bare[0]).sum(axis=2))
            sides.add((may_mirror, columns.mean() > scenes.SIZE / 2))
    assert sides == {(True, True), (True, False), (False, True)}


def test_two_events_show_the_same_part_of_their_simulations():
    events = ("bounce", "roll")
    motion = physics.one_then_another(events, "slow", 4.0, 1.6, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    lead = int(rng.integers(scenes.FPS)) / scenes.FPS
    first = physics.simulate("bounce", "slow", lead + 2.0, rng)
    second = physics.simulate("roll", "slow", lead + 3.2, rng, first.radius)
    assert motion.places.shape == (40, 3, 2) and motion.radius == first.radius == second.radius and lead > 0
    start = round(10 * lead) + 12  # of what the middle 1.6 seconds show of both, in frames
    np.testing.assert_array_equal(motion.places[12:20], first.places[start : start + 8])
    np.testing.assert_array_equal(motion.places[20:28], second.places[start : start + 8])
    late = [when for when, _ in second.impacts if when >= lead + 1.2]
    heard = [when for when, _ in motion.impacts]
    assert heard == sorted(heard) and 0 <= heard[0] and heard[-1] < 4
    np.testing.assert_allclose([when for when in heard if when >= 2], np.array(late) - (lead + 1.2) + 2, atol=1e-9)
    assert not motion.speed[:1000].any() and motion.speed[1000:].all()  # what bounces does not rumble


def still(places):
    """A motion in which the three balls stay where they are."""
    return physics.Motion(np.repeat(np.array(places)[None], 12, axis=0), 0.08, [], np.zeros(10))


def test_a_ball_is_drawn_where_it_is():
    def picture(places):
        return np.stack(film.frames(still(places), "rubber", "still", np.random.default_rng(4))).astype(int)

    with_it, without = picture([(0.5, 0.6), (9, 9), (9, 9)]), picture([(9, 9)] * 3)
    rows, columns = np.nonzero(np.abs(with_it - without).sum(axis=3)[0])
    elsewhere = picture([(0.5, 0.7), (9, 9), (9, 9)])
    lower, _ = np.nonzero(np.abs(elsewhere - without).sum(axis=3)[0])
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    # A tenth of the world is at least an eighth of a ball's width of 0.16: it moved by that much, downwards.
    assert lower.mean() - rows.mean() == pytest.approx(np.ptp(rows) * 0.1 / 0.16, abs=2)


def test_the_camera_moves_what_is_still_and_only_it_does():
    places, moved = [(0.3, 0.4), (0.5, 0.6), (0.7, 0.4)], {}
    for camera in scenes.CAMERAS:
        shown = film.frames(still(places), "glass", camera, np.random.default_rng(1))
        assert shown[0].shape == (scenes.SIZE, scenes.SIZE, 3) and shown[0].dtype == np.uint8
        moved[camera] = np.abs(np.diff(np.stack(shown).astype(int), axis=0)).mean()
    assert moved.pop("still") == 0
    assert min(moved.values()) > 0.3


def test_materials_differ_and_impacts_are_heard_when_they_happen():
    knocks, times = {}, [0.5, 1.5, 2.0]
    motion = physics.Motion(np.zeros((40, 3, 2)), 0.085, [(time, 1.0) for time in times], np.zeros(2000))
    for material in scenes.MATERIALS:
        heard = sound.samples(motion, material, 3.0, np.random.default_rng(0))
        assert heard.shape == (48000,) and heard.dtype == np.float32 and np.abs(heard).max() <= 1
        energy = np.square(heard).reshape(300, 160).sum(axis=1)  # hundredths of a second
        quiet = np.median(energy)
        for time in times:
            assert energy[int(time * 100) : int(time * 100) + 3].max() > 3 * quiet, material
        power = np.abs(np.fft.rfft(heard)) ** 2
        knocks[material] = np.fft.rfftfreq(48000, 1 / 16000)[power.argmax()]
    assert knocks["rubber"] < knocks["wood"] < knocks["metal"] < knocks["glass"]


def test_rendering_leaves_ordinary_videos_and_does_not_repeat_itself(rendered):
    import av

    episode = scenes.episodes(SHARE)[0]
    path = rendered / "videos" / episode.path
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.width, video.height, float(video.average_rate)) == (scenes.SIZE, scenes.SIZE, scenes.FPS)
        assert sum(1 for _ in container.decode(video)) == scenes.SHOTS * scenes.SHOT_SECONDS * scenes.FPS
        assert audio.duration * audio.time_base == pytest.approx(scenes.SHOTS * scenes.SHOT_SECONDS, abs=0.1)
    before = path.stat().st_mtime_ns
    make.render(episode, rendered)
    assert path.stat().st_mtime_ns == before
    content = path.read_bytes()
    path.unlink()
    make.render(episode, rendered)
    assert path.read_bytes() == content


def test_manifests_keep_episodes_apart_and_say_what_is_shown(rendered):
    rows = lines(rendered / "clips.jsonl")
    assert len(rows) == len(scenes.EPISODES) * scenes.SHOTS
    episode = next(one for one in scenes.episodes(SHARE) if one.split == "test")
    row, shot = next(row for row in rows if row["split"] == "test"), episode.shots[0]
    assert row["key"] == f"{episode.path}:0.5-3.5" and row["event"] == shot.event and row["impacts"] > 0
    manifest = lines(rendered / "manifests" / "test.jsonl")
    assert manifest[0]["label"] == [f"{name}: {row[name]}" for name in scenes.LABELS]
    further = lines(rendered / "manifests" / "direction_test.jsonl")[0]["label"]
    assert further[-1] in {f"direction: {one}" for one in scenes.DIRECTIONS} and len(further) == len(scenes.LABELS) + 1
    assert [one["text"] for one in manifest[0]["captions"]] == [words.caption(shot.event, shot.material)]


def test_narrations_are_loose_and_only_where_they_belong(rendered):
    texts = {split: [one["captions"] for one in lines(rendered / "manifests" / f"{split}.jsonl")]
             for split in scenes.EPISODES}  # fmt: skip
    assert {split for split, of_clips in texts.items() if any(of_clips)} == {"narrated", "val", "test"}
    # Some captions are given to two clips: they lie between them.
    said = [json.dumps(one) for captions in texts["narrated"] for one in captions]
    assert len(set(said)) < len(said)
    heard = {one["text"] for captions in texts["narrated"] for one in captions}
    assert not heard & {measure.sentences()[n]["text"] for n in range(len(measure.sentences()))}


def test_held_out_wordings_are_new_but_their_words_are_not():
    known = {word for options in (words.EVENTS | words.MATERIALS).values() for text in options[:-1]
             for word in text.replace(",", "").split()}  # fmt: skip
    for what, wordings in (("event", words.EVENTS), ("material", words.MATERIALS)):
        for value, options in wordings.items():
            assert options[-1] not in options[:-1]
            assert set(words.clean(what, value).removeprefix("the balls ").split()) <= known


def test_share_of_wrong_and_of_misheard_words():
    rng, shot = np.random.default_rng(0), scenes.episodes()[0].shots[0]
    told = [words.sentence("material", shot, rng) for _ in range(4000)]
    right = np.mean([any(one in text for one in words.MATERIALS[shot.material][:-1]) for text in told])
    assert right == pytest.approx(1 - words.WRONG * 3 / 4, abs=0.02)
    text = "one two three four"
    kept = np.mean([len(words.misheard(text, rng).split()) for _ in range(4000)]) / 4
    assert kept == pytest.approx(1 - words.DROPPED, abs=0.01)
    assert all(words.misheard("one", rng) == "one" for _ in range(200))


def part(seed, repeats=2):
    """Clips whose embeddings hold the event in 'video', and nothing in the 'repr' of 'audio'."""
    rng = np.random.default_rng(seed)
    rows, video = [], []
    for index in range(repeats * len(scenes.EVENTS) * len(scenes.MATERIALS)):
        event, material = scenes.EVENTS[index % 6], scenes.MATERIALS[index // 6 % 4]
        rows.append({"event": event, "material": material, "video_path": f"{index // 4}.mp4"})
        video.append(np.eye(10)[index % 6] + np.eye(10)[6 + index // 6 % 4] + 0.01 * rng.normal(size=10))
    audio = rng.normal(size=(len(rows), 8))
    return Part(rows, {("video", "repr"): np.array(video), ("audio", "repr"): audio, ("video", "va"): np.array(video),
                       ("audio", "va"): np.array(video), ("video", "vt"): np.array(video)})  # fmt: skip


def test_probes_find_what_is_there_and_nothing_else():
    parts = [part(seed, repeats=6) for seed in range(3)]
    assert measure.probe(*parts, "video", "event") == 100
    assert measure.probe(*parts, "audio", "event") < 40
    assert measure.chance_of(parts[0], parts[2], "material") == 25
    first, second = measure.halves(parts[0])
    episodes = [{row["video_path"] for row in half.rows} for half in (first, second)]
    assert not episodes[0] & episodes[1] and len(second.rows) * 2 == len(first.rows)


def test_retrieval_of_a_perfect_network_and_chance_where_nothing_can_be_compared():
    test = part(0)
    told = np.stack([
        sum(np.eye(10)[n] for n, name in enumerate((*scenes.EVENTS, *scenes.MATERIALS)) if name in one["is"].split())
        for one in measure.sentences()
    ])  # fmt: skip
    found = measure.retrievals(test, {("text", "vt"): told})
    assert found["retrieval/video->audio R@10"] == found["retrieval/video->audio within event R@10"] == 100
    assert found["retrieval/video->text event"] == found["retrieval/video->text material"] == 100
    assert found["retrieval/text->video mAP"] == 100
    assert found["retrieval/audio->text event"] == pytest.approx(100 / 6)
    # Two of 48 clips are right: the mean over all pairs of places that they can have.
    pairs = [(1 / i + 2 / j) / 2 for j in range(2, 49) for i in range(1, j)]
    assert found["retrieval/text->audio mAP"] == pytest.approx(100 * np.mean(pairs))
    bare = measure.retrievals(Part(test.rows, {}), {})
    assert bare["retrieval/video->audio R@10"] == pytest.approx(1000 / 48)
    assert bare["retrieval/video->audio within event R@10"] == 100  # of eight clips ten are all
    assert measure.incomparable(test.embeddings) == ["video, text", "audio, text"]


def test_the_card_counts_and_notices_one_changed_shot(rendered):
    (rendered / "vocabulary.txt").write_text("balls\n")
    first = card.statistics(rendered)
    assert first["splits"]["narrated"]["clips"] == scenes.SHOTS and first["splits"]["plain"]["with text"] == 0
    assert f"| test | 1 | {scenes.SHOTS} | {scenes.SHOTS} |" in card.render(first)
    assert card.statistics(rendered) == first
    rows = lines(rendered / "clips.jsonl")
    rows[-1]["brightness"] += 0.1
    with whole_file(rendered / "clips.jsonl") as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changed = [name for name, value in card.statistics(rendered)["checksums"].items()
               if value != first["checksums"][name]]  # fmt: skip
    assert changed == ["impacts, brightness and level of each shot"]


def test_a_share_beyond_the_whole_would_mix_splits():
    with pytest.raises(ValueError, match="at most 1"):
        scenes.episodes(1.5)
