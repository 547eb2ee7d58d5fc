"""The modality graph: which spaces there are, which heads lead into them, and which pairs are compared where.

A graph is data (paper section 3.1; docs/design.md section 4). *Spaces* are named vector spaces. A *head* maps a
modality's representation, or another space, into a space. A *pair* says that two modalities are compared in a
space by a loss. The embedding of a modality in a space is the composition of the heads on the path that leads
there. A *view* is a further input of a modality, such as a second clip of the same video: it goes through the
modality's backbone and heads, and stands in pairs as a modality does. The second side of a pair can be what training
keeps of each record: 'memory:audio', the vectors of a *memory*, or 'table:clusters', the record's row in a *table* of
whole numbers (docs/systems.md). Shared, disjoint and FAC spaces are three values of one class, and nothing else in the
library knows which of them is in use.

    python -m mmv_tf.graph --gin_file=gin/fac.gin        # prints the graph and writes graph.svg
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import keras

from mmv_tf.common import batches, identity
from mmv_tf.common.configurable import checked, configurable
from mmv_tf.common.values import Count, NotNegative, ShareBelowOne, Written
from mmv_tf.model import losses, record_losses
from mmv_tf.model.memory import Memory


@checked
@dataclasses.dataclass(frozen=True)
class Head:
    """A projection from `source` (a modality, a view or a space) into `space`.

    Attributes:
      source: name of a modality or of a space; or of a view, which then does not take its modality's head to there.
      space: name of the space that it leads into.
      hidden: widths of hidden layers, each dense -> batch norm -> ReLU; () is a linear head.
      activation: what is applied to the source before the head: None, 'relu' or 'bnrelu' (batch norm, then ReLU).
        The source itself stays as it is (reference: mm_embeddings.py, `_activate_interaction`).
      batch_norm: whether a batch norm follows the last dense layer.
      dropout: share of the numbers that are dropped before every dense layer in training (GDT: 0.3).
    """

    source: str
    space: str
    hidden: Sequence[Count] = ()
    activation: Literal["relu", "bnrelu"] | None = None
    batch_norm: bool = False
    dropout: ShareBelowOne = dataclasses.field(default=0.0, metadata={identity.TRAINING_ALONE: True})

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))

    def __str__(self):
        return f"{self.source} -> {self.space}"


@checked
@dataclasses.dataclass(frozen=True)
class Pair:
    """Two modalities or views compared in a space by a loss with a weight.

    Attributes:
      first, second: modalities or views. The second can be 'memory:audio', what `Graph.memories` has of it in the
        space, or 'table:clusters', of which the loss takes the record's row; of such a pair the first alone learns.
      space: in which both are ...
      loss: a function of `mmv_tf.model.losses`.
      weight: of the loss.
      against: further modalities or views, with which `first` is compared as with samples that are not its own: they
        join the denominator of a contrastive loss, and are the negatives of `losses.margin`.
      against_own: whether a sample's own entry in those is a negative, too. If not, it is left out: the loss then does
        not say whether the two are to be told apart. `losses.margin` has nothing else to compare with, and needs it.
      second_space: ... but for `second` and `against` if this is given: of a predictor's target.
      scorer: what makes the network that compares the two (`mmv_tf.model.scorers`), for the losses that need one; None
        is the cosine.
    """

    first: str
    second: str
    space: str
    loss: Callable[..., losses.Compared] = losses.nce
    weight: NotNegative = 1.0
    against: Sequence[str] = ()
    against_own: bool = False
    second_space: str | None = None
    scorer: Callable[..., keras.layers.Layer] | None = None

    def __post_init__(self):
        object.__setattr__(self, "against", tuple(self.against))

    def __str__(self):
        other = f" and {self.second_space}" if self.second_space else ""
        further = f" against {', '.join(self.against)}" if self.against else ""
        return f"({self.first}, {self.second}{further}{', own included' * self.against_own}) in {self.space}{other}"

    @property
    def kept(self) -> str:
        """'memory' or 'table' where the second side is what is kept of each record, otherwise ''."""
        kind, colon, _ = self.second.partition(":")
        return kind if colon else ""

    @property
    def table(self) -> str:
        """The table that is the second side, '' for none."""
        return self.second.partition(":")[2] if self.kept == "table" else ""

    @property
    def seconds(self) -> tuple[str, ...]:
        """The modality or view of the second side; none of a table."""
        return () if self.kept == "table" else (self.second.rpartition(":")[2],)

    @property
    def sides(self) -> tuple[tuple[str, str], ...]:
        """(modality or view, space) of first, second and what they are compared against, as far as they are that."""
        there = self.second_space or self.space
        return (self.first, self.space), *((name, there) for name in (*self.seconds, *self.against))

    @property
    def identity(self) -> tuple[str, str, str, str | None]:
        """What no two pairs of a graph share: what they compare, in which space or spaces, and the loss."""
        return self.name, self.space, self.loss_name, self.second_space

    @property
    def loss_name(self) -> str:
        """The name of the loss function."""
        return getattr(self.loss, "__name__", str(self.loss))

    @property
    def measured(self) -> Literal["accuracy", "nearest", "told"]:
        """By what logs say how well it is learned: finding others in the batch, the own record, or telling classes."""
        if losses.classifies(self.loss):  # its space holds logits, by which nothing is found
            return "told"
        return "nearest" if self.kept else "accuracy"

    @property
    def scored_by(self) -> str:
        """The name of the class of its scorer."""
        return getattr(getattr(self.scorer, "func", self.scorer), "__name__", "scorer")

    @property
    def scorer_name(self) -> str:
        """The name of the scorer's weights: that of no other pair of a graph, whatever else is in it."""
        spaces = " and ".join(filter(None, (self.space, self.second_space)))
        return f"{self.name} in {spaces} by {self.loss_name}"

    @property
    def name(self) -> str:
        """Name for logs, such as 'video_audio'; a graph adds the space where one pair meets in several."""
        further = "_".join(["", "against", *self.against]) if self.against else ""
        return f"{self.first}_{self.second.replace(':', '_')}{further}{'_own' * self.against_own}"


