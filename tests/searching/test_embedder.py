"""What an Embedder says of a module without running it: where two modalities meet, and whether they were trained."""

import pathlib
import shutil

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from helpers import tiny_export
from mmv_tf.common import config
from mmv_tf.export import module_files
from mmv_tf.searching.embedder import Embedder


def _without_weights(folder, spaces, configuration: str | None = "", signatures=("video", "image", "audio", "text")):
    """The files of the tiny module that say what it is, with other sizes of its spaces.

    Args:
      configuration: what is added to that of the module; None: without one.
    """
    module = tiny_export.export().module
    saved = saved_model_pb2.SavedModel.FromString((module / "saved_model.pb").read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    for name in [name for name in definitions if name not in signatures]:
        del definitions[name]
    for definition in definitions.values():
        for space, size in spaces.items():
            if space in definition.outputs:
                definition.outputs[space].tensor_shape.dim[1].size = size
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    if configuration is not None:
        own = pathlib.Path(shutil.copytree(module / "assets.extra", folder / "assets.extra"), "config.gin")
        own.write_text(f"{own.read_text()}\n{configuration}\n")
    return str(folder)


SIZES = [{"va": 16, "vat": 8}, {"va": 16, "vat": 16}, {"va": 8, "vat": 16}]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("has_image", [True, False])
def test_modalities_meet_where_they_were_trained_whatever_the_sizes(tmp_path, sizes, has_image):
    names = ("video", "audio", "text", "image")[: 3 + has_image]
    embedder = Embedder(_without_weights(tmp_path / "m", sizes, f"Graph.spaces = {sizes}", names))
    spaces = {
        (query, target): embedder.common_space(query, target)
        for query in ("text", "image", "video", "audio")
        for target in ("video", "audio")
    }
    assert spaces == {pair: "vat" if "text" in pair else "va" for pair in spaces}
    assert embedder.was_trained("image", "audio") and embedder.was_trained("text", "video")
    assert embedder.was_trained("text", "audio") is False


def test_a_module_without_sound_is_searched_by_its_pictures_alone(tmp_path):
    embedder = Embedder(_without_weights(tmp_path / "m", {}, "", ("video", "text")))
    assert embedder.common_space("text", "audio") is None and embedder.common_space("text", "video") == "vat"


def test_a_configuration_without_a_graph_says_nothing_and_of_a_wrong_one_it_is_told(tmp_path, capsys):
    folder = _without_weights(tmp_path / "foreign", {}, None)
    embedder = Embedder(folder)
    assert embedder.was_trained("text", "video") is None and embedder.common_space("audio", "video") == "va"
    assert "the clips of the published networks are taken" in capsys.readouterr().out
    (tmp_path / "foreign/assets.extra").mkdir()
    (tmp_path / "foreign/assets.extra/config.gin").write_text("VideoInput.num_frames = 4\n")
    embedder = Embedder(folder)
    assert embedder.pairs is None and embedder.clips.num_frames == 4
    for damaged in ("VideoInput.num_frames = 4\nVideoIn", "VideoInput.num_frames = ("):
        (tmp_path / "foreign/assets.extra/config.gin").write_text(damaged)
        with pytest.raises(ValueError, match=r"foreign/assets.extra/config.gin.*line 2\b"):
            Embedder(folder)
    wrong = _without_weights(tmp_path / "wrong", {}, "Graph.pairs = [('video', 'smell', 'va')]")
    with pytest.warns(UserWarning, match="wrong: assets.extra/config.gin: Pair .*unknown modality 'smell'") as said:
        assert Embedder(wrong).was_trained("audio", "video") is None
    assert "\n" not in str(said[0].message)


def test_the_pairs_of_a_module_are_those_of_its_run():
    export = tiny_export.export()
    with config.kept():
        module_files.parse_config(str(export.module))
        pairs = module_files.modalities_compared(str(export.module))
    assert pairs == export.loaded.model.graph.modalities_compared()
    assert pairs == {frozenset(("video", "audio")), frozenset(("video", "text"))}
