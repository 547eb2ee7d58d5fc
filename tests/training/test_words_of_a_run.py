"""Words and their rows in a second sitting, and in a run that begins with another one's weights."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from mmv_tf.backbones.text_network import TextNetwork
from mmv_tf.inputs.text import Tokenizer
from mmv_tf.model.graph import Graph
from mmv_tf.model.mmv import MMV
from mmv_tf.records import vocabulary, word_vectors
from mmv_tf.training import workdir as workdirs

WORDS = ("red", "green", "ball", "box")


def _pipeline(words):
    return types.SimpleNamespace(text=Tokenizer(tuple(words)))


def _model(rows=5, dim=3, seed=0, **text):
    keras.utils.set_random_seed(seed)
    graph = Graph(spaces={"vt": 4}, heads=[("video", "vt"), ("text", "vt")], pairs=[("video", "text", "vt")])
    network = TextNetwork(vocabulary_size=rows, dim=dim, units=4, learned=True, **text)
    model = MMV(backbones={"video": toy.ToyBackbone(), "text": network}, graph=graph)
    model.build_by_call({"video": toy.batch(2)["video"], "text": tf.ones([2, 1, 3], tf.int32)})
    return model


def _rows(model):
    return model.backbones["text"].embeddings.numpy()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(workdir with weights and vocabulary, its model)."""
    folder, model = tmp_path_factory.mktemp("source"), _model()
    checkpoint = workdirs.make_checkpoint(model, tf.Variable(3, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, str(folder / "checkpoints"), 1).save(3)
    vocabulary.write(WORDS, str(folder / "vocabulary.txt"))
    return folder, model


def test_a_run_goes_on_with_its_own_words(source):
    folder, _ = source
    workdirs.check_words(str(folder), _pipeline(WORDS))
    workdirs.check_words(str(folder), types.SimpleNamespace(text=None))
    workdirs.check_words(str(folder / "nothing here"), _pipeline(WORDS))


def test_word_vectors_of_a_vocabulary_in_another_order_are_refused(tmp_path):
    (tmp_path / "all.txt").write_text("red 1 2\ngreen 3 4\nball 5 6\nbox 7 8\n")
    word_vectors.write_matrix(WORDS, tmp_path / "all.txt", None, tmp_path / "v.npy")
    network = types.SimpleNamespace(vectors=str(tmp_path / "v.npy"), vocabulary_size=5)
    model = types.SimpleNamespace(
        graph=types.SimpleNamespace(modalities=("text",), views={}), backbones={"text": network}
    )

    def pipeline(words):
        text = types.SimpleNamespace(words=words, num_ids=len(words) + 1)
        return types.SimpleNamespace(modalities=("text",), views={}, text=text)

    workdirs.check_fit(model, pipeline(WORDS))
    with pytest.raises(
        ValueError, match=r"v.npy: its rows are those of another vocabulary, .* \(words \w{12}, and now"
    ):
        workdirs.check_fit(model, pipeline(WORDS[::-1]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (WORDS[::-1], "word 1 was 'red' and is 'box'; 4 words and 4"),
        (WORDS[:3], "word 4 was 'box' and is no word; 4 words and 3"),
        ((*WORDS, "dog"), "word 5 was no word and is 'dog'"),
    ],
)
def test_other_words_are_refused_before_anything_is_written(source, words, said):
    folder, _ = source
    with pytest.raises(ValueError, match=said) as error:
        workdirs.check_words(str(folder), _pipeline(words))
    assert f"VOCABULARY='{folder}/vocabulary.txt'" in str(error.value)
    assert vocabulary.read(str(folder / "vocabulary.txt")) == WORDS


def test_rows_are_found_by_their_words(source, capsys):
    folder, before = source
    words = ("box", "dog", "RED")
    model = _model(rows=4, seed=1)
    own = _rows(model).copy()
    assert workdirs.initialise(model, str(folder), (), words) == ["video", "text", "video -> vt", "text -> vt"]
    theirs = _rows(before)
    np.testing.assert_array_equal(_rows(model), [theirs[0], theirs[4], own[2], theirs[1]])
    assert "2 of 3 words have a row in" in capsys.readouterr().out
    for name, variable in before.named_variables().items():
        if name != "text/embeddings":
            np.testing.assert_array_equal(model.named_variables()[name].numpy(), variable.numpy(), err_msg=name)


def test_a_checkpoint_finds_the_words_of_its_workdir(source):
    folder, before = source
    model = _model(seed=1)
    workdirs.initialise(model, str(folder / "checkpoints" / "ckpt-3"), ("text",), WORDS[::-1])
    np.testing.assert_array_equal(_rows(model)[1:], _rows(before)[:0:-1])


def test_equal_words_and_unknown_words_take_the_rows_in_their_order(source, tmp_path, capsys):
    folder, before = source
    model = _model(seed=1)
    workdirs.initialise(model, str(folder), ("text",), WORDS)
    np.testing.assert_array_equal(_rows(model), _rows(before))
    assert capsys.readouterr().out == ""
    checkpoint = workdirs.make_checkpoint(before, tf.Variable(3, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, str(tmp_path / "checkpoints"), 1).save(3)
    workdirs.initialise(_model(seed=1), str(tmp_path), ("text",), WORDS)
    assert "has no vocabulary.txt: its word vectors are taken in their order" in capsys.readouterr().out


def test_other_lengths_of_vectors_are_an_error(source):
    folder, _ = source
    with pytest.raises(ValueError, match="word vectors of 3 numbers, and TextNetwork.dim = 2"):
        workdirs.initialise(_model(dim=2), str(folder), ("text",), WORDS[::-1])


def test_which_of_two_sources_of_vectors_wins_is_said(source, tmp_path, capsys):
    folder, before = source
    np.save(tmp_path / "vectors.npy", np.full((5, 3), 7.0, np.float32))
    model = _model(vectors=str(tmp_path / "vectors.npy"))
    workdirs.initialise(model, str(folder), (), ("ball", "dog", "cat", "cow"))
    np.testing.assert_array_equal(_rows(model)[:3], [_rows(before)[0], _rows(before)[3], [7, 7, 7]])
    assert "its vector wins over that of TextNetwork.vectors" in capsys.readouterr().out
