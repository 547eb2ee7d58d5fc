"""Dropout and DropToken: a sample draws the same on one device, on replicas, in micro-batches and after a stop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers import graphs, toy
from mmv_tf.backbones import VideoTokens, VideoTransformer, WaveformTokens, WaveformTransformer, draws
from mmv_tf.backbones.draws import Draws
from mmv_tf.common import identity
from mmv_tf.model import accumulation
from mmv_tf.model.graph import Graph, Head
from mmv_tf.model.heads import ProjectionHead
from mmv_tf.model.mmv import MMV

SIZE = {"layers": 1, "dim": 8, "hidden": 8, "heads": 2, "dropout": 0.3}


def test_later_samples_are_a_part_of_the_whole():
    whole = Draws(7, 3, "text", ("text",), size=6).bits("a", [12, 5]).numpy()  # two candidates a sample
    parts = [Draws(7, 3, "text", ("text",), first, size=2).bits("a", [4, 5]) for first in (0, 2, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    dynamic = tf.function(
        lambda first, x: Draws(tf.constant(7), tf.constant(3), "text", ("text",), first, size=tf.shape(x)[0]).bits(
            "a", [2 * tf.shape(x)[0], 5]
        ),
        input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.float32)],
    )
    np.testing.assert_array_equal(dynamic(2, np.zeros(2, np.float32)), whole[4:8])
    rows = Draws(7, 3, "text", ("text",), rows=tf.constant([1, 4]), size=6).bits("a", [2, 10])
    np.testing.assert_array_equal(rows, whole.reshape(6, 10)[[1, 4]])


def test_compiled_by_xla_samples_are_a_part_of_the_whole_too():
    @tf.function(jit_compile=True)
    def drawn():
        parts = [Draws(7, 3, "video", ("video",), tf.constant(first), size=2) for first in (0, 2)]
        whole = Draws(7, 3, "video", ("video",), size=4)
        bits = [part.bits("a", [2, 9]) for part in parts]
        return tf.concat(bits, axis=0), whole.bits("a", [4, 9]), whole.permutation(9, "b")

    bits, whole, order = drawn()
    np.testing.assert_array_equal(bits, whole)
    np.testing.assert_array_equal(np.sort(order), np.arange(9))


def test_views_draw_for_themselves_together_or_apart():
    both = Draws(7, 3, "video", ("video", "video_2"), first=4, size=6).bits("a", [6, 7]).numpy()
    for i, view in enumerate(("video", "video_2")):
        alone = Draws(7, 3, "video", (view,), first=4, size=3).bits("a", [3, 7])
        np.testing.assert_array_equal(both[3 * i : 3 * i + 3], alone)
    assert (both[:3] != both[3:]).all()


def test_other_seeds_steps_modalities_and_parts_draw_otherwise():
    several = [Draws(1, 1, "video"), Draws(2, 1, "video"), Draws(1, 2, "video"), Draws(1, 1, "audio")]
    found = [drawn.bits(name, [100]).numpy() for drawn in several for name in ("a", "b")]
    assert len({tuple(bits) for bits in found}) == 8
    orders = {tuple(drawn.permutation(20, "a").numpy()) for drawn in several}
    assert len(orders) == 4


def test_dropout_keeps_the_mean():
    x = tf.fill([200, 501], 2.0)
    found = Draws(1).dropout(x, 0.1, "a").numpy()
    assert set(np.unique(found)) == {0.0, np.float32(2 / 0.9)}
    np.testing.assert_allclose((found == 0).mean(axis=1).mean(), 0.1, atol=0.003)  # three deviations


def model(seed=5, micro_batches=1, each=False):
    keras.utils.set_random_seed(0)
    backbones = {
        "video": VideoTransformer("tiny", tokens=VideoTokens((1, 2, 2), (2, 2, 2), drop_each=each), **SIZE),
        "audio": WaveformTransformer("tiny", tokens=WaveformTokens(4, 10), **SIZE),
    }
    made = MMV(backbones, graphs.va(), micro_batches)
    made.build_by_call(batch(2))
    made.seed = seed
    made.compile(optimizer=keras.optimizers.SGD(0.1))
    made.optimizer.build(made.trainable_variables)
    return made


def batch(size):
    found = toy.batch(size)
    return {**found, "audio": tf.random.stateless_normal([size, 40], [1, 2])}


def gradients(model, batch):
    found, logs = accumulation.gradients(model, batch, model.trainable_variables, model.micro_batches)
    found = [tf.zeros(v.shape) if g is None else g for g, v in zip(found, model.trainable_variables, strict=True)]
    return [tf.convert_to_tensor(g) for g in found], logs["total_loss"][0]


def assert_close(found, expected):
    largest = max(np.abs(g).max() for g in expected)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-4 * largest)


@pytest.fixture(scope="module")
def whole():
    return gradients(model(each=True), batch(8))


def test_micro_batches_draw_what_the_whole_batch_draws(whole):
    found, loss = tf.function(gradients, autograph=False)(model(micro_batches=4, each=True), batch(8))
    np.testing.assert_allclose(loss, whole[1], rtol=1e-5)
    assert_close(found, whole[0])
    other = gradients(model(seed=6, each=True), batch(8))[1]
    assert abs(other - whole[1]) > 1e-3


def test_replicas_draw_what_one_device_draws(whole):
    strategy = toy.mirrored(2)
    with strategy.scope():
        made = model(each=True)
    halves = strategy.experimental_distribute_values_from_function(
        lambda c: {n: v[c.replica_id_in_sync_group * 4 :][:4] for n, v in batch(8).items()}
    )
    found, loss = strategy.run(gradients, args=(made, halves))
    np.testing.assert_allclose(sum(strategy.experimental_local_results(loss)), whole[1], rtol=1e-5)
    assert_close([sum(strategy.experimental_local_results(g)) for g in found], whole[0])


def test_a_step_draws_by_its_number_alone():
    made = model()
    before = made.get_weights()
    losses = []
    for number in (0, 1, 1):  # the last as after a stop: nothing but the number is remembered
        made.set_weights(before)
        made.optimizer.iterations.assign(number)
        losses.append(float(made.compute_losses(batch(8), training=True)[0]))
    assert losses[1] == losses[2] and abs(losses[0] - losses[1]) > 1e-4


def test_outside_of_a_step_the_seed_is_that_of_keras():
    network, x = VideoTransformer("tiny", tokens=VideoTokens((1, 2, 2), (2, 2, 2)), **SIZE), batch(3)["video"]
    network(x)
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        found.append([network(x, training=True).numpy() for _ in range(2)])
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0][0] != found[0][1]).any()
    assert draws.here(training=False) is None


def with_dropout(share=0.5):
    graph = Graph(
        spaces={"va": 6},
        heads=[(name, "va", {"hidden": (8,), "dropout": share}) for name in ("video", "audio")],
        pairs=[("video", "audio", "va")],
    )
    return toy.mmv(graph)


def test_heads_drop_in_training_alone_and_by_the_number_of_the_step():
    made, plain, given = with_dropout(), with_dropout(0.0), toy.batch(8)
    for network in (made, plain):
        assert_close(network.embed(given)["video"].values(), plain.embed(given)["video"].values())
    assert identity.of(made.heads) == identity.of(plain.heads)
    losses = {}
    for number in (0, 1, 1):
        made.optimizer.iterations.assign(number)
        losses.setdefault(number, []).append(float(made.compute_losses(given, training=True)[0]))
    assert losses[1][0] == losses[1][1] and abs(losses[0][0] - losses[1][0]) > 1e-3
    head = ProjectionHead(Head("video", "va", dropout=0.25), 400)
    with draws.within(draws.Draws(1)):
        kept = np.concatenate([head(tf.one_hot([i], 200), training=True) for i in range(200)])
    share = (kept != 0).any(axis=1).mean()  # a row of the kernel, or nothing
    assert abs(share - 0.75) < 0.1
    np.testing.assert_allclose(kept[kept != 0], (np.array(head.projection.kernel) / 0.75)[kept != 0], rtol=1e-6)


def test_heads_drop_the_same_on_replicas():
    whole = gradients(with_dropout(), toy.batch(8))
    strategy = toy.mirrored(2)
    with strategy.scope():
        made = with_dropout()
    halves = strategy.experimental_distribute_values_from_function(
        lambda c: {n: v[c.replica_id_in_sync_group * 4 :][:4] for n, v in toy.batch(8).items()}
    )
    found, loss = strategy.run(gradients, args=(made, halves))
    np.testing.assert_allclose(sum(strategy.experimental_local_results(loss)), whole[1], rtol=1e-5)
    assert_close([sum(strategy.experimental_local_results(g)) for g in found], whole[0])
