"""The miniature benchmark without the emulator: plans, film, narrations, splits, manifests, measures and tables."""

import json

import numpy as np
import pytest

from benchmarks.miniature import card, experiments, make, measure, scenes, tables, words
from benchmarks.miniature.embeddings import Part


def rendered(folder, names=("gopher", "krull")):
    """What rendering leaves that manifests are made of: an event file and a fingerprint an episode."""
    for game in names:
        for episode in scenes.episodes(game):
            path = folder / "videos" / episode.path
            path.parent.mkdir(parents=True, exist_ok=True)
            events = [{"scored": i == 0, "lost": i == 1} for i in range(scenes.SHOTS)]
            path.with_suffix(".json").write_text(json.dumps(events))
    return make.plan(folder, names)


def test_an_episode_shows_each_action_once_and_is_in_one_split():
    paths = {}
    for game in ("gopher", "krull"):
        for episode in scenes.episodes(game):
            assert sorted(shot.action for shot in episode.shots) == sorted(scenes.ACTIONS)
            assert episode.shots == scenes.Episode(game, episode.split, episode.number).shots
            paths.setdefault(episode.path, set()).add(episode.split)
    assert all(len(splits) == 1 for splits in paths.values())
    assert not set(scenes.GAMES) & set(scenes.NEW_GAMES)


def test_buttons_follow_the_action():
    assert {scenes.buttons("wait", frame) for frame in range(96)} == {""}
    assert [scenes.buttons("rock", frame) for frame in (0, 11, 12, 23, 24)] == [
        "LEFT",
        "LEFT",
        "RIGHT",
        "RIGHT",
        "LEFT",
    ]
    assert [scenes.buttons("sway", frame) for frame in (0, 47, 48)] == ["LEFT", "LEFT", "RIGHT"]
    assert [scenes.buttons("fire", frame) for frame in (0, 5, 6, 11, 12)] == ["", "", "FIRE", "FIRE", ""]
    assert [scenes.buttons("sway_fire", frame) for frame in (0, 6, 54)] == ["LEFT", "LEFTFIRE", "RIGHTFIRE"]


def test_the_camera_moves_a_still_screen_and_only_it_does():
    screen = np.zeros((210, 160, 3), np.uint8)
    screen[60:150, 40:120] = np.arange(80, dtype=np.uint8)[None, :, None] * 3
    motion = {}
    for camera in scenes.CAMERAS:
        shot = scenes.Shot(0.0, "wait", camera, 0, (3, 1))
        frames = scenes.film([screen] * 16, shot)
        assert frames[0].shape == (scenes.SIZE, scenes.SIZE, 3)
        np.testing.assert_array_equal(frames, scenes.film([screen] * 16, shot))
        motion[camera] = np.abs(np.diff(np.stack(frames).astype(int), axis=0)).mean()
    assert motion.pop("still") == 0
    assert min(motion.values()) > 0.5


