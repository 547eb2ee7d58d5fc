"""The modality graph: which spaces there are, which heads lead into them, and which pairs are compared where.

A graph is data (paper section 3.1; docs/design.md section 4). *Spaces* are named vector spaces. A *head* maps a
modality's representation, or another space, into a space. A *pair* says that two modalities are compared in a
space by a loss. The embedding of a modality in a space is the composition of the heads on the path that leads
there. Shared, disjoint and FAC spaces are three values of one class, and nothing else in the library knows which
of them is in use.

    python -m mmv_tf.graph --gin_file=gin/fac.gin        # prints the graph and writes graph.svg
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from mmv_tf.common.configurable import checked, configurable
from mmv_tf.common.values import Count, NotNegative, Written
from mmv_tf.model import losses


@checked
@dataclasses.dataclass(frozen=True)
class Head:
    """A projection from `source` (a modality or a space) into `space`.

    Attributes:
      source: name of a modality or of a space.
      space: name of the space that it leads into.
      hidden: widths of hidden layers, each dense -> batch norm -> ReLU; () is a linear head.
      activation: what is applied to the source before the head: None, 'relu' or 'bnrelu' (batch norm, then ReLU).
        The source itself stays as it is (reference: mm_embeddings.py, `_activate_interaction`).
      batch_norm: whether a batch norm follows the last dense layer.
    """

    source: str
    space: str
    hidden: Sequence[Count] = ()
    activation: Literal["relu", "bnrelu"] | None = None
    batch_norm: bool = False

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))

    def __str__(self):
        return f"{self.source} -> {self.space}"


@checked
@dataclasses.dataclass(frozen=True)
class Pair:
    """Two modalities compared in a space by a loss (a function of `mmv_tf.model.losses`) with a weight."""

    first: str
    second: str
    space: str
    loss: Callable[..., losses.Compared] = losses.nce
    weight: NotNegative = 1.0

    def __str__(self):
        return f"({self.first}, {self.second}) in {self.space}"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What no two pairs of a graph share: modalities, space and loss."""
        return self.name, self.space, self.loss_name

    @property
    def loss_name(self) -> str:
        """The name of the loss function."""
        return getattr(self.loss, "__name__", str(self.loss))

    @property
    def name(self) -> str:
        """Name for logs, such as 'video_audio'; a graph adds the space where one pair meets in several."""
        return f"{self.first}_{self.second}"


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

    Raises:
      ValueError: names the head, pair or space at fault: a cycle, a space that nothing leads to, two ways from one
        source into one space, a pair without a path, a name used for a space and a modality alike.
    """

    def __init__(
        self,
        spaces: Mapping[str, Count],
        heads: Sequence[Annotated[Head, Written()]],
        pairs: Sequence[Annotated[Pair, Written()]],
    ):
        self.spaces = dict(spaces)
        self.heads = _make(Head, heads, "Head")
        self.pairs = _make(Pair, pairs, "Pair")
        self._validate_heads()
        self.modalities = tuple(dict.fromkeys(h.source for h in self.heads if h.source not in self.spaces))
        self._paths = {modality: self._paths_from(modality) for modality in self.modalities}
        self._validate_reach()

    def path(self, modality: str, space: str) -> tuple[Head, ...]:
        """The heads from `modality` to `space`, in order. KeyError if there is no path."""
        return self._paths[modality][space]

    def spaces_of(self, modality: str) -> tuple[str, ...]:
        """Every space that `modality` has a path to: what inference computes."""
        return tuple(self._paths.get(modality, ()))

    def compared_spaces(self, modality: str) -> tuple[str, ...]:
        """The spaces in which some pair compares `modality`."""
        return tuple(dict.fromkeys(p.space for p in self.pairs if modality in (p.first, p.second)))

    def training_spaces(self, modality: str) -> tuple[str, ...]:
        """The spaces of `modality` that some pair needs, with those on the way.

        The rest is not computed in training, so that in FAC audio never enters the batch statistics of the
        coarse head (reference: mm_embeddings.py; paper section 3.1).
        """
        needed = {head.space for end in self.compared_spaces(modality) for head in self.path(modality, end)}
        return tuple(space for space in self.spaces_of(modality) if space in needed)

    def pair_name(self, pair: Pair) -> str:
        """A short unique name of the pair for logs; its space and its loss are in it where it takes them."""
        if [p.name for p in self.pairs].count(pair.name) == 1:
            return pair.name
        places = [(p.name, p.space) for p in self.pairs]
        alone = places.count((pair.name, pair.space)) == 1
        return f"{pair.name}_{pair.space}" if alone else f"{pair.name}_{pair.space}_{pair.loss_name}"

    def describe(self) -> str:
        """The graph in a few lines of text."""
        lines = ["spaces: " + ", ".join(f"{name} [{dim}]" for name, dim in self.spaces.items()), "heads:"]
        for head in self.heads:
            parts = [head.activation] if head.activation else []
            parts += [f"{width} batch norm relu" for width in head.hidden] + [str(self.spaces[head.space])]
            lines.append(f"  {head}: " + " -> ".join(parts + (["batch norm"] if head.batch_norm else [])))
        lines.append("pairs:")
        lines += [f"  {p}: {p.loss_name}, weight {p.weight:g}" for p in self.pairs]
        trained = {m: set(self.training_spaces(m)) for m in self.modalities}
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

    def _paths_from(self, modality: str) -> dict[str, tuple[Head, ...]]:
        paths: dict[str, tuple[Head, ...]] = {}
        frontier = [(modality, ())]
        while frontier:
            place, path = frontier.pop(0)
            for head in (h for h in self.heads if h.source == place):
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
        if not self.pairs:
            raise ValueError("The graph has no pairs: there is nothing to train. Add one to Graph.pairs.")
        for number, pair in enumerate(self.pairs):
            if any(
                (p.name, p.space, p.loss_name) == (pair.name, pair.space, pair.loss_name) for p in self.pairs[:number]
            ):
                raise ValueError(
                    f"Pair {pair} with the loss {pair.loss_name} is there twice: give one of them more weight."
                )
            if pair.first == pair.second:
                raise ValueError(f"Pair {pair} compares a modality with itself.")
            for modality in (pair.first, pair.second):
                if modality not in self.modalities:
                    known = ", ".join(self.modalities)
                    raise ValueError(f"Pair {pair}: unknown modality {modality!r}; the heads know {known}.")
                if pair.space not in self.spaces_of(modality):
                    raise ValueError(f"Pair {pair}: no path of heads leads from {modality!r} to {pair.space!r}.")
