"""Names that gin takes without a word."""

import re

import gin
import pytest

from mmv_tf.common import bindings, config

GIVEN = ["TRAIN_DATA = 'a/train-*'", "AUDIOSET_DATA = 'b/train-*'"]
SEARCH = ["", str(config.gin_folder().parent)]


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("STPES = 100", "binding 'STPES': there is no macro %STPES: nothing refers to it; did you mean 'STEPS'?"),
        ("XYZ = 1", "binding 'XYZ': .* there are: AUDIOSET_DATA, STEPS, TRAIN_DATA, VIDEO, VOCABULARY."),
        (
            "audoiset/Source.weight = 2.0",
            r"binding 'audoiset/Source.weight': nothing is made in a scope 'audoiset' \(as in @audoiset/Source\(\)\); "
            "did you mean 'audioset'?",
        ),
    ],
)
def test_a_name_that_nothing_refers_to_is_an_error(binding, message):
    with pytest.raises(ValueError, match=message):
        bindings.check(["gin/final/fac_s3d.gin"], [*GIVEN, binding], SEARCH)


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("train.steps = %STPES", "binding train.steps = %STPES: there is no macro %STPES; did you mean 'STEPS'?"),
        ("S3D.width = [%XYZ]", "binding S3D.width = [%XYZ]: there is no macro %XYZ; there are: AUDIOSET_DATA, STEPS, "),
        ("STEPS = %STEPS", "binding STEPS = %STEPS: the macro stands for itself (%STEPS = %STEPS)"),
        ("STEPS = [%A]\nA = {'a': %STEPS}", "binding STEPS = [%A]: the macro stands for itself (%STEPS = %A = %STEPS)"),
    ],
)
def test_a_macro_that_stands_for_nothing_is_an_error(binding, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        bindings.check(["gin/final/fac_s3d.gin"], [*GIVEN, binding], SEARCH)


def test_a_macro_may_stand_for_another_and_a_constant_for_itself(monkeypatch):
    bindings.check(["gin/va.gin"], [GIVEN[0], "STEPS = %A", "A = %B", "B = [%C, %C]", "C = 3"], SEARCH)
    bindings.check(["gin/va.gin"], [GIVEN[0], "train.steps = %NO", "train.steps = %gin.REQUIRED"], SEARCH)


def test_what_is_overridden_may_stay():
    bindings.check(["gin/final/fac_s3d.gin"], [*GIVEN, "STEPS = 7", "audioset/Source.weight = 2.0"], SEARCH)
    # The macro and the scope of AudioSet are left over here, and both were in use before.
    bindings.check(["gin/final/fac_s3d.gin", "gin/data/records.gin"], ["Source.pattern = 'x'", *GIVEN], SEARCH)
    bindings.check(["gin/demo.gin", "gin/graphs/va.gin"], GIVEN[:1], SEARCH)


def test_an_operative_configuration_passes(tmp_path):
    from mmv_tf.model.mmv import MMV

    config.parse(["gin/va.gin", "gin/models/tiny.gin"])
    MMV()
    file = tmp_path / "config.gin"
    file.write_text(gin.operative_config_str())
    assert "VIDEO/S3D.width" in file.read_text()  # a macro's value is made in a scope of its name
    bindings.check([str(file)])


def test_blocks_and_own_files(tmp_path):
    file = tmp_path / "mine.gin"
    file.write_text("include 'gin/va.gin'\nInputPipeline.sources = [@a/Source()]\na/Source:\n  pattern = 'x/train-*'\n")
    bindings.check([file], [], SEARCH)
    file.write_text("include 'gin/va.gin'\nInputPipeline.sources = [@a/Source()]\nb/Source:\n  pattern = 'x/train-*'\n")
    with pytest.raises(ValueError, match="'b/Source.pattern': nothing is made in a scope 'b'"):
        bindings.check([file], [], SEARCH)


def test_unused():
    from mmv_tf.inputs.audio import LogMel  # noqa: F401  (so that gin knows it)
    from mmv_tf.inputs.video import VideoInput

    gin.parse_config(
        """
        VideoInput.num_frames = 4
        made/VideoInput.hue = 0.1
        never/VideoInput.hue = 0.2
        LogMel.num_bins = 9
        """
    )
    with gin.config_scope("made"):
        VideoInput()
    assert bindings.unused() == ["LogMel.num_bins", "never/VideoInput.hue"]