def test_sound_is_heard_at_another_level_but_in_step():
    samples = np.sin(np.arange(30720 * 6) / 20).astype(np.float32) * 0.5
    heard = scenes.recorded(samples, scenes.Episode("gopher", "test", 10))
    assert heard.shape == samples.shape and heard.dtype == np.float32
    for one, other in zip(np.array_split(heard, scenes.SHOTS), np.array_split(samples, scenes.SHOTS), strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.9


def test_manifests_are_the_same_each_time_and_keep_episodes_apart(tmp_path):
    made, again = rendered(tmp_path / "a"), rendered(tmp_path / "b")
    assert json.dumps(made) == json.dumps(again)
    videos = {split: {row["video_path"] for row, _ in pairs} for split, pairs in made.items()}
    assert sum(map(len, videos.values())) == len(set().union(*videos.values()))
    assert {split: len(pairs) for split, pairs in made.items()} == {
        split: count * scenes.SHOTS for split, count in (scenes.EPISODES | scenes.NEW_EPISODES).items()
    }
    row, line = made["narrated"][0]
    assert row["key"] == f"{row['video_path']}:0.5-4.5" and (row["scored"], row["lost"]) == (True, False)
    assert line["label"] == [f"action: {row['action']}", f"camera: {row['camera']}", "game: gopher"]


def test_narrations_are_loose_and_only_where_they_belong(tmp_path):
    made = rendered(tmp_path)
    assert all(line["captions"] for _, line in made["narrated"])
    assert not any(line["captions"] for split in ("plain", "new_train") for _, line in made[split])
    said = {caption["text"] for _, line in made["narrated"] for caption in line["captions"]}
    clean = {row["caption"] for row, _ in made["test"]}
    assert not said & clean
    # Held-out wordings are new, of words that are not.
    for wordings in (*words.ACTIONS.values(), *words.CAMERAS.values()):
        heard = {word for options in (words.ACTIONS | words.CAMERAS).values() for text in options[:-1]
                 for word in text.replace(",", "").split()}  # fmt: skip
        assert set(wordings[-1].replace(",", "").split()) <= heard


def test_share_of_wrong_sentences():
    rng = np.random.default_rng(0)
    shot = scenes.Shot(0.0, "rock", "zoom", 0, (0,))
    said = [words.sentence("camera", shot, "gopher", "", rng) for _ in range(2000)]
    right = np.mean([text in words.CAMERAS["zoom"] for text in said])
    assert right == pytest.approx(1 - words.WRONG * 4 / 5, abs=0.03)


def part(seed, games=("assault", "gopher"), shots=12):
    """Clips whose embeddings hold the camera in 'video', and nothing in 'audio'."""
    rng = np.random.default_rng(seed)
    rows, video = [], []
    for game in games:
        for index in range(shots):
            camera, action = index % len(scenes.CAMERAS), index % len(scenes.ACTIONS)
            rows.append({"game": game, "episode": index // 6, "action": scenes.ACTIONS[action],
                         "camera": scenes.CAMERAS[camera], "left_out": ""})  # fmt: skip
            video.append(np.eye(8)[camera] + 0.1 * rng.normal(size=8))
    audio = rng.normal(size=(len(rows), 8))
    return Part(rows, {("video", "repr"): np.array(video), ("audio", "repr"): audio, ("video", "va"): np.array(video),
                       ("audio", "va"): np.array(video)})  # fmt: skip


def test_probes_find_what_is_there_and_nothing_else():
    parts = [part(seed) for seed in range(3)]
    assert measure.probe(*parts, "video", "camera") == 100
    assert measure.probe(*parts, "audio", "camera") < 50
    assert measure.chance_of(parts[0], parts[2], "game") == 50


def test_retrieval_within_a_game_and_chance_where_nothing_can_be_compared():
    test = part(0)
    found = measure.retrievals(test, {})
    assert found["retrieval/video->audio R@10"] == 100 and found["retrieval/video->audio within R@1"] == 100
    bare = measure.retrievals(Part(test.rows, {}), {})
    assert bare["retrieval/video->audio within R@1"] == pytest.approx(100 / 12)
    assert found["retrieval/text->video game R@1"] == bare["retrieval/text->video game R@1"] == pytest.approx(50)
    assert measure.incomparable(test.embeddings) == ["video, text", "audio, text"]


def result(seeds=(0, 1, 2)):
    made = experiments.TABLES["e"]
    rows = {"pretrained (FAC)": {c: [80.0, 82.0, 81.0] for c in experiments.FEW},
            "from scratch": {c: [50.0, 53.0, 51.0] for c in experiments.FEW}}  # fmt: skip
    return {"schema": 1, "table": "e", "title": made.title, "command": "run e", "seeds": list(seeds), "data": "",
            "rows": rows, "baselines": {"chance": {c: [16.7] * 3 for c in experiments.FEW}},
            "orderings": [one for claim in made.claims for one in tables.orderings(claim, rows)],
            "notes": []}  # fmt: skip


def test_orderings_are_by_paired_seeds():
    one = result()["orderings"][0]
    # Differences 30, 29, 30: mean 29.67, t(2, .975) = 4.3027, standard error 1/3.
    assert one["difference"] == 29.67
    assert (one["low"], one["high"]) == pytest.approx((29.667 - 4.3027 / 3, 29.667 + 4.3027 / 3), abs=0.01)
    assert one["verdict"] == "holds"
    noisy = {"pretrained (FAC)": {experiments.FEW[0]: [1.0, 9.0]}, "from scratch": {experiments.FEW[0]: [2.0, 5.0]}}
    assert tables.orderings(experiments.TABLES["e"].claims[0], noisy)[0]["verdict"] == "within noise"


def test_a_table_without_its_baselines_is_neither_written_nor_shown(tmp_path):
    whole = result()
    tables.write(tmp_path / "miniature_e.json", whole)
    tables.write_page(tmp_path)
    assert "| 4 clips a camera movement | 16.7 | 81.0 (80-82) | 51.3 (50-53) |" in (tmp_path / "README.md").read_text()
    for broken in ({**whole, "baselines": {}}, {**whole, "baselines": {"chance": {experiments.FEW[0]: [1.0] * 3}}}):
        with pytest.raises(ValueError, match="baseline 'chance'"):
            tables.write(tmp_path / "other.json", broken)
        with pytest.raises(ValueError, match="baseline 'chance'"):
            tables.markdown(broken)
    with pytest.raises(ValueError, match="from scratch"):
        tables.markdown({**whole, "rows": {**whole["rows"], "from scratch": {experiments.FEW[0]: [1.0]}}})
    assert not (tmp_path / "other.json").exists()


def test_digest_of_play_tells_one_level_of_one_pixel(tmp_path):
    path = tmp_path / "train" / "gopher" / "00.npz"
    path.parent.mkdir(parents=True)
    video, level = np.zeros((5, 192), np.uint8), np.zeros(5, np.float32)
    np.savez(path, video=video, level=level)
    first = card.digest_of_play(tmp_path)
    np.savez(path, video=video, level=level)
    assert card.digest_of_play(tmp_path) == first
    video[3, 7] = 1
    np.savez(path, video=video, level=level)
    assert card.digest_of_play(tmp_path) != first
