"""The demo's narration: held-out wordings, timing, SubRip text."""

import re

from demo import captions

# Words that say nothing about the game.
COMMON = set(
    "the a an of in on to and at with is are it we our up down by for from their his her he she they i".split()
)


def words(sentences):
    return {word for text in sentences for word in re.findall(r"[a-z]+", text.lower())} - COMMON


def test_each_game_has_several_wordings_and_none_is_shared():
    texts = [text for sentences in captions.WORDINGS.values() for text in sentences] + captions.ASIDES
    assert len(texts) == len(set(texts))
    for game, sentences in captions.WORDINGS.items():
        assert len(sentences) >= 8, game
        assert all(len(text.split()) <= 16 for text in sentences), "longer than the words that the network reads"


def test_held_out_wordings_are_new_but_their_words_are_known():
    for game in captions.WORDINGS:
        train, test = captions.wordings(game, "train"), captions.wordings(game, "test")
        assert not set(train) & set(test)
        assert len(test) == captions.HELD_OUT
        for text in test:
            assert len(words([text]) & words(train)) >= 2, f"{game}: {text!r} shares too few words with training"


def test_narration_is_spread_over_the_episode_and_repeatable():
    cues = captions.narration("seaquest", "train", 3, 30.0)
    assert cues == captions.narration("seaquest", "train", 3, 30.0)
    assert cues != captions.narration("seaquest", "train", 4, 30.0)
    assert 7 <= len(cues) <= 18
    assert all(0 <= start < end <= 30 for start, end, _ in cues)
    assert all(before[1] < after[0] for before, after in zip(cues, cues[1:], strict=False))
    assert {text for *_, text in cues} <= set(captions.wordings("seaquest", "train") + captions.ASIDES)


def test_srt():
    text = captions.to_srt([(0.5, 2.0, "hello"), (3661.25, 3662.0, "there")])
    assert text == ("1\n00:00:00,500 --> 00:00:02,000\nhello\n\n2\n01:01:01,250 --> 01:01:02,000\nthere\n\n")
