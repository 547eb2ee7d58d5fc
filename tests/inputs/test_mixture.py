import gin
import pytest

from mmv_tf.inputs.mixture import Source, distinct_names
from mmv_tf.inputs.pipeline import InputPipeline


def test_a_source_is_called_by_its_name_its_scope_or_its_folder():
    assert Source("gs://bucket/howto100m/train-*").name == "howto100m"
    assert Source(["a/b/train-*", "a/c/train-*"]).name == "b"
    assert Source("data/*/train-*").name == Source("train-*").name == "records"
    assert Source("a/b/train-*", name="mine").name == "mine"
    gin.parse_config("InputPipeline.sources = [@audioset/Source()]\naudioset/Source.pattern = 'x/train-*'")
    assert InputPipeline(modalities=["audio"]).source_names == ("audioset",)


def test_names_are_distinct():
    assert distinct_names([Source("a/train-*"), Source("b/a/train-*"), Source("c/train-*", name="a_2")]) == (
        "a",
        "a_3",
        "a_2",
    )
    with pytest.raises(ValueError, match="two sources are called 'x'"):
        InputPipeline([Source("a/train-*", name="x"), Source("b/train-*", name="x")], ["audio"])


def test_a_pattern_that_was_not_given_is_asked_for_by_its_macro():
    gin.parse_config(
        """
        TRAIN_DATA = ''
        AUDIOSET_DATA = ''
        Source.pattern = %TRAIN_DATA
        audioset/Source.pattern = %AUDIOSET_DATA
        """
    )
    with gin.config_scope("audioset"), pytest.raises(ValueError) as caught:
        Source()
    message = "the source 'audioset' has no pattern of records: give --gin_param=\"AUDIOSET_DATA='audioset/train-*'\""
    assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match="'records' .* give --gin_param=\"TRAIN_DATA='records/train-\\*'\""):
        Source()
    with gin.config_scope("howto100m"), pytest.raises(ValueError, match="'howto100m' .*TRAIN_DATA='howto100m/train"):
        Source()
    gin.clear_config()
    with pytest.raises(ValueError, match="'a' .* give Source.pattern, as in 'records/train-\\*'"):
        Source("", name="a")


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="Source.weight = 0: must be a number above 0"):
        Source("a/train-*", weight=0)
    with pytest.raises(ValueError, match="Source.name = 'a/b'"):
        Source("a/train-*", name="a/b")
