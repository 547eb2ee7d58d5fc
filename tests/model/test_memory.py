"""Memories of each record and the losses against them: AVID's and AVID-CMA's numbers, replicas, resuming, errors."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from helpers import avid_arrays, toy
from helpers.avid_arrays import BATCH, DIM, NEGATIVES, POSITIVES, RECORDS, arrays
from mmv_tf.model import per_record, record_losses
from mmv_tf.model.graph import Graph
from mmv_tf.model.losses import Embeddings, nce
from mmv_tf.model.memory import Memory
from mmv_tf.model.per_record import PerRecord, Recalled

MODALITIES = ("video", "audio")
OTHER = {"video": "audio", "audio": "video"}
IDENTITY = "0123456789abcdef" * 2
HEADS = [(m, "va") for m in MODALITIES]


def _loss(first, second, **settings):
    return record_losses.memory_nce(first, second, **settings)


def _within(first, second):
    return record_losses.memory_nce(first, second, positives=True, negatives=8)


CROSS = [(m, f"memory:{OTHER[m]}", "va", {"loss": _loss, "weight": 0.5}) for m in MODALITIES]
SELF = [(m, f"memory:{m}", "va", {"loss": _loss, "weight": 0.5}) for m in MODALITIES]
HALVES = {"weight": 0.25}
MODES = {
    "avid/step0": CROSS,
    "avid/self": SELF,
    "avid/joint": [(*pair[:3], {**pair[3], **HALVES}) for pair in (*CROSS, *SELF)],
    "cma": [
        *((*pair[:3], {**pair[3], **HALVES}) for pair in CROSS),
        *((m, f"memory:{m}", "va", {"loss": _within, **HALVES}) for m in MODALITIES),
    ],
}


def _graph(pairs, **memory):
    memory = Memory(negatives=NEGATIVES, **memory)
    return Graph({"va": DIM}, HEADS, pairs, memories={(m, "va"): memory for m in MODALITIES})


def _kept(mode, memories):
    positives = {"positives": "agreement"} if mode == "cma" else {}
    graph = _graph(MODES[mode], **positives)
    kept = PerRecord(graph, RECORDS, IDENTITY, {"agreement": POSITIVES} if positives else {})
    for (name, _), variable in kept.memories.items():
        variable.assign(memories[name])
    if positives:
        kept.set_table("agreement", arrays()["cma/positives_consensus"])
    return kept


def _step(kept, embeddings, index, monkeypatch, draws):
    """What a step gives with negatives drawn as there: loss by pair, their sum, its gradients, and the changes."""
    shifted = per_record.shifted
    with monkeypatch.context() as patch:
        patch.setattr(per_record, "drawn_from", lambda bits, count, avoided: shifted(tf.constant(draws), avoided))
        found = kept.recall({"index": tf.constant(index)}, 0, 0)
    recalled, inputs = Recalled(kept.graph, found), {n: tf.constant(e) for n, e in embeddings.items()}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        sides = {(name, "va"): Embeddings.single(e) for name, e in inputs.items()}
        shares = [pair.loss(sides[pair.sides[0]], recalled.second(pair, sides)).share() for pair in kept.graph.pairs]
        total = sum(pair.weight * share for pair, share in zip(kept.graph.pairs, shares, strict=True))
    recalled.note_changes(sides)
    return [float(share) for share in shares], float(total), tape.gradient(total, inputs), recalled.changed


def test_avid_equals_the_reference_for_three_steps(monkeypatch):
    kept, expected = _kept("avid/step0", avid_arrays.memories()), arrays()
    for step in range(3):
        index, draws = expected["avid/targets"][step], expected["avid/draws"][step]
        shares, total, gradients, changes = _step(kept, avid_arrays.embeddings(step), index, monkeypatch, draws)
        kept.remember(changes)
        place = f"avid/step{step}"
        np.testing.assert_allclose(shares, [expected[f"{place}/v2a"], expected[f"{place}/a2v"]], rtol=1e-5)
        np.testing.assert_allclose(total, expected[f"{place}/loss"], rtol=1e-5)
        np.testing.assert_allclose(kept.z.numpy(), expected[f"{place}/Z"], rtol=1e-5)
        negatives = per_record.shifted(tf.constant(draws), tf.constant(index)[:, None])
        np.testing.assert_array_equal(negatives, expected[f"{place}/negatives"])
        for name in MODALITIES:
            np.testing.assert_allclose(gradients[name], expected[f"{place}/grad_{name}"], atol=1e-6)
            rows = kept.memories[name, "va"].numpy()[index]
            np.testing.assert_allclose(rows, expected[f"{place}/{name}_memory_rows"], atol=1e-6)
    untouched = np.setdiff1d(np.arange(RECORDS), expected["avid/targets"].ravel())
    assert len(untouched) > 40
    begun = avid_arrays.memories()
    np.testing.assert_array_equal(kept.memories["video", "va"].numpy()[untouched], begun["video"][untouched])


@pytest.mark.parametrize("mode", ["avid/self", "avid/joint"])
def test_within_a_modality_and_both(mode, monkeypatch):
    kept, expected = _kept(mode, avid_arrays.memories()), arrays()
    index, draws = expected["avid/targets"][0], expected["avid/draws"][0]
    _, total, _, changes = _step(kept, avid_arrays.embeddings(0), index, monkeypatch, draws)
    np.testing.assert_allclose(total, expected[f"{mode}/loss"], rtol=1e-5)
    np.testing.assert_allclose(changes["z"], expected[f"{mode}/Z"], rtol=1e-5)


def test_cma_equals_the_reference(monkeypatch):
    kept, expected = _kept("cma", avid_arrays.grouped_memories()), arrays()
    index, draws = expected["avid/targets"][0], expected["cma/draws"]
    avoided = tf.constant(expected["cma/positives_consensus"][index], tf.int32)
    negatives = per_record.shifted(tf.constant(draws), avoided).numpy()
    np.testing.assert_array_equal(negatives, expected["cma/negatives"])
    assert (negatives == index[:, None]).any()  # a sample's own record can be among them, as there
    shares, total, gradients, changes = _step(kept, avid_arrays.embeddings(0), index, monkeypatch, draws)
    kept.remember(changes)
    np.testing.assert_allclose(
        shares, [expected[f"cma/loss_{one}"] for one in ("inst-v2a", "inst-a2v", "pos-v2v", "pos-a2a")], rtol=1e-5
    )
    np.testing.assert_allclose([total, float(changes["z"])], [expected["cma/loss"], expected["cma/Z"]], rtol=1e-5)
    for name in MODALITIES:
        np.testing.assert_allclose(gradients[name], expected[f"cma/grad_{name}"], atol=1e-6)
    rows = kept.memories["video", "va"].numpy()[index]
    np.testing.assert_allclose(rows, expected["cma/video_memory_rows"], atol=1e-6)


def test_what_is_nothing_in_the_table_of_positives_is_no_positive(monkeypatch):
    memories, (index, draws) = avid_arrays.grouped_memories(), (np.array([3, 60, 7, 7, 21, 41]), np.arange(120) % 50)
    draws = (9 + draws.reshape(BATCH, NEGATIVES)).astype(np.int32)  # none of them is record 0

    def step(first_row):
        for rows in memories.values():
            rows[0] = first_row
        kept = _kept("cma", memories)
        table = arrays()["cma/positives_consensus"].copy()
        table[[3, 21], :] = -1
        table[60] = [-1, 1, -1, 8, 9]
        table[7, 2:] = -1
        kept.set_table("agreement", table)
        kept.z.assign(11.0)
        found = _step(kept, avid_arrays.embeddings(0), index, monkeypatch, draws)
        return table, found[0][2:], {name: gradient.numpy() for name, gradient in found[2].items()}

    table, shares, gradients = step(np.eye(DIM)[0])
    assert not (table[index] == 0).any()
    for share, name in zip(shares, MODALITIES, strict=True):
        losses = []
        for place in (1, 2, 3, 5):  # the others have no positives
            row, query = table[index[place]], avid_arrays.embeddings(0)[name][place]
            right = memories[name][[n for n in row if n >= 0]]
            others = draws[place, :8]
            for one in sorted(n for n in row if n >= 0):
                others = others + (others >= one)
            s, wrong = (rows @ (query / np.linalg.norm(query)) / 0.07 for rows in (right, memories[name][others]))
            losses.append(np.mean(np.log1p(8 * 11 / np.exp(s))) + np.sum(np.log1p(np.exp(wrong) / (8 * 11))))
        np.testing.assert_allclose(share, np.mean(losses), rtol=1e-5)
    _, shares_again, gradients_again = step(-np.eye(DIM)[0])  # what record 0 has is nothing to anyone
    np.testing.assert_array_equal(shares_again, shares)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradients_again[name], gradient)


def test_what_is_nothing_is_not_avoided_and_moves_no_draw():
    bits = tf.random.stateless_uniform([3, 20_000], [0, 0], None, None, tf.uint32)
    rows = tf.constant([[-1, 5, -1, 9], [9, -1, -1, 5], [5, 9, -1, -1]])
    wanted = per_record.drawn_from(bits, 10, tf.constant([[5, 9]] * 3)).numpy()
    np.testing.assert_array_equal(per_record.drawn_from(bits, 10, rows), wanted)
    assert set(wanted.ravel()) == {0, 1, 2, 3, 4, 6, 7, 8}
    counts = np.bincount(per_record.drawn_from(bits[:1], 10, tf.constant([[-1, -1, -1]]))[0], minlength=10)
    np.testing.assert_allclose(counts, 2_000, rtol=0.07)


def test_draws_are_even_avoid_what_they_must_and_belong_to_seed_step_and_sample():
    kept = _kept("avid/step0", avid_arrays.memories())
    bits = tf.random.stateless_uniform([6, 40_000], [0, 0], None, None, tf.uint32)
    avoided = tf.constant([[0, 1, 2]] * 3 + [[3, 5, 9]] * 3)
    counts = np.stack([np.bincount(row, minlength=10) for row in per_record.drawn_from(bits, 10, avoided).numpy()])
    for row, left_out in zip(counts, avoided.numpy(), strict=True):
        others = np.setdiff1d(np.arange(10), left_out)
        assert not row[left_out].any()
        np.testing.assert_allclose(row[others], 40_000 / 7, rtol=0.05)

    def negatives(seed, step, index):
        found = kept.recall({"index": tf.constant(index)}, seed, step)
        return found["memory/video/va/negatives"].numpy()

    index = np.arange(4, dtype=np.int32)
    first = negatives(0, 0, index)
    np.testing.assert_array_equal(first, negatives(0, 0, index))
    for other in (negatives(1, 0, index), negatives(0, 1, index)):
        assert (first != other).any(axis=(1, 2)).all()
    assert len({row.tobytes() for row in first}) == 4


def test_of_a_record_that_is_in_a_batch_twice_the_last_counts_and_what_lacks_a_modality_changes_nothing():
    kept = _kept("avid/step0", avid_arrays.memories())
    before = {name: kept.memories[name, "va"].numpy() for name in MODALITIES}
    index = tf.constant([7, 3, 7, 9, 7])
    embedded = tf.constant(avid_arrays.normal([5, DIM], 1))
    mask = tf.constant([True, True, True, False, False])
    recalled = Recalled(kept.graph, kept.recall({"index": index}, 0, 0))
    sides = {("video", "va"): Embeddings.single(embedded, mask), ("audio", "va"): Embeddings.single(embedded)}
    recalled.note_changes(sides)
    kept.remember(recalled.changed)

    def moved(old, new):
        new = 0.5 * old + 0.5 * new / np.linalg.norm(new)
        return new / np.linalg.norm(new)

    video, audio = (kept.memories[name, "va"].numpy() for name in MODALITIES)
    np.testing.assert_allclose(video[7], moved(before["video"][7], embedded[2].numpy()), atol=1e-6)
    np.testing.assert_allclose(audio[7], moved(before["audio"][7], embedded[4].numpy()), atol=1e-6)
    np.testing.assert_array_equal(video[9], before["video"][9])
    np.testing.assert_allclose(np.linalg.norm(video, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_memory_begins_with_random_unit_vectors_that_hang_on_seed_name_and_row(dtype):
    def begun(seed, count):
        kept = PerRecord(_graph(CROSS, dtype=dtype), count, IDENTITY)
        kept.begin(seed)
        return {name: tf.cast(variable, tf.float32).numpy() for (name, _), variable in kept.memories.items()}, kept

    found, kept = begun(3, 20_000)
    fewer, _ = begun(3, 100)
    np.testing.assert_array_equal(fewer["video"], found["video"][:100])
    tolerance = 1e-6 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(np.linalg.norm(found["video"], axis=1), 1, atol=tolerance)
    assert abs(found["video"].mean(axis=0)).max() < 0.01
    assert len(np.unique(found["video"], axis=0)) == 20_000
    for other in (found["audio"], begun(4, 100)[0]["video"]):
        assert abs(np.sum(found["video"][:100] * other[:100], axis=1)).mean() < 0.5
    assert kept.bytes == 2 * 20_000 * DIM * (4 if dtype == "float32" else 2)


BALANCED = functools.partial(record_losses.cross_entropy, balanced=True)


def _model(strategy, micro_batches=1):
    pairs = [
        ("video", "memory:audio", "va", {"loss": _loss}),
        ("audio", "memory:video", "va", {"loss": _within, "weight": 0.5}),
        ("video", "table:classes", "classes", {"loss": BALANCED}),
    ]
    memories = {
        ("video", "va"): Memory(negatives=NEGATIVES, positives="agreement"),
        ("audio", "va"): Memory(negatives=NEGATIVES),
    }
    graph = Graph({"va": 8, "classes": 4}, [*HEADS, ("video", "classes")], pairs, memories=memories)
    with strategy.scope():
        model = toy.mmv(graph, micro_batches=micro_batches)
        model.keep_records(40, IDENTITY, {"agreement": 3, "classes": 1})
    model.per_record.begin(5)
    agreement = np.minimum(np.arange(40), 37)[:, None] + np.arange(3)
    agreement[[4, 5, 16]] = -1  # these have no positives ...
    agreement[9, 1] = agreement[25, 0] = agreement[26, 2] = -1  # ... and these one less
    model.per_record.set_table("agreement", agreement)
    classes = np.minimum(np.arange(40, dtype=np.int32)[:, None] % 7, 4) - 1  # of every seventh nothing is known
    model.per_record.set_table("classes", classes)
    return model


def _batches():
    for step in range(2):
        batch = {name: value for name, value in toy.batch(8, seed=step).items() if not name.startswith("text")}
        yield {**batch, "index": tf.constant([1, 4, 9, 4, 16, 25, 36, 37], tf.int32) + step}


def _run(strategy, **settings):
    """The logs of two steps, and what is kept after them."""
    model, logs = _model(strategy, **settings), []
    count = strategy.num_replicas_in_sync
    for batch in _batches():
        each = 8 // count
        parts = strategy.experimental_distribute_values_from_function(
            lambda c, batch=batch, each=each: {
                n: v[c.replica_id_in_sync_group * each :][:each] for n, v in batch.items()
            }
        )
        sums = strategy.run(model.take_step, args=(parts if count > 1 else batch,))
        logs.append(strategy.experimental_local_results(sums)[0].numpy())
    kept = model.per_record
    copies = {n: [one.numpy() for one in per_record.local(v)] for n, v in kept.memories.items()}
    return model.log_names, np.stack(logs), copies, float(kept.z.numpy())


@pytest.fixture(scope="module")
def one_device():
    return _run(tf.distribute.get_strategy())


def test_two_replicas_have_the_memory_of_one_and_the_same_each(one_device):
    names, logs, copies, z = one_device
    _, logs_of_two, copies_of_two, z_of_two = _run(toy.mirrored(2))
    np.testing.assert_allclose(
        logs_of_two[..., 0] / logs_of_two[..., 1], logs[..., 0] / logs[..., 1], rtol=2e-4, atol=1e-5
    )
    assert z > 0 and z_of_two == pytest.approx(z, rel=1e-5)
    for name, (whole,) in copies.items():
        first, second = copies_of_two[name]
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, whole, atol=1e-5)
    assert {"loss/video_memory_audio", "loss/audio_memory_video", "loss/video_table_classes"} <= set(names)


def test_a_compiled_step_reads_and_writes_the_same(one_device):
    """Reading and writing stay outside of what XLA compiles."""
    _, logs, copies, z = one_device
    model = _model(tf.distribute.get_strategy())
    model.jit_compile = True
    step = model.compiled_step()
    found = np.stack([step(batch).numpy() for batch in _batches()])
    np.testing.assert_allclose(found, logs, rtol=2e-4, atol=1e-4)
    assert float(model.per_record.z) == pytest.approx(z, rel=1e-5)
    for key, variable in model.per_record.memories.items():
        np.testing.assert_allclose(variable, copies[key][0], atol=1e-5)


def test_micro_batches_read_and_write_the_same_records():
    model, fresh = (_model(tf.distribute.get_strategy(), micro_batches=n) for n in (2, 1))
    assert np.isfinite(model.take_step(next(_batches())).numpy()).all()
    for (name, space), variable in model.per_record.memories.items():
        before = fresh.per_record.memories[name, space].numpy()
        changed = np.flatnonzero((variable.numpy() != before).any(axis=1))
        np.testing.assert_array_equal(changed, [1, 4, 9, 16, 25, 36, *[37] * (name == "video")])  # its sound is missing


def test_cross_entropy_equals_keras_and_leaves_out_what_has_no_class():
    logits = tf.constant(avid_arrays.normal([6, 4], 0))
    classes = np.array([[0], [3], [-1], [2], [1], [1]], np.int32)
    there = tf.constant(classes[:, 0] >= 0)
    first = Embeddings.single(logits, [True, True, True, True, True, False])
    found = record_losses.cross_entropy(first, record_losses.Labels(tf.constant(classes), there, there))
    kept = [0, 1, 3, 4]
    expected = tf.keras.losses.sparse_categorical_crossentropy(classes[kept, 0], logits.numpy()[kept], from_logits=True)
    np.testing.assert_allclose(found.share(), tf.reduce_mean(expected), rtol=1e-6)
    np.testing.assert_array_equal(found.valid, [True, True, False, True, True, False])
    np.testing.assert_array_equal(found.found.numpy()[kept], logits.numpy()[kept].argmax(1) == classes[kept, 0])


# Of class 0 there are four records, of 1 two, of 3 one; of 2 and 4 none. The last record has no class.
CLASSES = np.array([0, 0, 1, 0, 3, 1, 0, -1], np.int32)


def _told(sources=()):
    """Classes in a table, and a function of numbers of records: the gradients of their shares by a common kernel."""
    pairs = [("video", "table:classes", "classes", {"loss": BALANCED})]
    kept = PerRecord(Graph({"classes": 5}, [("video", "classes")], pairs), 8, IDENTITY, {"classes": 1}, sources)
    kept.set_table("classes", CLASSES[:, None])
    features, kernel = avid_arrays.normal([8, 3], 5), tf.constant(avid_arrays.normal([3, 5], 6))

    def gradient(records, balanced=True):
        recalled = Recalled(kept.graph, kept.recall({"index": tf.constant(records, tf.int32)}, 0, 0))
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            side = Embeddings.single(features[list(records)] @ kernel)
            second = recalled.second(kept.graph.pairs[0], {("video", "classes"): side})
            share = record_losses.cross_entropy(side, second, balanced=balanced).share()
        return tape.gradient(share, kernel).numpy()

    return kept, gradient


@pytest.mark.parametrize("order", ["independent", "epochs"])
def test_balanced_classes_have_the_expected_gradient_of_even_draws_over_the_classes_that_have_records(order):
    _, gradient = _told()
    batches = itertools.product(range(7), repeat=2) if order == "independent" else itertools.permutations(range(7), 2)
    found = np.mean([gradient(batch) for batch in batches], axis=0)
    even = {n: 1 / 3 / np.sum(CLASSES == CLASSES[n]) for n in range(7)}  # a class, then a record of it
    wanted = sum(even[a] * even[b] * gradient((a, b), False) for a, b in itertools.product(range(7), repeat=2))
    np.testing.assert_allclose(sum(even.values()), 1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    plain = np.mean([gradient((n,), False) for n in range(7)], axis=0)
    assert abs(plain - wanted).max() > 0.03  # evenly over records is something else
    # A record without a class makes a batch smaller, and changes the weight of no other.
    np.testing.assert_allclose(gradient((4, 7)), gradient((4,)), rtol=1e-6)
    assert not gradient((7,)).any()


def test_sources_that_are_drawn_by_shares_are_balanced_by_what_is_drawn():
    shares = [(3, 3.0), (5, 1.0)]  # the first three records are five times as likely as each of the others
    kept, gradient = _told(shares)
    chances = np.repeat([1 / 4, 1 / 20], [3, 5])
    found = sum(chances[n] * gradient((n,)) for n in range(7)) / chances[:7].sum()
    wanted = 0
    for one in (0, 1, 3):
        own = np.flatnonzero(CLASSES == one)
        wanted += sum(chances[n] * gradient((n,), False) for n in own) / chances[own].sum() / 3
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    mass = np.array([3 / 6 + 1 / 10, 1 / 4 + 1 / 20, 1 / 20])
    np.testing.assert_allclose(
        kept.class_weights["classes"].numpy(), [*(0.95 / 3 / mass[:2]), 0, 0.95 / 3 / mass[2], 0]
    )
    with pytest.raises(ValueError, match="classes holds the class 5, and pair .* tells classes in a space of 5 dim"):
        kept.set_table("classes", CLASSES[:, None] + 2)


@pytest.mark.parametrize(
    ("pairs", "memories", "message"),
    [
        (
            [("video", "memory:audio", "va", {"loss": nce})],
            (),
            r"the second side of the loss nce is a modality or view",
        ),
        ([("video", "audio", "va", {"loss": _loss})], (), None),
        ([("video", "audio", "va", {"loss": record_losses.memory_nce})], (), "memory_nce is 'memory:NAME'"),
        ([("video", "table:x", "va", {"loss": record_losses.memory_nce})], (), "memory_nce is 'memory:NAME'"),
        (
            [("video", "memory:audio", "va", {"loss": _loss})],
            (),
            r"Graph.memories has no \('audio', 'va'\); it has none",
        ),
        ([("video", "shelf:audio", "va", {"loss": _loss})], (), "neither 'memory:NAME' nor 'table:NAME'"),
        (CROSS[:1], MODALITIES, r"has \('video', 'va'\), and no pair in that space has 'memory:video' second"),
    ],
)
def test_what_a_graph_refuses(pairs, memories, message):
    def make():
        return Graph({"va": 4}, HEADS, pairs, memories={(m, "va"): Memory() for m in memories})

    if message is None:
        make()  # a loss that does not state what it takes may take anything
        return
    with pytest.raises(ValueError, match=message):
        make()


def test_what_a_run_refuses():
    graph = _graph(MODES["cma"], positives="agreement")
    with pytest.raises(ValueError, match="names the table 'agreement', and train.refresh writes none"):
        PerRecord(graph, RECORDS, IDENTITY)
    with pytest.raises(ValueError, match="writes the table 'other', and the graph names 'agreement'"):
        PerRecord(graph, RECORDS, IDENTITY, {"agreement": 5, "other": 1})
    with pytest.raises(ValueError, match="draws from 5 records but for 5"):
        PerRecord(graph, 5, IDENTITY, {"agreement": 5})
    with pytest.raises(ValueError, match="MMV.keep_records says of how many records"):
        toy.mmv(graph).take_step(toy.batch(8))
    text = graph.describe()
    assert "video in va: momentum 0.5, 20 negatives, none of those in agreement" in text and "tables: agreement" in text


def test_the_fingerprint_of_records_goes_there_and_back():
    for identity in ("f" * 32, "0" * 32, IDENTITY):
        assert per_record.of_fingerprint(per_record.fingerprint(BATCH, identity)) == (BATCH, identity)
