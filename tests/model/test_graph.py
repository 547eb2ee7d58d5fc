"""The modality graph: paths, what training leaves out, and errors that name what is wrong."""

import re

import pytest

from helpers import graphs
from mmv_tf.model import classification, graph_drawing, losses, step_logs
from mmv_tf.model.gdt import gdt_pairs
from mmv_tf.model.graph import Graph, Head, Pair
from mmv_tf.pages import curves
from mmv_tf.training import probe


def test_fac_reaches_the_coarse_space_through_the_fine_one():
    graph = graphs.fac()
    assert graph.modalities == ("video", "audio", "text")
    assert [str(h) for h in graph.path("video", "vat")] == ["video -> va", "va -> vat"]
    assert graph.spaces_of("audio") == ("va", "vat")
    assert graph.spaces_of("text") == ("vat",)


def test_in_training_audio_never_enters_the_coarse_head_of_fac():
    graph = graphs.fac()
    assert graph.training_spaces("audio") == ("va",)
    assert graph.training_spaces("video") == ("va", "vat")
    assert "audio also reaches vat at inference" in graph.describe()


def test_training_the_pair_of_audio_and_text_makes_audio_reach_the_coarse_space_in_training():
    pairs = [("video", "audio", "va"), ("video", "text", "vat"), ("audio", "text", "vat")]
    assert graphs.fac(pairs=pairs).training_spaces("audio") == ("va", "vat")


def test_shared_and_disjoint_are_other_values_of_the_same_class():
    shared, disjoint = graphs.shared(), graphs.disjoint()
    assert {m: shared.spaces_of(m) for m in shared.modalities} == {"video": ("s",), "audio": ("s",), "text": ("s",)}
    assert disjoint.spaces_of("video") == ("va", "vt")
    assert disjoint.spaces_of("audio") == ("va",)
    assert shared.pairs[1].weight == 2.0


def test_pairs_that_meet_in_two_spaces_get_distinct_names():
    graph = graphs.fac(pairs=[("video", "audio", "va"), ("video", "audio", "vat"), ("video", "text", "vat")])
    assert [graph.pair_name(p) for p in graph.pairs] == ["video_audio_va", "video_audio_vat", "video_text"]


@pytest.mark.parametrize(
    ("views", "pairs", "names"),
    [
        (["audio_reverse"], ["audio va", "audio_reverse va"], ["video_audio", "video_audio_reverse_va"]),
        (["audio_reverse"], ["audio_reverse va"], ["video_audio_reverse"]),  # nothing has that reverse
        (["audio_reverse"], ["audio order", "audio_reverse va"], ["video_audio", "video_audio_reverse"]),
        (["audio_reverse"], ["audio va", "audio_reverse order"], ["video_audio", "video_audio_reverse"]),
        (
            ["audio_va"],
            ["audio va", "audio w", "audio_va w"],
            ["video_audio_va_nce", "video_audio_w", "video_audio_va_w"],
        ),
    ],
)
def test_no_pair_logs_by_the_name_of_another_or_of_its_reverse(views, pairs, names):
    order = {"loss": classification.order}
    made = [("video", *pair.split(), order if pair.endswith("order") else {}) for pair in pairs]
    spaces = {pair.split()[1]: 1 for pair in pairs}
    heads = [(modality, space) for modality in ("video", "audio") for space in spaces]
    graph = Graph(spaces, heads, made, dict.fromkeys(views, "audio"))
    assert [graph.pair_name(pair) for pair in graph.pairs] == names
    logs = step_logs.names(graph, ("a", "b"))
    assert len(set(logs)) == len(logs)
    found = [name for name in logs if name.startswith("accuracy/") and not curves.is_reverse(name, logs)]
    assert found == [
        f"accuracy/{name}" for name, pair in zip(names, graph.pairs, strict=True) if pair.measured == "accuracy"
    ]


