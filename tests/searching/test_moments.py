import numpy as np

from mmv_tf.searching import moments
from mmv_tf.searching.moments import Candidate


def _candidates(*spans, file=1):
    return [Candidate(n, file, start, start + 2.0, 1.0 - n / 100) for n, start in enumerate(spans)]


def test_one_moment_an_event_and_few_a_file():
    found = moments.distinct(_candidates(10, 11, 9, 12, 13, 20, 30, 40), per_file=3)
    assert [one.start for one in found] == [10, 12, 20]  # 12 begins where 10 ends; 11, 9 and 13 overlap a better one
    two = [*_candidates(0), *_candidates(0.5, file=2), *_candidates(0.7)]
    assert [(one.file, one.start) for one in moments.distinct(two, 9)] == [(1, 0), (2, 0.5)]


def test_a_chain_of_overlaps_is_not_one_moment():
    assert len(list(moments.distinct(_candidates(*range(0, 20, 1)), per_file=99))) == 10


def test_rankings_are_fused_by_rank():
    a, b, c = (Candidate(n, n, 0.0, 2.0, 0.0) for n in range(3))
    found = moments.fused([[a, b], [c, b]])
    assert [(one.window, ways) for one, ways in found] == [(1, [0, 1]), (0, [0]), (2, [1])]
    # Windows of two ways that overlap are one moment; two of one way are two.
    near = Candidate(9, 0, 1.0, 3.0, 0.0)
    assert [(one.window, ways) for one, ways in moments.fused([[a], [near]])] == [(0, [0, 1])]
    assert len(moments.fused([[a, near]])) == 2


def test_a_score_is_placed_among_all():
    scores = np.linspace(-0.1, 0.1, 1000)
    assert moments.percentile(0.05, scores) == 75.0 and moments.percentile(1.0, np.zeros(0)) == 0.0
    assert moments.stands_out(0.9, scores) and not moments.stands_out(0.12, scores)
    assert moments.stands_out(0.1, scores[:3])
