from mmv_tf.beam.captions.nearest import CaptionIndex, nearest
from mmv_tf.records.schema import Caption


def test_nearest_in_time_first():
    spoken = [Caption(str(n), 10.0 * n, 10.0 * n + 4) for n in range(10)]
    # Clip 31 to 35 overlaps with caption 3 (30-34); then gaps: 4 (40-44) 5 s, 2 (20-24) 7 s.
    assert [c.text for c in nearest(spoken, 31.0, 35.0, 5, 7.0)] == ["3", "4", "2"]
    assert [c.text for c in nearest(spoken, 31.0, 35.0, 2, 100.0)] == ["3", "4"]
    assert nearest(spoken, 31.0, 35.0, 5, 0.0) == (spoken[3],)
    assert nearest(spoken, 500.0, 510.0, 5, 10.0) == ()
    # Of two that overlap the one whose middle is nearer; order of the input does not matter.
    two = [Caption("off", 0.0, 2.0), Caption("on", 0.0, 10.0)]
    assert [c.text for c in nearest(two, 0.0, 10.0, 5, 1.0)] == ["on", "off"]
    assert nearest(two[::-1], 0.0, 10.0, 5, 1.0) == nearest(two, 0.0, 10.0, 5, 1.0)


def test_a_caption_without_times_is_about_the_whole_clip():
    assert nearest([Caption("x", None, None)], 2.0, 5.0, 5, 0.0) == (Caption("x", 2.0, 5.0),)


def test_of_equal_ones_those_of_the_least_hash_are_taken_in_their_order():
    captions = [Caption(text, None, None) for text in "abcdefgh"] + [Caption("off", 90.0, 91.0)]
    found = [nearest(captions, 0.0, 5.0, 3, 10.0, f"key {n}") for n in range(40)]
    texts = ["".join(caption.text for caption in one) for one in found]
    assert all(list(one) == sorted(one) for one in texts) and set("".join(texts)) == set("abcdefgh")
    assert nearest(captions, 0.0, 5.0, 0, 10.0) == ()
    assert len(nearest(captions, 0.0, 5.0, 20, 10.0)) == 8


def test_a_hundred_thousand_captions_of_an_hour():
    index = CaptionIndex([Caption(str(n), n * 0.036, n * 0.036 + 0.03) for n in range(100_000)])
    for n in range(360):  # pieces of 10 s: a minute, if each sorted all of them
        found = index.nearest(10.0 * n, 10.0 * n + 10, 5, 10.0)
        assert len(found) == 5 and abs(found[0].start - 10.0 * n - 5) < 0.1
