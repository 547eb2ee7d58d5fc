"""What a run keeps of each record: refreshes, kills in the middle of one, resuming, other records, another run's."""

import numpy as np
import orbit
import pytest
import tensorflow as tf

from helpers import avid_arrays, toy
from helpers.record_fixtures import record, write_shards
from mmv_tf.inputs.pipeline import InputPipeline, Source
from mmv_tf.inputs.video import VideoInput
from mmv_tf.model import record_losses
from mmv_tf.model.graph import Graph
from mmv_tf.model.memory import Memory
from mmv_tf.model.per_record import PerRecord, local
from mmv_tf.training import optimizer_state
from mmv_tf.training import workdir as workdirs
from mmv_tf.training.checkpointing import Checkpoints
from mmv_tf.training.per_record import state
from mmv_tf.training.per_record.agreement import agreement
from mmv_tf.training.per_record.refresh import Refresh, Refreshing
from mmv_tf.training.per_record.whole_set import Computation, WholeSet

STRATEGY = tf.distribute.get_strategy()
IDENTITY, COUNT = "0123456789abcdef" * 2, 12
PAIRS = [
    ("video", "memory:audio", "va", {"loss": record_losses.memory_nce}),
    ("audio", "memory:video", "va", {"loss": record_losses.memory_nce}),
]
CLASSES = ("video", "table:classes", "classes", {"loss": record_losses.cross_entropy})


def _graph(classes=True, **memory):
    heads = [("video", "va"), ("audio", "va"), *[("video", "classes", {"hidden": (4,)})] * classes]
    memories = {(name, "va"): Memory(negatives=4, **memory) for name in ("video", "audio")}
    spaces = {"va": avid_arrays.DIM, **({"classes": 3} if classes else {})}
    return Graph(spaces, heads, [*PAIRS, *[CLASSES] * classes], memories=memories)


def _unkept():
    return toy.mmv(_graph(classes=False))


def _model(seed=0, count=COUNT, identity=IDENTITY, classes=True):
    model = toy.mmv(_graph(classes), seed=seed)
    model.keep_records(count, identity, {"classes": 1} if classes else {})
    model.per_record.begin(seed)
    return model


class Numbered(Computation):
    """Classes that are drawn from the seed of the refresh; it can be killed."""

    widths = {"classes": 1}

    def __init__(self, resets=(), killed_at=None):
        self.resets, self.killed_at = resets, killed_at

    def compute(self, whole: WholeSet):
        if whole.number == self.killed_at:
            raise KeyboardInterrupt
        return {"classes": np.random.RandomState(whole.seed).randint(0, 3, (whole.count, 1)).astype(np.int32)}


class Run:
    """The loop of a run without its steps: the actions in their order."""

    def __init__(self, folder, what, seed=0, every=4, until=None):
        self.model, self.step = _model(seed), orbit.utils.create_global_step()
        self.checkpoints = Checkpoints(
            str(folder), self.model, self.model.optimizer, self.step, every=2, keep=5, strategy=STRATEGY
        )
        self.resumed = self.checkpoints.restore()
        self.refreshing = Refreshing(Refresh(every, what), self.model, None, STRATEGY, self.step, 2, 7, until)

    def go(self, to):
        """{step: table} after each step."""
        self.refreshing()
        self.checkpoints.save()
        tables = {int(self.step): self.table}
        while int(self.step) < to:
            self.step.assign_add(1)
            self.refreshing()
            self.checkpoints()
            tables[int(self.step)] = self.table
        return tables

    @property
    def table(self):
        return self.model.per_record.tables["classes"].numpy()


