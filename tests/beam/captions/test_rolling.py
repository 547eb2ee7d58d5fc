from mmv_tf.beam.captions.rolling import Shown, spoken


def _said(*shown, pause=0.0):
    """What is said where cues of a second show these lines, in turn."""
    cues = [Shown(n * (1 + pause), n * (1 + pause) + 1, text.split("/")) for n, text in enumerate(shown)]
    return ["/".join(cue.lines) for cue in spoken(cues)]


def test_lines_that_roll():
    assert _said("a b", "a b/c d", "c d/e f", "e f") == ["a b", "c d", "e f"]
    assert _said("a", "a/b", "a/b/c", "b/c/d", "c/d/e") == ["a", "b", "c", "d", "e"]


def test_lines_that_grow():
    assert _said("a", "a b", "a b c", "a b c/d", "d e", "f") == ["a", "b", "c", "d", "e", "f"]


def test_what_is_said_twice_stays():
    for texts in (("no", "no", "stop"), ("a b", "c", "c", "d"), ("yes", "yes we", "can", "do it", "now")):
        assert _said(*texts) == list(texts)
    assert _said("a", "a/b", "b/c", "[music]", pause=1.0) == ["a", "a/b", "b/c", "[music]"]  # never on one screen
    cues = [Shown(0, 1, ["a"]), Shown(1, 2, ["a", "b"]), Shown(2, 3, ["b", "c"]), Shown(9, 10, ["c"])]
    assert [cue.lines for cue in spoken(cues)] == [["a"], ["b"], ["c"], ["c"]]


def test_the_same_cue_twice_is_one():
    cue = Shown(0.0, 1.0, ["a"])
    assert spoken([cue, cue, cue._replace(end=2.0)]) == [cue, cue._replace(end=2.0)]
    assert spoken([]) == []


def test_the_cost_is_that_of_the_words():
    assert len(spoken([Shown(n, n + 1, [f"{n}"]) for n in range(50_000)])) == 50_000
