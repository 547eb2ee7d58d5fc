"""XDC's clusters: k-means and losses against their formula, and a refresh that writes them and resets their heads."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import toy
from helpers.system_arrays import arrays, normal, unit
from mmv_tf.model.graph import Graph
from mmv_tf.model.losses import Embeddings
from mmv_tf.model.record_losses import Labels, cross_entropy
from mmv_tf.training import optimizer_state
from mmv_tf.training.per_record.clusters import Vectors, clusters, lloyd
from mmv_tf.training.per_record.refresh import Refresh, Refreshing

HEADS = [("video", "audio_clusters"), ("audio", "video_clusters")]
PAIRS = [
    ("video", "table:audio_clusters", "audio_clusters", {"loss": cross_entropy}),
    ("audio", "table:video_clusters", "video_clusters", {"loss": cross_entropy}),
]


def graph(k=3, **options) -> Graph:
    return Graph(**{"spaces": {"audio_clusters": k, "video_clusters": k}, "heads": HEADS, "pairs": PAIRS, **options})


@pytest.mark.parametrize(("name", "other", "seeds"), [("video", "audio", (411, 412)), ("audio", "video", (412, 411))])
def test_k_means_and_the_loss_of_its_classes_equal_their_formula(name, other, seeds):
    golden, values = arrays(f"derived/xdc/{name}"), unit([60, 8], seeds[0])
    blocks = Vectors([values[:, :3], values[:, 3:]], np.arange(60), block=25)
    labels, centres, inertia = lloyd(blocks, values[:5], 7)
    np.testing.assert_array_equal(labels, golden["assignments"])
    np.testing.assert_allclose(centres, golden["centres"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inertia, golden["inertia"][: len(inertia)], rtol=1e-5)
    assert len(inertia) == 7 or golden["inertia"][len(inertia) - 1] == golden["inertia"][-1]  # nothing moved any more
    taught = arrays(f"derived/xdc/{name}_labels_teach_the_other")
    logits = tf.constant(unit([60, 8], seeds[1]) @ normal([5, 8], 413).T)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        there = np.ones(60, bool)
        compared = cross_entropy(Embeddings.single(logits), Labels(labels[:, None], there, there))
        value = compared.share()
    np.testing.assert_allclose(value, taught["loss"], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, logits), taught["grad_logits"], atol=1e-6)
    np.testing.assert_array_equal(compared.found, logits.numpy().argmax(axis=1) == labels)


def test_an_empty_cluster_keeps_its_centre():
    values = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    labels, centres, inertia = lloyd([values], np.array([[0.0], [10.0], [99.0]]), 9)
    np.testing.assert_array_equal(labels, [0, 0, 1, 1])
    np.testing.assert_array_equal(centres, [[0.5], [10.5], [99.0]])
    assert inertia == [2.0, 1.0]


class Whole:
    """Records whose representations are known: three directions of any length; every fifth has no sound."""

    def __init__(self, graph, count=40, seed=7):
        self.model, self.count, self.seed, self.number, self.said = (
            types.SimpleNamespace(graph=graph),
            count,
            seed,
            0,
            [],
        )
        rs = np.random.RandomState(0)
        self.kind = rs.randint(3, size=count)
        self.values = {
            "video": (np.eye(3, 6)[self.kind] + 0.01 * rs.standard_normal((count, 6))) * rs.uniform(1, 50, (count, 1)),
            "audio": np.eye(3, 4)[self.kind[::-1]] + 0.01 * rs.standard_normal((count, 4)),
        }
        self.present = {"video": np.ones(count, bool), "audio": np.arange(count) % 5 != 4}

    def say(self, line):
        self.said.append(line)

    def embeddings(self, batch_size):
        for first in range(0, self.count, batch_size):
            part = slice(first, first + batch_size)
            values = {(name, "repr"): v[part].astype(np.float32) for name, v in self.values.items()}
            yield first, types.SimpleNamespace(embeddings=values, present={n: p[part] for n, p in self.present.items()})


def _same_parts(labels, kinds) -> bool:
    return len(set(zip(labels, kinds, strict=True))) == len(set(labels)) == len(set(kinds))


def test_records_are_in_the_cluster_of_their_like_and_in_none_where_nothing_is_there(tmp_path):
    whole = Whole(graph())
    made = clusters(3, batch_size=7, sample=25, folder=str(tmp_path))
    found = made.compute(whole)
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == dict.fromkeys(made.widths, ((40, 1), np.int32))
    assert made.resets == ("video -> audio_clusters", "audio -> video_clusters") and not list(tmp_path.iterdir())
    there = whole.present["audio"]
    np.testing.assert_array_equal(found["audio_clusters"][:, 0] < 0, ~there)
    assert _same_parts(found["video_clusters"][:, 0], whole.kind)
    assert _same_parts(found["audio_clusters"][there, 0], whole.kind[::-1][there])
    assert "audio_clusters: 32 records in 3 of 3 clusters of up to " in whole.said[1]
    again = clusters(3, batch_size=16, sample=25).compute(Whole(graph()))
    assert all(np.array_equal(found[name], again[name]) for name in found)
    others = [clusters(3, sample=25).compute(Whole(graph(), seed=seed))["video_clusters"] for seed in range(4)]
    assert len({one.tobytes() for one in others}) > 1  # the numbers mean nothing


def test_clusters_of_both_side_by_side_are_cdc():
    both = graph(
        9,
        spaces={"both": 9},
        heads=[("video", "both"), ("audio", "both")],
        pairs=[(m, "table:both_clusters", "both", {"loss": cross_entropy}) for m in ("video", "audio")],
    )
    whole = Whole(both, count=200)
    made = clusters(9, {"both_clusters": ("video", "audio")})
    labels = made.compute(whole)["both_clusters"][:, 0]
    there = whole.present["audio"]
    np.testing.assert_array_equal(labels < 0, ~there)
    assert _same_parts(labels[there], 3 * whole.kind[there] + whole.kind[::-1][there])
    assert made.resets == ("video -> both", "audio -> both")


def test_what_cannot_be_clustered_is_named():
    for made, of, said in (
        (
            clusters(4),
            graph(3),
            r"clusters.k = 4, and pair \(video, table:audio_clusters\) in audio_clusters tells them",
        ),
        (
            clusters(3, {"video_clusters": ("smell",)}),
            graph(3),
            "clusters.of names 'smell'; the graph has video, audio",
        ),
        (clusters(33), graph(33), "clusters.k = 33: 32 records have audio, fewer than clusters"),
    ):
        with pytest.raises(ValueError, match=said):
            made.compute(Whole(of))
    broken = Whole(graph())
    broken.values["video"][3] = np.nan
    with pytest.raises(ValueError, match="the representation of video is NaN or Inf"):
        clusters(3).compute(broken)


class Records:
    """A pipeline of 12 records."""

    is_finished = True

    def every_training_record(self, batch_size, clips):
        rows = toy.batch(12)
        rows = {name: rows[name] for name in ("video", "audio", "audio_mask")}
        rows |= {"video_mask": tf.ones([12], tf.bool), "label": tf.fill([12], -1)}
        rows |= {"key": tf.fill([12], "k"), "label_names": tf.fill([12], "")}
        return tf.data.Dataset.from_tensor_slices(rows).batch(clips)


def test_a_refresh_writes_the_clusters_and_resets_the_heads_that_tell_them():
    model = toy.mmv(graph())
    model.keep_records(12, 32 * "0", {"audio_clusters": 1, "video_clusters": 1})
    step = tf.Variable(0, dtype=tf.int64)
    strategy = tf.distribute.get_strategy()
    refreshing = Refreshing(Refresh(4, clusters(3)), model, Records(), strategy, step, batch_size=4, seed=0, until=8)
    refreshing()
    tables = {name: table.numpy() for name, table in model.per_record.tables.items()}
    np.testing.assert_array_equal(tables["audio_clusters"][:, 0] < 0, ~toy.batch(12)["audio_mask"].numpy())
    assert set(tables["video_clusters"][:, 0]) == {0, 1, 2}
    batch = {**toy.batch(12), "index": tf.range(12)}
    loss = np.log(3)
    for _ in range(6):
        sums = dict(zip(model.log_names, model.take_step(batch).numpy(), strict=True))
    taught, weight = sums["loss/audio_table_video_clusters"]
    assert weight == 1 and 0 < taught < loss and sums["told/video_table_audio_clusters"][1] == 9  # three have no sound
    before = {name: variable.numpy() for name, variable in model.named_variables().items()}
    step.assign(4)
    refreshing()
    slots = optimizer_state.named(model.optimizer, model)
    for name, variable in model.named_variables().items():
        of_head = name.partition("/")[0] in model.heads
        assert np.array_equal(before[name], variable) != of_head, name
        if variable.trainable and f"momentum/{name}" in slots:
            assert np.any(slots[f"momentum/{name}"]) != of_head, name
    kernel = model.heads["video -> audio_clusters"].projection.kernel
    assert 0.1 < float(keras.ops.std(kernel)) < 1
    step.assign(8)  # the end of the run, at which the heads stay as they are
    refreshing()
    assert int(model.per_record.refreshed) == 4


@pytest.mark.parametrize("own_alone", [True, False], ids=["SDC", "MDC"])
def test_the_own_clusters_are_told_by_another_pair_and_head(own_alone):
    own = {name: f"own_{name}" for name in ("video", "audio")}
    pairs = [(name, f"table:{name}_clusters", space, {"loss": cross_entropy}) for name, space in own.items()]
    options = {"spaces": dict.fromkeys(own.values(), 3), "heads": list(own.items()), "pairs": pairs}
    if not own_alone:
        others = {"audio_clusters": 3, "video_clusters": 3}
        options = {"spaces": options["spaces"] | others, "heads": options["heads"] + HEADS, "pairs": pairs + PAIRS}
    model = toy.mmv(graph(**options))
    made = clusters(3)
    model.keep_records(12, 32 * "0", made.widths)
    arguments = (Records(), tf.distribute.get_strategy(), tf.Variable(0, dtype=tf.int64))
    Refreshing(Refresh(4, made), model, *arguments, batch_size=4, seed=0, until=8)()
    assert set(made.resets) == {" -> ".join(head) for head in options["heads"]}
    batch = {**toy.batch(12), "index": tf.range(12)}
    logits = model(batch, training=True)["video"]["own_video"]
    sums = model.take_step(batch)
    found = {name: total / weight for name, (total, weight) in zip(model.log_names, sums.numpy(), strict=True)}
    told = [name for name in found if name.startswith("loss/") and "table" in name]
    assert len(told) == len(options["pairs"]) and "loss/video_table_video_clusters" in told
    np.testing.assert_allclose(found["total_loss"], sum(found[name] for name in told), rtol=1e-5)
    labels = model.per_record.tables["video_clusters"].numpy()[:, 0]
    expected = keras.losses.sparse_categorical_crossentropy(labels, tf.reshape(logits, [12, 3]), from_logits=True)
    np.testing.assert_allclose(found["loss/video_table_video_clusters"], np.mean(expected), rtol=1e-5)