def test_a_table_is_refreshed_at_the_start_and_every_so_often_and_is_the_same_after_kills(tmp_path, capsys):
    calm = Run(tmp_path / "calm", Numbered()).go(9)
    changes = [step for step in range(1, 10) if not np.array_equal(calm[step], calm[step - 1])]
    assert changes == [4, 8] and (calm[0] >= 0).all()
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("refresh ")]
    assert len(said) == 3 and said[2].startswith("refresh 2 at step 8: classes, ")
    killed = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):  # at the start
        Run(killed, Numbered(killed_at=0)).go(9)
    with pytest.raises(KeyboardInterrupt):  # in the middle of the one at step 4; the newest checkpoint is of step 2
        Run(killed, Numbered(killed_at=1), seed=1).go(9)
    again = Run(killed, Numbered(), seed=2)
    assert int(again.step) == 2
    np.testing.assert_array_equal(again.table, calm[2])
    tables = again.go(6)
    np.testing.assert_array_equal(tables[2], calm[2])  # not computed anew by the start of a sitting
    ended = Run(tmp_path / "ended", Numbered(), until=4).go(4)
    np.testing.assert_array_equal(ended[4], calm[3])  # at the end nothing is refreshed
    np.testing.assert_array_equal(Run(tmp_path / "ended", Numbered()).go(5)[4], calm[4])
    last = Run(killed, Numbered(), seed=3)
    assert last.resumed and int(last.model.per_record.refreshed) == 4
    tables = last.go(9)
    for step in (6, 7, 8, 9):
        np.testing.assert_array_equal(tables[step], calm[step])


class Reading(Numbered):
    """The same, of memories."""

    def compute(self, whole: WholeSet):
        for key in whole.model.per_record.memories:
            whole.memory(*key)
        return super().compute(whole)


def test_a_refresh_that_reads_memories_of_random_vectors_says_so_and_no_other_does(tmp_path, capsys):
    def said(to=None, run=None, what=Reading):
        run = run or Run(tmp_path / "run", what())
        run.refreshing() if to is None else run.go(to)
        return [line for line in capsys.readouterr().out.splitlines() if "random vectors" in line]

    both = "refresh 0: the memory of video in va and the memory of audio in va began anew, with random vectors: "
    (line,) = said(to=9)  # not by the refreshes of steps 4 and 8
    assert line.startswith(both) and "train.init_from = a workdir that has them" in line
    assert said() == []  # goes on from there
    killed = Run(tmp_path / "killed", Reading())
    killed.checkpoints.save()
    assert said(run=Run(tmp_path / "killed", Reading(), seed=1)) == []  # restored, and refreshed at step 0
    assert said(run=Run(tmp_path / "unread", Numbered())) == []
    for parts, lines in (((), 0), (("video",), 1)):
        taking = Run(tmp_path / f"taking{lines}", Reading())
        workdirs.initialise(taking.model, str(tmp_path / "run"), parts)
        assert [one.startswith(both) for one in said(run=taking)] == [True] * lines
    # A checkpoint that lacks one of them, as of a run whose graph has got another memory since.
    lacking = Run(tmp_path / "lacking", Reading())
    kept = lacking.model.per_record
    held = {name: variable for name, variable in kept.named_variables().items() if name != "memory/audio/va"}
    state.restore(kept, tf.train.Checkpoint(per_record=held).save(str(tmp_path / "held" / "ckpt")), 0)
    (line,) = said(run=lacking)
    assert line.startswith("refresh 0: the memory of audio in va began anew")


def test_a_reset_head_begins_anew_with_the_state_of_the_optimiser_and_nothing_else_does(tmp_path):
    head, models = "video -> classes", []
    for seed in (1, 2):
        run = Run(tmp_path / str(seed), Numbered((head,)), seed=seed)
        for variable in (*run.model.variables, *optimizer_state.named(run.model.optimizer, run.model).values()):
            variable.assign(np.full(variable.shape, 5))
        run.refreshing()
        models.append(run.model)
    first, second = (model.named_variables() for model in models)
    for name, variable in first.items():
        if name.startswith(head):
            assert not np.array_equal(variable, np.full(variable.shape, 5)), name
            np.testing.assert_array_equal(variable, second[name])
        else:
            np.testing.assert_array_equal(variable, np.full(variable.shape, 5), err_msg=name)
    kernel = first[f"{head}/projection/kernel"].numpy()
    assert 0.1 < kernel.std() < 1 and not np.array_equal(kernel.ravel()[:3], first[f"{head}/hidden_0/kernel"][0, :3])
    for name, slot in optimizer_state.named(models[0].optimizer, models[0]).items():
        np.testing.assert_array_equal(slot, np.full(slot.shape, 0 if head in name else 5), err_msg=name)
    with pytest.raises(ValueError, match=r"Numbered resets the head 'video -> x', and the model has 'video -> va'"):
        Run(tmp_path / "x", Numbered(("video -> x",)))