def _make(cls, items: Sequence, what: str) -> list:
    """Turns gin tuples such as ('video', 'va', {'hidden': (512,)}) into `cls`, with errors that name the tuple."""
    made = []
    for item in items:
        if isinstance(item, cls):
            made.append(item)
            continue
        names = [part for part in item if not isinstance(part, Mapping)]
        options = {key: value for part in item if isinstance(part, Mapping) for key, value in part.items()}
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"{what} {item}: unknown setting {unknown[0]!r}; known: {', '.join(known)}.")
        try:
            made.append(cls(*names, **options))
        except TypeError as error:
            raise ValueError(f"{what} {item} is not of the form {tuple(known[:3])}: {error}") from error
    return made


@configurable
class Graph:
    """A validated modality graph.

    Args:
      spaces: {name: dimension of the space}.
      heads: a sequence of `Head`, or of tuples (source, space, {setting: value}).
      pairs: a sequence of `Pair`, or of tuples (first, second, space, {'loss': ..., 'weight': ...}).
      views: {name: modality}, further inputs of modalities, by the names that they have in a batch.
      memories: {(modality or view, space): Memory}, what training keeps of each record (`mmv_tf.model.memory`).

    Raises:
      ValueError: names the head, pair, view, memory or space at fault: a cycle, a space that nothing leads to, two ways
        from one source into one space, a pair without a path, a name used for a space and a modality alike.
    """

    def __init__(
        self,
        spaces: Mapping[str, Count],
        heads: Sequence[Annotated[Head, Written()]],
        pairs: Sequence[Annotated[Pair, Written()]],
        views: Mapping[str, str] | None = None,
        memories: Mapping[tuple[str, str], Memory] | None = None,
    ):
        self.spaces, self.views = dict(spaces), dict(views or {})
        self.memories = dict(memories or {})
        self.heads = _make(Head, heads, "Head")
        self.pairs = _make(Pair, pairs, "Pair")
        self._validate_heads()
        sources = dict.fromkeys(h.source for h in self.heads if h.source not in self.spaces)
        self.modalities = tuple(source for source in sources if source not in self.views)
        self._validate_views()
        self._validate_names()
        self._paths = {name: self._paths_from(name) for name in self.inputs}
        self._validate_reach()
        self._validate_pairs()
        self._pair_names = self._names_of_pairs()
        self._validate_memories()

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that pairs and memories name; `train.refresh` writes them."""
        named = [*(pair.table for pair in self.pairs), *(memory.positives for memory in self.memories.values())]
        return tuple(dict.fromkeys(filter(None, named)))

    @property
    def keeps_records(self) -> bool:
        """Whether training keeps something of each record, by whose number a batch then has to go."""
        return bool(self.memories or self.tables)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The modalities, each with its views after it: what a training batch holds."""
        return tuple(name for modality in self.modalities for name in self.inputs_of(modality))

    @property
    def trained_inputs(self) -> tuple[str, ...]:
        """What training looks at: no view that nothing is compared with, no modality that has views in its place."""
        plain = set(self.modalities) - set(self.views.values())
        return tuple(name for name in self.inputs if name in plain or self.compared_spaces(name))

    def inputs_of(self, modality: str) -> tuple[str, ...]:
        """A modality and its views."""
        return modality, *(view for view, of in self.views.items() if of == modality)

    def modality_of(self, name: str) -> str:
        """The modality of a view; of a modality itself."""
        return self.views.get(name, name)

    def modalities_of(self, pair: Pair) -> tuple[str, str]:
        """The modalities that a pair compares: one twice where it compares two views of it, or looks into a table."""
        return self.modality_of(pair.first), self.modality_of(next(iter(pair.seconds), pair.first))

    def modalities_compared(self) -> set[frozenset[str]]:
        """The modalities of each pair; one alone of a pair of two of its views."""
        return {frozenset(self.modalities_of(pair)) for pair in self.pairs}

    def path(self, modality: str, space: str) -> tuple[Head, ...]:
        """The heads from `modality` (or a view) to `space`, in order. KeyError if there is no path."""
        return self._paths[modality][space]

    def spaces_of(self, modality: str) -> tuple[str, ...]:
        """Every space that `modality` has a path to: what inference computes."""
        return tuple(self._paths.get(modality, ()))

    def compared_spaces(self, modality: str) -> tuple[str, ...]:
        """The spaces in which some pair compares `modality` (or a view)."""
        sides = (side for pair in self.pairs for side in pair.sides)
        return tuple(dict.fromkeys(space for name, space in sides if name == modality))

    def ranks(self, modality: str, space: str) -> bool:
        """Whether some pair compares `modality` (or a view) in `space` with others, and does not classify it."""
        return any((modality, space) in pair.sides for pair in self.pairs if pair.measured != "told")

    def training_spaces(self, modality: str) -> tuple[str, ...]:
        """The spaces of `modality` that some pair needs, with those on the way.

        The rest is not computed in training, so that in FAC audio never enters the batch statistics of the
        coarse head (reference: mm_embeddings.py; paper section 3.1).
        """
        needed = {head.space for end in self.compared_spaces(modality) for head in self.path(modality, end)}
        return tuple(space for space in self.spaces_of(modality) if space in needed)

    def trained_spaces(self, modality: str) -> set[str]:
        """The spaces whose heads a modality or one of its views passes in training."""
        return {space for name in self.inputs_of(modality) for space in self.training_spaces(name)}

    def pair_name(self, pair: Pair) -> str:
        """A short unique name of the pair for logs; its space and its loss are in it where it takes them."""
        return self._pair_names[pair.identity]

    def _names_of_pairs(self) -> dict[tuple, str]:
        """{identity of a pair: its name}: so much of the identity that no other pair, and no reverse, logs by it.

        Raises:
          ValueError: all of it is not enough; names the pair.
        """
        lengths = {pair.identity: 1 for pair in self.pairs}
        while True:
            names = {one: "_".join(filter(None, one[:length])) for one, length in lengths.items()}
            counts = collections.Counter(names.values())
            # A view may be called 'audio_reverse'; or 'audio_va', beside a space 'va'.
            finding = [pair for pair in self.pairs if pair.measured == "accuracy"]
            reverses = {f"{names[pair.identity]}_reverse" for pair in finding}
            taken = [pair for pair in self.pairs if counts[names[pair.identity]] > 1]
            taken += [pair for pair in finding if names[pair.identity] in reverses and pair not in taken]
            if not taken:
                return names
            longer = [pair.identity for pair in taken if lengths[pair.identity] < len(pair.identity)]
            if not longer:
                name = names[taken[0].identity]
                raise ValueError(f"Pair {taken[0]}: another one logs as {name!r}, too; give a view another name.")
            lengths |= {one: lengths[one] + 1 for one in longer}

    def describe(self) -> str:
        """The graph in a few lines of text."""
        lines = ["spaces: " + ", ".join(f"{name} [{dim}]" for name, dim in self.spaces.items()), "heads:"]
        for head in self.heads:
            parts = [head.activation] if head.activation else []
            parts += [f"{width} batch norm relu" for width in head.hidden] + [str(self.spaces[head.space])]
            parts += ["batch norm"] * head.batch_norm
            dropout = f", dropout {head.dropout:g} in training" * bool(head.dropout)
            lines.append(f"  {head}: " + " -> ".join(parts) + dropout)
        lines += ["views:"] * bool(self.views) + [f"  {view}: of {of}" for view, of in self.views.items()]
        lines += ["memories:"] * bool(self.memories)
        lines += [f"  {name} in {space}: {memory}" for (name, space), memory in self.memories.items()]
        lines += [f"tables: {', '.join(self.tables)}"] * bool(self.tables)
        lines.append("pairs:")
        for pair in self.pairs:
            scorer = f" of a {pair.scored_by}" if pair.scorer else ""
            lines.append(f"  {pair}: {pair.loss_name}{scorer}, weight {pair.weight:g}")
        trained = {m: self.trained_spaces(m) for m in self.modalities}
        for modality in self.modalities:
            for space in self.spaces_of(modality):
                if space not in trained[modality]:
                    lines.append(f"{modality} also reaches {space} at inference, by heads that others train")
        return "\n".join(lines)

    def _validate_heads(self):
        seen = set()
        for head in self.heads:
            if head.space not in self.spaces:
                raise ValueError(f"Head {head}: there is no space {head.space!r}; spaces: {', '.join(self.spaces)}.")
            if (head.source, head.space) in seen:
                raise ValueError(f"Two heads claim the space {head.space!r} from {head.source!r}: keep one.")
            seen.add((head.source, head.space))
        for name in self.spaces:
            if not any(head.space == name for head in self.heads):
                raise ValueError(f"Space {name!r} cannot be reached: no head leads into it.")

    def _validate_views(self):
        for view, modality in self.views.items():
            if view in self.spaces:
                raise ValueError(f"Graph.views: {view!r} is a space, too; give the view another name.")
            if modality in self.views:
                seen = [view, modality]
                while seen[-1] in self.views and seen[-1] not in seen[:-1]:
                    seen.append(self.views[seen[-1]])
                if seen[-1] in seen[:-1]:
                    raise ValueError(f"Graph.views is a cycle: {' of '.join(map(repr, seen))}.")
                raise ValueError(
                    f"Graph.views: {view!r} is a view of {modality!r}, which is a view; name the modality."
                )
            if modality not in self.modalities:
                known = ", ".join(self.modalities)
                raise ValueError(
                    f"Graph.views: {view!r} is of the unknown modality {modality!r}; the heads know {known}."
                )

    def _validate_names(self):
        for name in self.spaces:
            if name in batches.OUTPUTS:
                raise ValueError(f"Space {name!r}: networks give something else of that name; give it another one.")
        for name in self.inputs:
            if name in batches.BESIDE or name.endswith(batches.ENDS):
                raise ValueError(f"Graph has {name!r}: a batch has something else of that name; give it another one.")

    def _heads_from(self, place: str) -> list[Head]:
        """The heads that take `place`; of a view its own, and those of its modality into other spaces."""
        own = [head for head in self.heads if head.source == place]
        taken = {head.space for head in own}
        shared = self.views.get(place)
        return own + [head for head in self.heads if shared and head.source == shared and head.space not in taken]

    def _paths_from(self, modality: str) -> dict[str, tuple[Head, ...]]:
        paths: dict[str, tuple[Head, ...]] = {}
        frontier = [(modality, ())]
        while frontier:
            place, path = frontier.pop(0)
            for head in self._heads_from(place):
                if head.space in [h.space for h in path]:
                    raise ValueError(f"The heads form a cycle through {head} (on the way from {modality!r}).")
                if head.space in paths:
                    raise ValueError(f"Two ways lead from {modality!r} to {head.space!r}; the last one by {head}.")
                paths[head.space] = (*path, head)
                frontier.append((head.space, paths[head.space]))
        return paths

    def _validate_reach(self):
        for name in self.spaces:
            if not any(name in paths for paths in self._paths.values()):
                raise ValueError(f"Space {name!r} cannot be reached from any modality: its heads form a cycle.")

    def _validate_pairs(self):
        if not self.pairs:
            raise ValueError("The graph has no pairs: there is nothing to train. Add one to Graph.pairs.")
        for number, pair in enumerate(self.pairs):
            if pair.identity in [one.identity for one in self.pairs[:number]]:
                raise ValueError(
                    f"Pair {pair} with the loss {pair.loss_name} is there twice: give one of them more weight."
                )
            for other in (pair.second, *pair.against):
                if pair.first == other:
                    kind = "view" if other in self.views else "modality"
                    raise ValueError(f"Pair {pair} compares a {kind} with itself.")
            self._validate_kept(pair)
            if pair.against and not losses.takes_others(pair.loss):
                raise ValueError(f"Pair {pair}: the loss {pair.loss_name} takes nothing that is named in 'against'.")
            if pair.against and losses.needs_own(pair.loss) and not pair.against_own:
                raise ValueError(f"Pair {pair}: {pair.loss_name} compares with the own entry: set 'against_own': True.")
            if isinstance(pair.scorer, keras.layers.Layer):
                raise ValueError(f"Pair {pair}: a 'scorer' is what makes a layer, such as Scorer, and this is one.")
            if pair.scorer and not losses.takes_score(pair.loss):
                raise ValueError(f"Pair {pair}: the loss {pair.loss_name} compares by the cosine, not by a 'scorer'.")
            if losses.takes_score(pair.loss) and not pair.scorer:
                raise ValueError(f"Pair {pair}: the loss {pair.loss_name} needs a 'scorer', such as @Scorer.")
            if pair.against_own and not pair.against:
                raise ValueError(f"Pair {pair}: against_own says something of 'against', and that names nothing.")
            for name, space in pair.sides:
                if name not in self.inputs:
                    known = ", ".join(self.inputs)
                    raise ValueError(f"Pair {pair}: unknown modality {name!r}; the heads know {known}.")
                if space not in self.spaces_of(name):
                    raise ValueError(f"Pair {pair}: no path of heads leads from {name!r} to {space!r}.")
            if len({self.spaces[space] for _, space in pair.sides}) > 1:
                raise ValueError(f"Pair {pair}: vectors of two spaces are compared only where both have one dimension.")

    def _validate_kept(self, pair: Pair):
        """Checks a second side such as 'memory:audio', and that the loss is one for it."""
        if pair.kept not in ("", "memory", "table"):
            raise ValueError(f"Pair {pair}: {pair.second!r} is neither 'memory:NAME' nor 'table:NAME'.")
        if pair.kept and (pair.against or pair.second_space):
            raise ValueError(f"Pair {pair}: {pair.second!r} goes with neither 'against' nor 'second_space'.")
        wanted = {"memory": record_losses.Remembered, "table": record_losses.Labels, "": losses.Embeddings}[pair.kept]
        takes = losses.takes_second(pair.loss)
        if takes in (record_losses.Remembered, record_losses.Labels, losses.Embeddings) and takes is not wanted:
            forms = {record_losses.Remembered: "'memory:NAME'", record_losses.Labels: "'table:NAME'"}
            form = forms.get(takes, "a modality or view")
            raise ValueError(f"Pair {pair}: the second side of the loss {pair.loss_name} is {form}.")
        if pair.kept == "memory" and (*pair.seconds, pair.space) not in self.memories:
            known = ", ".join(map(str, self.memories)) or "none"
            raise ValueError(f"Pair {pair}: Graph.memories has no {(*pair.seconds, pair.space)}; it has {known}.")

    def _validate_memories(self):
        compared = {(*pair.seconds, pair.space) for pair in self.pairs if pair.kept == "memory"}
        for key in self.memories:
            if key not in compared:
                raise ValueError(f"Graph.memories has {key}, and no pair in that space has 'memory:{key[0]}' second.")