def test_names_that_cannot_be_told_apart_are_refused():
    spaces = {"va": 1, "b_va": 1, "x": 1}
    heads = [(modality, space) for modality in ("video", "audio") for space in spaces]
    pairs = [("video", *pair.split()) for pair in ("audio va", "audio b_va", "audio_b va", "audio_b x")]
    with pytest.raises(ValueError, match=r"\(video, audio\) in b_va: another one logs as 'video_audio_b_va_nce', too"):
        Graph(spaces, heads, pairs, {"audio_b": "audio"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"heads": [("video", "va"), ("audio", "va"), ("text", "vat")]},
            "no path of heads leads from 'video' to 'vat'",
        ),
        ({"heads": [("video", "va"), ("audio", "va"), ("va", "vat"), ("vat", "va"), ("text", "vat")]}, "cycle"),
        ({"heads": [("video", "va"), ("video", "va"), ("audio", "va"), ("va", "vat")]}, "claim the space 'va' from"),
        ({"heads": [("video", "va"), ("audio", "va"), ("va", "vat"), ("video", "vat")]}, "Two ways lead from 'video'"),
        *(
            ({"spaces": {"va": 3, name: 2}, "heads": [("video", "va"), ("audio", "va"), ("va", name)]}, message)
            for name, message in {
                "repr": "Space 'repr': networks give something else of that name",
                "before_head": "Space 'before_head': networks give something else",
                "last_conv": "Space 'last_conv': networks give something else",
            }.items()
        ),
        (
            {"heads": [("video", "va"), ("audio", "va"), ("text_mask", "vat")]},
            "'text_mask': a batch has something else",
        ),
        ({"heads": [("video", "va"), ("audio", "va"), ("source", "vat")]}, "'source': a batch has something else"),
        ({"heads": [("video", "va"), ("audio", "va"), ("text", "vta")]}, "there is no space 'vta'"),
        ({"heads": [("video", "va"), ("audio", "va")]}, "Space 'vat' cannot be reached: no head leads into it"),
        ({"heads": [("video", "va", {"hiden": (3,)}), ("audio", "va")]}, "unknown setting 'hiden'"),
        ({"heads": [("video",)]}, "is not of the form"),
        (
            {"heads": [("video", "va", {"activation": "gelu"})]},
            "activation = 'gelu': must be 'relu' or 'bnrelu' or None",
        ),
        ({"pairs": [("video", "sound", "va")]}, "unknown modality 'sound'"),
        ({"pairs": [("video", "video", "va")]}, "compares a modality with itself"),
        ({"pairs": []}, "nothing to train"),
        ({"views": {"v": "smell"}}, "Graph.views: 'v' is of the unknown modality 'smell'; the heads know video, audio"),
        ({"views": {"v": "w", "w": "video"}}, "'v' is a view of 'w', which is a view; name the modality"),
        ({"views": {"v": "w", "w": "v"}}, "Graph.views is a cycle: 'v' of 'w' of 'v'"),
        ({"views": {"va": "video"}}, "'va' is a space, too; give the view another name"),
        ({"views": {"v": "video"}, "pairs": [("v", "v", "va")]}, "compares a view with itself"),
        (
            {"pairs": [("video", "audio", "va", {"loss": losses.info_nce, "against": ("video",)})]},
            "compares a modality with itself",
        ),
        (
            {"pairs": [("video", "audio", "va", {"against": ("text",)})]},
            "the loss nce takes nothing that is named in 'against'",
        ),
        ({"pairs": [("video", "audio", "va", {"against_own": True})]}, "against_own says something of 'against'"),
        (
            {"pairs": [("video", "audio", "va", {"loss": losses.info_nce, "against": ("text",)})]},
            "leads from 'text' to",
        ),
        (
            {"pairs": [("video", "audio", "va", {"loss": losses.margin, "against": ("text",)})]},
            "margin compares with the own entry: set 'against_own': True",
        ),
        ({"pairs": [("video", "audio", "vat", {"second_space": "va"})]}, "only where both have one dimension"),
        ({"spaces": {"va": 0, "vat": 4}}, "Graph.spaces = .*: 'va', 0, must be a whole number of at least 1"),
    ],
)
def test_a_bad_graph_is_refused_with_the_name_of_what_is_wrong(change, message):
    with pytest.raises(ValueError, match=message):
        graphs.fac(**change)