def test_what_is_kept_comes_back_and_other_records_are_an_error_that_names_both(tmp_path):
    run = Run(tmp_path, Numbered())
    run.go(2)
    kept = run.model.per_record
    kept.z.assign(3.5)
    for number, variable in enumerate(kept.memories.values()):
        variable.assign(np.random.RandomState(number).uniform(size=variable.shape))
    run.step.assign(3)
    run.checkpoints.save()
    again = Run(tmp_path, Numbered(), seed=5).model.per_record
    for name, variable in kept.named_variables().items():
        np.testing.assert_array_equal(again.named_variables()[name], variable.numpy(), err_msg=name)
    weights = again.class_weights["classes"].numpy()
    np.testing.assert_array_equal(weights, kept.class_weights["classes"].numpy())
    counts = np.bincount(again.tables["classes"].numpy()[:, 0], minlength=3)
    np.testing.assert_allclose(weights, 12 / 3 / counts, rtol=1e-6)
    other = "f" * 32
    for count, identity in ((COUNT, other), (COUNT + 1, IDENTITY)):
        with pytest.raises(ValueError, match=rf"of 12 records \({IDENTITY}\), and the training records are {count} "):
            state.restore(_model(count=count, identity=identity).per_record, _newest(tmp_path), 0)


def _newest(folder):
    return tf.train.latest_checkpoint(str(folder / "checkpoints"))


def test_memories_are_brought_along_from_another_run_and_tables_are_not(tmp_path):
    run = Run(tmp_path, Numbered())
    run.go(1)
    run.model.per_record.z.assign(2.5)
    run.step.assign(2)
    run.checkpoints.save()
    taking = _model(seed=9)
    taken = workdirs.initialise(taking, str(tmp_path))
    assert taken[-2:] == ["memory/video/va", "memory/audio/va"]
    for key, variable in run.model.per_record.memories.items():
        np.testing.assert_array_equal(taking.per_record.memories[key], variable.numpy())
    assert float(taking.per_record.z) == 2.5 and int(taking.per_record.refreshed) == -1
    assert (taking.per_record.tables["classes"].numpy() == -1).all()
    with pytest.raises(ValueError, match="train.init_parts, which take the weights"):
        workdirs.initialise(_model(identity="e" * 32), str(tmp_path))
    parts = _model(seed=9, identity="e" * 32)
    assert workdirs.initialise(parts, str(tmp_path), ("video",)) == ["video"]


def test_every_replica_gets_back_what_the_first_had(tmp_path):
    strategy, found = toy.mirrored(2), []
    with strategy.scope():
        made = [PerRecord(_graph(classes=False), COUNT, IDENTITY) for _ in range(2)]
    made[0].begin(3)
    path = tf.train.Checkpoint(per_record=made[0].named_variables()).save(str(tmp_path / "ckpt"))
    with strategy.scope():
        assert state.restore(made[1], path, 4) == []
    for one in made:
        copies = [np.stack([copy.numpy() for copy in local(variable)]) for variable in one.memories.values()]
        found.append(np.stack(copies))
    assert found[0].shape == (2, 2, COUNT, avid_arrays.DIM) and found[0].std() > 0.1
    np.testing.assert_array_equal(found[0][:, 0], found[0][:, 1])
    np.testing.assert_array_equal(found[1], found[0])


