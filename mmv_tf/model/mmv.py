"""MMV: backbones, a modality graph and its losses as one keras.Model with a custom train step."""

import functools
from collections.abc import Mapping

import keras
import tensorflow as tf
from keras import ops

from mmv_tf.backbones import batch_norm, draws
from mmv_tf.common import replicas
from mmv_tf.common.configurable import configurable
from mmv_tf.common.values import Count
from mmv_tf.model import accumulation, losses, step_logs, stepping
from mmv_tf.model.graph import Graph
from mmv_tf.model.heads import ProjectionHead
from mmv_tf.model.per_record import PerRecord, Recalled, gathered

_RECALLED = "recalled"  # in a batch, what is kept of its records


def _on_present(backbone, inputs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """`backbone` in training mode on the samples that are there, and zeros for the others.

    The same as all samples under `batch_norm.present(mask)`, with half the time of a small network on a CPU: batch norm
    has a fast kernel there, which cannot weigh samples.
    """
    some = tf.reduce_any(mask)
    # Where nothing is there at all, one row stands in, since a network needs some input. It leaves no trace.
    rows = tf.where(mask | (~some & (tf.range(tf.size(mask)) == 0)))
    with batch_norm.averages_frozen_unless(some), draws.only(rows[:, 0]):
        present = backbone(tf.gather(inputs, rows[:, 0]), training=True)
    return tf.ensure_shape(
        tf.scatter_nd(rows, present, tf.cast([tf.size(mask), present.shape[-1]], tf.int64)),
        [mask.shape[0], present.shape[-1]],
    )


def _joined(parts: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The batches of several views one after the other, as one."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    shapes = {name: part.shape[1:] for name, part in parts.items()}
    if len(set(map(str, shapes.values()))) > 1:
        told = ", ".join(f"{name} {shape.as_list()}" for name, shape in shapes.items())
        raise ValueError(f"Views of several shapes cannot pass as one batch ({told}): set MMV.join_views = False.")
    return tf.concat(list(parts.values()), axis=0)


def _joined_masks(parts: Mapping[str, tf.Tensor], masks: Mapping[str, tf.Tensor | None]) -> tf.Tensor | None:
    """The masks that belong to `_joined`: None where nothing says that something is missing."""
    if len(parts) == 1 or all(masks[name] is None for name in parts):
        return masks[next(iter(parts))]
    like = next(mask for mask in masks.values() if mask is not None)
    return tf.concat([tf.ones_like(like) if masks[name] is None else masks[name] for name in parts], axis=0)


def _parted(joined: tf.Tensor, parts: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What came of `_joined`, view by view."""
    return dict(zip(parts, [joined] if len(parts) == 1 else tf.split(joined, len(parts)), strict=True))


def _means(names, sums: tf.Tensor) -> dict[str, tf.Tensor]:
    """{name: mean} of the sums and weights [names, 2] of logs."""
    return dict(zip(names, tf.unstack(sums[:, 0] / sums[:, 1]), strict=True))


@configurable
class MMV(keras.Model):
    """A MultiModal Versatile network (paper section 3).

    Args:
      backbones: {modality: layer}; each maps its modality to a representation [B, D].
      graph: the modality graph. Its modalities must be those of `backbones`.
      join_views: a modality and its views pass through backbone and heads as one batch, as in SimCLR and CVRL, so that
        batch statistics are over all of them; they must have one shape. If not, they pass one after the other.
      micro_batches: parts in which a replica's batch passes through the backbones in training, one after the other, to
        save memory; the losses still compare everything with everything (see mmv_tf.model.accumulation).

    Raises:
      ValueError: the graph uses a modality that has no backbone, or a backbone is not in the graph.
    """

    def __init__(
        self,
        backbones: Mapping[str, keras.layers.Layer],
        graph: Graph,
        micro_batches: Count = 1,
        join_views: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        missing = sorted(set(graph.modalities) - set(backbones))
        unused = sorted(set(backbones) - set(graph.modalities))
        if missing:
            raise ValueError(f"The graph uses the modality {missing[0]!r}, and MMV.backbones has none for it.")
        if unused:
            raise ValueError(f"MMV.backbones has {unused[0]!r}, and no head of the graph starts there.")
        self.graph = graph
        self.micro_batches, self.join_views = micro_batches, join_views
        self.source_names: tuple[str, ...] = ()  # of the data, where losses are to be logged source by source
        self.seed = 0  # of what networks draw in training
        self.per_record: PerRecord | None = None
        self.backbones = dict(backbones)
        self.heads = {
            str(head): ProjectionHead(head, graph.spaces[head.space], name=f"{head.source}_to_{head.space}")
            for head in graph.heads
        }
        self.scorers = {
            pair.scorer_name: pair.scorer(name=pair.scorer_name.replace(" ", "_"))
            for pair in graph.pairs
            if pair.scorer is not None
        }

    def embed(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, dict[str, tf.Tensor]]:
        """Embeds any subset of the modalities.

        Args:
          batch: the dict of docs/design.md section 5; other keys (masks, labels) are ignored. video [B,T,H,W,3] in
            [0,1], audio [B,T',M,1] log-mel, text [B,W] or [B,K,W] word ids; views as their modalities.
          training: with batch statistics, and only the spaces that some pair needs.

        Returns:
          {modality or view: {'repr': [B,D], space: [B,d], ...}}, raw (not normalised); [B,K,...] for K candidate texts.
        """
        return {m: self.embed_modality(m, batch[m], training) for m in self.graph.inputs if m in batch}

    def embed_modality(self, modality: str, inputs: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """`embed` for one modality or view: {'repr': [B,D], space: [B,d], ...}."""
        backbone = self.backbones[self.graph.modality_of(modality)]
        return self.embed_repr(modality, backbone(inputs, training=training), training)

    def embed_repr(
        self, modality: str, representation: tf.Tensor, training: bool = False, every_space: bool = False
    ) -> dict[str, tf.Tensor]:
        """The heads alone, for one modality or view: from a representation [B,D] to {'repr': [B,D], space: [B,d], ...}.

        With `every_space`, training mode too gives the spaces that no pair needs, with the moving averages of their
        heads and without a change to them.
        """
        return self._embed_together({modality: representation}, training, every_space)[modality]

    def _embed_together(self, representations, training, every_space=False, masks=None):
        """`embed_repr` of several inputs, {name: embeddings}: a head that several of them take takes them in one batch.

        With `masks`, {name: mask or None}, what is missing has no part in batch statistics.
        """
        embeddings = {name: {"repr": representation} for name, representation in representations.items()}
        left: dict[tuple, dict[str, str]] = {}  # (head, whether with batch statistics): {name: where it takes it from}
        for name in representations:
            trained = self.graph.trained_spaces(name) if every_space else self.graph.training_spaces(name)
            for space in self.graph.spaces_of(name) if every_space or not training else trained:
                head = self.graph.path(name, space)[-1]
                source = head.source if head.source in self.graph.spaces else "repr"
                left.setdefault((head, training and space in trained), {})[name] = source
        while left:  # heads form no cycle: of those that are left there is always one whose sources are all there
            key = next(key for key, sources in left.items() if all(s in embeddings[n] for n, s in sources.items()))
            parts = {name: embeddings[name][source] for name, source in left.pop(key).items()}
            here = batch_norm.mask_here() if masks is None else _joined_masks(parts, masks)
            drawn = self._draws(parts, None) if key[1] and key[0].dropout else None
            with batch_norm.present(here), draws.within(drawn):
                joined = self.heads[str(key[0])](_joined(parts), training=key[1])
            for name, part in _parted(joined, parts).items():
                embeddings[name][key[0].space] = part
        return embeddings

    def call(self, batch, training=False):
        return self.embed(batch, training=training)

    def build_by_call(self, batch: Mapping[str, tf.Tensor]) -> None:
        """Makes all variables, also of heads that training leaves out, and of scorers (use inside `strategy.scope()`).

        The modalities are needed; where a view is not in the batch its modality stands in.
        """
        views = {view: batch[of] for view, of in self.graph.views.items() if view not in batch}
        self.embed({**batch, **views}, training=False)
        for pair in (pair for pair in self.graph.pairs if pair.scorer is not None):
            vectors = [tf.zeros([1, self.graph.spaces[space]]) for _, space in pair.sides[:2]]
            self.scorers[pair.scorer_name](*vectors)
        self.built = True

    def keep_records(self, count: int, identity: str, widths: Mapping[str, int] | None = None, sources=()) -> None:
        """Makes memories and tables of the training records, see `PerRecord` (use inside `strategy.scope()`).

        Who trains needs it where `graph.keeps_records`; inference does not.
        """
        self.per_record = PerRecord(self.graph, count, identity, widths, sources)

    def named_variables(self) -> dict[str, keras.Variable]:
        """{stable name: variable}, such as 'video/Mixed_3b/.../kernel' or 'va -> vat/projection/bias'.

        A name is the part's own (modality, head or scorer) and the path below it: the path's first component is a name
        that Keras numbers by what else the process has made. Where parts share a layer it is that of the first of them,
        and the layers of a functional model have paths with nothing in front.

        Raises:
          ValueError: two variables of a backbone have the same path; its layers need names of their own.
        """
        named, parts = {}, {**self.backbones, **self.heads, **self.scorers}
        numbered = {self.name, *(layer.name for layer in parts.values())}
        for part, layer in parts.items():
            for variable in layer.variables:
                first, _, below = variable.path.partition("/")
                name = f"{part}/{below if first in numbered else variable.path}"
                if name in named:
                    raise ValueError(
                        f"Two variables are called {name!r}: give the layers inside {part!r} distinct names."
                    )
                named[name] = variable
        return named

    def without_empty_texts(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """A batch whose 'text_mask' leaves out the texts of which no word has a vector.

        Its 'text_empty' [B] says which clips had texts, and have none left. As it is where the text network does not
        tell, or there is no text.
        """
        if not self._tells_empty_texts or "text" not in batch or "text_empty" in batch:
            return dict(batch)
        batch = dict(batch)
        for name in (name for name in self.graph.inputs_of("text") if name in batch):
            words, mask = batch[name], batch.get(f"{name}_mask")
            given = tf.ones(tf.shape(words)[:-1], tf.bool) if mask is None else mask
            batch[f"{name}_mask"] = kept = given & self.backbones["text"].says_something(words)
            given_to, kept_by = (tf.reduce_any(tf.reshape(m, [tf.shape(m)[0], -1]), axis=1) for m in (given, kept))
            batch[f"{name}_empty"] = given_to & ~kept_by
        return batch

    def represent(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """The backbones alone, for the losses: {modality or view: [B,D]}, of what training looks at.

        In training, what is missing does not enter batch statistics.

        Raises:
          ValueError: views that shall pass as one batch have several shapes.
        """
        representations = {}
        first = batch.get(accumulation.FIRST)
        for names in self._passes([name for name in batch if name in self.graph.trained_inputs]):
            backbone = self.backbones[self.graph.modality_of(names[0])]
            masks = {name: batch.get(f"{name}_mask") for name in names}
            inputs = {name: batch[name] for name in names}
            with draws.within(self._draws(inputs, first) if training else None):
                joined = self._pass(backbone, _joined(inputs), _joined_masks(inputs, masks), training)
            representations |= _parted(joined, inputs)
        return representations

    def _passes(self, names) -> list[list[str]]:
        """The inputs of the graph that are among `names`, those together that pass as one batch."""
        groups = [[name for name in self.graph.inputs_of(m) if name in names] for m in self.graph.modalities]
        return [group for group in groups if group] if self.join_views else [[name] for one in groups for name in one]

    def _draws(self, inputs, first) -> draws.Draws:
        """What a network draws from that takes `inputs`, {name: batch}, of which `first` is the first sample."""
        names, size = tuple(inputs), tf.shape(next(iter(inputs.values())))[0]
        size = next(iter(inputs.values())).shape[0] or size
        optimizer, replica = getattr(self, "optimizer", None), replicas.context()
        step = 0 if optimizer is None else optimizer.iterations
        if first is None:
            first = 0 if replica is None else replica.replica_id_in_sync_group * size
        return draws.Draws(self.seed, step, self.graph.modality_of(names[0]), names, first, size=len(names) * size)

    def _pass(self, backbone, inputs, mask, training):
        if not training or mask is None:
            return backbone(inputs, training=training)
        if replicas.context() is None and not self.jit_compile and len(mask.shape) == 1:
            return _on_present(backbone, inputs, mask)
        # With shapes that are known beforehand, as XLA and TPUs need them.
        with batch_norm.present(mask):
            return backbone(inputs, training=True)

    def compute_losses(self, batch: Mapping[str, tf.Tensor], training: bool = False):
        """The weighted loss of a batch, and what to log.

        Returns:
          total: scalar, this replica's share of the loss of the global batch.
          logs: {name: (sum, weight)} of this replica, see `log_names`. Summed over replicas, and over steps, their
            quotients are means.
        """
        batch = self.without_empty_texts(batch)
        return self.compute_losses_of(self.represent(batch, training), batch, training)

    def compute_losses_of(self, representations: Mapping[str, tf.Tensor], batch, training: bool = False):
        """`compute_losses` from what `represent` has given, and the masks, texts, sources and numbers of the batch."""
        batch = self.without_empty_texts(batch)
        sides = {}
        for names in self._passes(representations):
            masks = {name: batch.get(f"{name}_mask") for name in names}
            several = self._embed_together({n: representations[n] for n in names}, training, masks=masks)
            for name, embeddings in several.items():
                for space in self.graph.compared_spaces(name):  # gathered once, however many pairs use it
                    sides[name, space] = self._side(embeddings[space], batch, name)
        recalled = batch.get(_RECALLED)
        if recalled is None and self.graph.keeps_records:
            recalled = Recalled(self.graph, self._recall(batch))
        total, logs = 0.0, {}
        for pair in self.graph.pairs:
            more = {"against_own": pair.against_own} if pair.against else {}
            if pair.scorer is not None:
                more["score"] = self.scorers[pair.scorer_name]
            first, *others = (sides[side] for side in pair.sides)
            compared = pair.loss(first, *([recalled.second(pair, sides)] if pair.kept else others), **more)
            total += pair.weight * compared.share()
            told = self.graph.pair_name(pair), compared, self.source_names, batch.get("source"), pair.measured
            logs.update(step_logs.of_pair(*told))
        for (modality, space), side in sides.items():
            logs.update(step_logs.of_embeddings(f"{modality}/{space}", side, self.graph.ranks(modality, space)))
        if recalled is not None:
            recalled.note_changes(sides)
        if self._tells_empty_texts:
            logs.update(step_logs.of_empty_texts(batch))
        return total, {"total_loss": step_logs.of_share(total), **logs}

    def _side(self, embeddings, batch, modality: str) -> losses.Embeddings:
        single = losses.Embeddings.single(embeddings, batch.get(f"{modality}_mask"))
        replica = replicas.context()
        number = 0 if replica is None else replica.replica_id_in_sync_group
        # float32 before the gather: the masks and the losses are float32, and bfloat16 would round the embeddings.
        local = ops.cast(single.local, "float32")
        mask = tf.cast(gathered(tf.cast(single.mask, tf.int32)), tf.bool)
        return losses.Embeddings(local, single.mask, gathered(local), mask, number * tf.shape(local)[0])

    @property
    def log_names(self) -> list[str]:
        """The names of a step's logs, in order (see mmv_tf.model.step_logs)."""
        scales = stepping.has_scale(getattr(self, "optimizer", None))
        return step_logs.names(self.graph, self.source_names, self._tells_empty_texts, scales)

    @property
    def _tells_empty_texts(self) -> bool:
        return hasattr(self.backbones.get("text"), "says_something")

    @tf.autograph.experimental.do_not_convert  # nothing needs it, and it takes a quarter of the time to trace
    def take_step(self, batch) -> tf.Tensor:
        """One optimiser step in a replica context (see mmv_tf.model.stepping).

        Returns:
          [len(log_names), 2] float32: sum and weight of every log over the global batch, equal on all replicas.
        """
        return self._around(self._optimise, batch)

    def compile(self, *args, auto_scale_loss: bool = True, **settings):
        """As in Keras; the scale of mixed_float16 or of a LossScaleOptimizer is that of `stepping.scale_losses`."""
        super().compile(*args, auto_scale_loss=False, **settings)
        self.optimizer, is_scaled = stepping.without_keras_scale(self.optimizer)
        if auto_scale_loss and self.dtype_policy.name == "mixed_float16" and not is_scaled:
            stepping.scale_losses(self.optimizer)

    def compiled_step(self):
        """`take_step` as XLA compiles it; memories are read before, and written after what is compiled."""
        compiled = tf.function(self._optimise, jit_compile=True)
        return functools.partial(self._around, compiled)

    @tf.autograph.experimental.do_not_convert
    def _around(self, optimise, batch) -> tf.Tensor:
        """`optimise` between reading and writing what is kept of the batch's records."""
        if not self.graph.keeps_records:
            return optimise(batch)[0]
        sums, changed = optimise(batch, self._recall(batch))
        self.per_record.remember(changed)
        return sums

    def _recall(self, batch):
        if self.per_record is None:
            raise ValueError("the graph has memories or tables: MMV.keep_records says of how many records.")
        optimizer = getattr(self, "optimizer", None)
        return self.per_record.recall(batch, self.seed, 0 if optimizer is None else optimizer.iterations)

    @tf.autograph.experimental.do_not_convert
    def _optimise(self, batch, recalled=None):
        """The step itself: the sums of the logs, and what changes of that which is kept."""
        if recalled is not None:
            batch = {**batch, _RECALLED: Recalled(self.graph, recalled)}
        variables = self.trainable_variables
        scale = self.optimizer.scale_loss
        gradients, logs = accumulation.gradients(self, batch, variables, self.micro_batches, scale)
        norm, is_taken = stepping.step(self.optimizer, gradients, variables)
        logs |= step_logs.of_step(norm, is_taken, getattr(self.optimizer, "loss_scale", None))
        sums = step_logs.sum_over_replicas(logs)
        return sums, batch[_RECALLED].changed if recalled is not None else {}

    def train_step(self, batch):
        """One optimiser step, for `fit`: {name: mean over the global batch}. NaN where nothing is there to average."""
        return _means(self.log_names, self.take_step(batch))

    def test_step(self, batch):
        logs = self.compute_losses(batch, training=False)[1]
        return _means(logs, step_logs.sum_over_replicas(logs))