def test_a_loss_of_others_says_what_it_makes_of_the_own_entry():
    def of_all(first, second, *others):
        """Which names no `against_own`."""

    with pytest.raises(ValueError, match="the loss of_all takes nothing that is named in 'against'"):
        graphs.fac(pairs=[("video", "audio", "va", {"loss": of_all, "against": ("text",)})])
    assert [losses.needs_own(loss) for loss in (losses.margin, losses.info_nce, losses.nce)] == [True, False, False]


def test_spaces_that_only_reach_each_other_are_a_cycle():
    with pytest.raises(ValueError, match="cannot be reached from any modality"):
        Graph(
            spaces={"va": 2, "a": 2, "b": 2},
            heads=[("video", "va"), ("audio", "va"), ("a", "b"), ("b", "a")],
            pairs=[("video", "audio", "va")],
        )


def test_heads_and_pairs_may_be_given_as_objects():
    graph = Graph({"va": 3}, [Head("video", "va"), Head("audio", "va")], [Pair("video", "audio", "va")])
    assert graph.describe().splitlines()[0] == "spaces: va [3]"


def test_the_drawing_names_every_modality_space_and_pair_and_escapes_them():
    graph = Graph({"va<": 3}, [("video", "va<"), ("audio", "va<")], [("video", "audio", "va<")])
    drawing = graph_drawing.svg(graph)
    assert drawing.count("<rect class=") == 3
    assert "va&lt; [3]" in drawing and "va< " not in drawing
    assert "video ~ audio: nce x 1" in drawing


def _gdt() -> Graph:
    views = {f"{modality}{view}": modality for modality in ("video", "audio") for view in ("_2", "_r", "_2r")}
    return Graph({"va": 3}, [("video", "va"), ("audio", "va")], gdt_pairs(6), views)


def test_views_take_the_paths_of_their_modality_and_stand_beside_it():
    graph = _gdt()
    assert graph.modalities == ("video", "audio")
    assert graph.inputs == ("video", "video_2", "video_r", "video_2r", "audio", "audio_2", "audio_r", "audio_2r")
    assert [str(h) for h in graph.path("audio_r", "va")] == ["audio -> va"]
    names = [graph.pair_name(pair) for pair in graph.pairs]
    assert len(set(names)) == 16 and names[0] == "video_audio_against_audio_r_own"
    # What is probed after training are the modalities, once.
    assert probe.comparisons(graph) == [("video_audio", "video", "audio", "va")]
    one = Graph({"v": 3}, [("video", "v")], [("video", "w", "v", {"loss": losses.nt_xent})], {"w": "video"})
    assert probe.comparisons(one) == []
    assert graph.modalities_compared() == {frozenset(("video", "audio"))}
    assert one.modalities_compared() == {frozenset(("video",))}


def test_a_modality_of_which_only_a_view_is_compared_is_left_out_of_training():
    heads = [("video", "v"), ("audio", "v"), ("v", "h")]
    graph = Graph({"v": 3, "h": 3}, heads, [("video", "w", "h", {"second_space": "v"})], {"w": "audio"})
    assert graph.trained_inputs == ("video", "w") and graph.training_spaces("audio") == ()
    assert graph.trained_spaces("audio") == {"v"} and "audio also reaches v" not in graph.describe()
    assert "audio also reaches h at inference" in graph.describe()
    assert "(video, w) in h and v: nce" in graph.describe()


def test_views_are_printed_and_drawn():
    text, drawing = _gdt().describe(), graph_drawing.svg(_gdt())
    assert "views:\n  video_2: of video\n" in text
    assert "  (video, audio against audio_r, own included) in va: info_nce, weight 0.0625" in text
    assert drawing.count('<rect class="view"') == 6 and "view of audio" in drawing
    assert "video ~ audio against audio_r (own too): info_nce x 0.0625" in drawing
    # Many pairs are a list below all boxes, inside the picture.
    assert "16 pairs, see below" in drawing
    listed = re.findall(r'<text class="small pair" x="31" y="(\d+)">([^<]+)', drawing)
    boxes = [float(y) for y in re.findall(r'<rect class=.*? y="(\d+)"', drawing)]
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawing).groups())
    assert len(listed) == 17 and max(boxes) + 44 < float(listed[0][0]) and float(listed[-1][0]) < height
    assert all(31 + 6 * len(line) < width for _, line in listed)