def test_dots_in_names_hide_nothing_from_a_checkpoint(tmp_path):
    space, table = "va.S2", "classes..1."
    pairs = [
        ("video", "memory:audio", space, {"loss": record_losses.memory_nce}),
        ("video", f"table:{table}", space, {"loss": record_losses.cross_entropy}),
    ]
    graph = Graph(
        {space: 3}, [("video", space), ("audio", space)], pairs, memories={("audio", space): Memory(negatives=4)}
    )
    made = [PerRecord(graph, COUNT, IDENTITY, {table: 1}) for _ in range(3)]
    made[0].begin(3)
    made[0].set_table(table, np.arange(COUNT, dtype=np.int32)[:, None] % 3)
    path = tf.train.Checkpoint(per_record=made[0].named_variables()).save(str(tmp_path / "ckpt"))
    assert state.restore(made[1], path, 4) == []
    for name, variable in made[0].named_variables().items():
        np.testing.assert_array_equal(made[1].named_variables()[name], variable.numpy(), err_msg=name)
    assert state.take(made[2], path, 4) == [f"memory/audio/{space}"]
    np.testing.assert_array_equal(made[2].memories["audio", space], made[0].memories["audio", space].numpy())


def test_a_checkpoint_without_memories_begins_them_as_a_new_run_does(tmp_path):
    plain = toy.mmv(_graph(classes=False))
    step = orbit.utils.create_global_step()
    Checkpoints(str(tmp_path), plain, plain.optimizer, step, every=1, keep=1, strategy=STRATEGY).save()
    model = _model(seed=4, classes=False)
    expected = {key: variable.numpy() for key, variable in model.per_record.memories.items()}
    for variable in model.per_record.memories.values():
        variable.assign(tf.zeros_like(variable))
    (line,) = state.restore(model.per_record, _newest(tmp_path), 4)
    assert line.endswith("does not hold memory/video/va, memory/audio/va, which begin anew")
    for key, variable in model.per_record.memories.items():
        np.testing.assert_array_equal(variable, expected[key])


def test_a_table_that_a_checkpoint_does_not_hold_is_refreshed_at_once(tmp_path):
    before = _model(classes=False)
    before.per_record.refreshed.assign(4)
    step = orbit.utils.create_global_step()
    Checkpoints(str(tmp_path), before, before.optimizer, step, every=1, keep=1, strategy=STRATEGY).save()
    kept = _model().per_record
    kept.refreshed.assign(3)
    (line,) = state.restore(kept, _newest(tmp_path), 4)
    assert line.endswith("does not hold table/classes, which begin anew") and int(kept.refreshed) == -1
    state.restore(before.per_record, _newest(tmp_path), 4)
    assert int(before.per_record.refreshed) == 4


@pytest.fixture(scope="module")
def grouped():
    """All records of a model with memories in groups."""
    model = _model(count=avid_arrays.RECORDS)
    for name, rows in avid_arrays.grouped_memories().items():
        model.per_record.memories[name, "va"].assign(rows)
    return WholeSet(model, None, 2, 0, 0)


@pytest.mark.parametrize("block", [7, 64])
@pytest.mark.parametrize(
    ("settings", "golden"),
    [
        ({}, "consensus"),
        ({"join": "greatest"}, "union"),
        ({"memories": (("video", "va"),)}, "video"),
        ({"memories": [["audio", "va"]]}, "audio"),
    ],
)
def test_agreement_equals_that_of_avid_cma_in_blocks_of_any_size(grouped, settings, golden, block):
    made = agreement(top=avid_arrays.POSITIVES, block=block, **settings)
    found = made.compute(grouped)
    assert made.widths == {"agreement": avid_arrays.POSITIVES} and found["agreement"].dtype == np.int32
    np.testing.assert_array_equal(found["agreement"], avid_arrays.arrays()[f"cma/positives_{golden}"])


def test_of_equal_agreement_the_smaller_number_comes_first_and_nobody_is_its_own():
    model = _model()
    for variable in model.per_record.memories.values():
        variable.assign(tf.one_hot(tf.zeros(COUNT, tf.int32), avid_arrays.DIM))
    found = agreement(top=3, block=5).compute(WholeSet(model, None, 2, 0, 0))["agreement"]
    np.testing.assert_array_equal(found, [[n for n in range(4) if n != row][:3] for row in range(COUNT)])
    with pytest.raises(ValueError, match="agreement.top = 12: there are 12 records"):
        agreement(top=12).compute(WholeSet(model, None, 2, 0, 0))
    with pytest.raises(ValueError, match=r"memories has \('text', 'va'\), and the graph has \('video', 'va'\)"):
        agreement(memories=(("text", "va"),)).compute(WholeSet(model, None, 2, 0, 0))


def test_a_refresh_sees_embeddings_of_all_records_in_the_order_of_their_numbers(tmp_path, capsys):
    content = [[record(f"clip{3 * s + i}", num_frames=4, sound=i != 1) for i in range(3)] for s in range(2)]
    pipeline = InputPipeline(
        [Source(write_shards(tmp_path, content))],
        modalities=("video",),
        video=VideoInput(num_frames=2, min_side=20, crop_size=16, jit_compile=False),
    )
    graph = Graph({"v": 3}, [("video", "v")], [("video", "table:classes", "v", {"loss": record_losses.cross_entropy})])
    model = toy.mmv(graph)
    state.prepare(model, pipeline, 2, STRATEGY, {"classes": 1})
    said = capsys.readouterr().out
    assert "kept of each of 6 records: table classes; 0.0 MB on each device" in said and "an epoch" not in said
    assert pipeline.numbers_records and model.per_record.count == 6
    whole = WholeSet(model, pipeline, 2, 3, 1)
    parts = list(whole.embeddings(batch_size=4))
    assert [first for first, _ in parts] == [0, 4]
    assert [key for _, clips in parts for key in clips.keys] == [f"clip{n}" for n in range(6)]
    assert parts[1][1].embeddings["video", "v"].shape == (2, 3)
    assert whole.seed == WholeSet(model, pipeline, 2, 3, 1).seed != WholeSet(model, pipeline, 2, 4, 1).seed
    shares = [Source(pipeline.sources[0].pattern, weight, name) for name, weight in (("a", 3.0), ("b", 1.0))]
    mixed = toy.mmv(graph)
    state.prepare(mixed, InputPipeline(shares, modalities=("video",)), 4, STRATEGY, {"classes": 1})
    mixed.per_record.set_table("classes", np.repeat([0, 2], 6).astype(np.int32)[:, None])
    np.testing.assert_allclose(mixed.per_record.class_weights["classes"].numpy(), [2 / 3, 0, 2], rtol=1e-6)
    capsys.readouterr()
    plain = toy.mmv(Graph({"v": 3}, [("video", "v"), ("audio", "v")], [("video", "audio", "v")]))
    pipeline.order = "epochs"
    state.prepare(_unkept(), pipeline, 2, STRATEGY)
    assert "an epoch is 3 steps, and in epochs a sample's own vector is older" in capsys.readouterr().out
    pipeline.order = "independent"
    state.prepare(_unkept(), pipeline, 2, STRATEGY)
    assert "an epoch" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="writes the table 'classes', and the graph names none"):
        state.prepare(plain, pipeline, 2, STRATEGY, {"classes": 1})


def test_tables_of_another_shape_are_refused(tmp_path):
    class Wrong(Numbered):
        def compute(self, whole):
            return {"classes": np.zeros([whole.count, 2], np.int32)}

    with pytest.raises(ValueError, match=r"Wrong: table classes is int32 \(12, 2\), not int32 \(12, 1\)"):
        Run(tmp_path, Wrong()).go(0)
