"""The layout of a released checkpoint: which network it is, from the names and the shapes of its arrays alone."""

import dataclasses
import re
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from mmv_tf.released import name_map
from mmv_tf.released.pickle_machine import CheckpointError

PAIRS = {
    "fac": (("video", "audio", "va", "nce"), ("video", "text", "vat", "mil_nce")),
    "disjoint": (("video", "audio", "va", "nce"), ("video", "text", "vt", "mil_nce")),
    "shared": (("video", "audio", "s", "nce"), ("video", "text", "s", "mil_nce")),
}
# The released networks have widths of 1 and 2, and at most 2048 units. A file says what is built for it, so a small one
# could ask for a network larger than the memory.
_MAX_WIDTH, _MAX_UNITS, _MAX_HIDDEN = 2, 4096, 4


@dataclasses.dataclass(frozen=True)
class Layout:
    """What to build for a checkpoint.

    Attributes:
      backbones: {modality: (class in mmv_tf.backbones, its settings)}.
      graph: 'fac', 'disjoint' or 'shared'.
      modules: {'source -> space': name of the head in the file}.
      spaces, heads, pairs, views: as `mmv_tf.model.graph.Graph` takes them; a pair's loss by its name in
        `mmv_tf.model.losses`.
    """

    backbones: dict[str, tuple[str, dict]]
    graph: str
    modules: dict[str, str]
    spaces: dict[str, int]
    heads: tuple[tuple[str, str, dict], ...]
    pairs: tuple[tuple[str, str, str, str], ...]
    views: Mapping[str, str] = dataclasses.field(default_factory=dict)

    # An input of the least size for each modality, to make the variables with.
    least: ClassVar[Mapping[str, tuple]] = {"video": (1, 2, 32, 32, 3), "audio": (1, 32, 32, 1), "text": (1, 1)}

    def without_text(self) -> "Layout":
        """The same without the text network; every space stays."""
        return dataclasses.replace(
            self,
            backbones={m: network for m, network in self.backbones.items() if m != "text"},
            heads=tuple(head for head in self.heads if head[0] != "text"),
            pairs=tuple(pair for pair in self.pairs if "text" not in pair),
        ).with_a_pair()

    def with_a_pair(self) -> "Layout":
        """The same if it has a pair; otherwise with two clips of a video for one, as a graph is there to be trained."""
        if self.pairs:
            return self
        source, space, _ = self.heads[0]
        view = f"{source}_2"
        return dataclasses.replace(self, pairs=((source, view, space, "nt_xent"),), views={view: source})

    def build(self):
        """The `MMV`, with its variables made."""
        from mmv_tf.model import losses
        from mmv_tf.model.graph import Graph
        from mmv_tf.model.mmv import MMV

        networks = self.networks()
        pairs = [(*names, {"loss": getattr(losses, loss)}) for *names, loss in self.pairs]
        model = MMV(backbones=networks, graph=Graph(self.spaces, self.heads, pairs, self.views))
        model.build_by_call({m: np.zeros(self.least[m], "int32" if m == "text" else "float32") for m in networks})
        return model

    @property
    def rows(self) -> int:
        """Of the table of word vectors."""
        return self.backbones["text"][1]["vocabulary_size"]

    def networks(self) -> dict:
        """{modality: backbone}."""
        from mmv_tf import backbones

        return {m: getattr(backbones, name)(**settings) for m, (name, settings) in self.backbones.items()}

    def bindings(self) -> list[tuple[str, dict]]:
        """[(what is configured, its settings)] of the backbones."""
        return list(self.backbones.values())

    def networks_gin(self) -> str:
        """The value of `MMV.backbones`."""
        return f"{{{', '.join(f'{m!r}: @{name}()' for m, (name, _) in self.backbones.items())}}}"

    def gin(self) -> str:
        """The gin bindings that make the same model."""
        lines = [f"{name}.{key} = {value!r}" for name, settings in self.bindings() for key, value in settings.items()]
        lines += ["", f"Graph.spaces = {self.spaces!r}", "Graph.heads = ["]
        lines += [f"    {head!r}," for head in self.heads] + ["]", "Graph.pairs = ["]
        lines += [f"    ({a!r}, {b!r}, {space!r}, {{'loss': @{loss}}})," for a, b, space, loss in self.pairs]
        if self.views:
            lines += [
                "]",
                "# So that it is a graph; whoever trains it sets InputPipeline.views, too.",
                "Graph.views = {",
            ]
            lines += [f"    {view!r}: {of!r}," for view, of in self.views.items()]
        end = "}" if self.views else "]"
        return "\n".join([*lines, end, "MMV.graph = @Graph()", f"MMV.backbones = {self.networks_gin()}"]) + "\n"

    def __str__(self):
        networks = (f"{name}({', '.join(f'{k}={v!r}' for k, v in s.items())})" for name, s in self.backbones.values())
        return f"{', '.join(networks)}; graph {self.graph}"


def detect(arrays: Mapping[str, np.ndarray], activation: str | None = "relu") -> Layout:
    """The layout of a checkpoint.

    Args:
      arrays: {module name + '/' + leaf: array}.
      activation: between the spaces of a FAC graph, where no array tells it.

    Raises:
      CheckpointError: the names are not those of a released network, or no network of ours has those shapes.
    """
    shapes = {name: array.shape for name, array in arrays.items()}
    embeddings, dense = (f"{name_map.TEXT}/{n}" for n in ("embed/embeddings", "text_conv1/w"))
    text = {
        "vocabulary_size": extent(shapes, embeddings, 2, 0),
        "dim": extent(shapes, embeddings, 2, 1),
        "units": _units(shapes, dense, 3),
    }
    backbones = {"video": _video(shapes), "audio": ("AudioResNet", _audio(shapes)), "text": ("TextNetwork", text)}
    return Layout(backbones, **_graph(shapes, activation))


def extent(shapes: Mapping[str, tuple], name: str, rank: int, axis: int) -> int:
    """The extent of an axis of an array, which must be there and have so many axes."""
    if name not in shapes:
        raise CheckpointError(f"holds no array {name!r}: not one of the released networks")
    if len(shapes[name]) != rank:
        raise CheckpointError(f"{name}: shape {list(shapes[name])}, but an array of {rank} axes belongs there")
    return shapes[name][axis]


def _units(shapes, name: str, rank: int = 2) -> int:
    units = extent(shapes, name, rank, rank - 1)
    if units > _MAX_UNITS:
        raise CheckpointError(f"{name}: {units} units, more than any released network has")
    return units


def _video(shapes) -> tuple[str, dict]:
    from mmv_tf.backbones.inception import ENDPOINTS

    s3d, tsm = f"{name_map.VISUAL}/S3D", f"{name_map.VISUAL}/TSMResNetV2"
    stem = f"{s3d}/Conv2d_1a_7x7/~/conv3_d/w"
    if stem in shapes:
        kernel = shapes[stem][:-1]
        stems = {(2, 4, 4, 24): "space_to_depth", (7, 7, 7, 3): "rgb"}
        if kernel not in stems:
            known = " or ".join(str(list(k)) for k in stems)
            raise CheckpointError(f"{stem}: kernel {list(kernel)}, but S3D has {known}")
        present = [name for name in ENDPOINTS if any(module.startswith(f"{s3d}/{name}/") for module in shapes)]
        width = _width(stem, shapes[stem])
        return "S3D", {"stem": stems[kernel], "width": width, "final_endpoint": present[-1]}
    if any(name.startswith(f"{tsm}/") for name in shapes):
        stem = f"{tsm}/tsm_resnet_stem/w"
        extent(shapes, stem, 4, 3)
        width = _width(stem, shapes[stem])
        return "TSMResNet", {"depth": _depth(shapes, f"{tsm}/tsm_resnet_unit_"), "width": width}
    raise CheckpointError(f"holds neither {s3d!r} nor {tsm!r}: not one of the released networks")


def _audio(shapes) -> dict:
    net = f"{name_map.AUDIO}/res_net_v2/~"
    stem = f"{net}/initial_conv/w"
    extent(shapes, stem, 4, 3)
    return {"depth": _depth(shapes, f"{net}/block_group_"), "width": _width(stem, shapes[stem])}


def _width(stem: str, shape: tuple) -> float:
    if shape[-1] > 64 * _MAX_WIDTH:
        raise CheckpointError(f"{stem}: {shape[-1]} channels, more than any released network has")
    return shape[-1] / 64


def _depth(shapes, groups: str) -> int:
    """The depth of a ResNet whose blocks are called `groups` + '0/block_0/' and so on."""
    from mmv_tf.backbones.residual import DEPTHS

    pattern = re.compile(re.escape(groups) + r"(\d{1,3})/block_(\d{1,3})/")
    found = [match for name in shapes if (match := pattern.match(name))]
    blocks = {(int(match[1]), int(match[2])) for match in found}
    counts = tuple(sum(group == i for group, _ in blocks) for i in range(1 + max((g for g, _ in blocks), default=-1)))
    bottleneck = f"{groups}0/block_0/~/conv_2/w" in shapes or f"{groups}0/block_0/conv_2/w" in shapes
    for depth, layout in DEPTHS.items():
        if layout == (counts, bottleneck):
            return depth
    blocks = "bottlenecks" if bottleneck else "basic blocks"
    raise CheckpointError(f"{groups}0 and on: {counts} {blocks} a group, and no ResNet here has those")


def _graph(shapes, activation: str | None) -> dict:
    """The heads by their names, and by what leads into them."""
    names = {name[len(name_map.HEADS) + 1 :].split("/")[0] for name in shapes if name.startswith(f"{name_map.HEADS}/")}
    final = f"{name_map.HEADS}/vis_embd/final_projection/w"
    bnrelu = any("~_activate_interaction" in name for name in shapes)
    if "vid2audio_embd" not in names:
        graph, modules = "shared", name_map.SHARED
    else:
        # The coarse head starts from the video in one graph, from the fine space in the other.
        fine = extent(shapes, f"{name_map.HEADS}/vid2audio_embd/final_projection/w", 2, 1)
        inner = f"{name_map.HEADS}/vis_embd/final_projection_inner/w"
        graph = "fac" if extent(shapes, inner if inner in shapes else final, 2, 0) == fine else "disjoint"
        modules = {"fac": name_map.FAC, "disjoint": name_map.DISJOINT}[graph]
    spaces, heads = {}, []
    for name, module in modules.items():
        source, space = name.split(" -> ")
        dim, settings = _head(shapes, f"{name_map.HEADS}/{module}")
        if spaces.setdefault(space, dim) != dim:
            raise CheckpointError(f"{module}: leads into {dim} dimensions, but another head into {spaces[space]}")
        if graph == "fac" and source == "va":
            settings = {"activation": "bnrelu" if bnrelu else activation, **settings}
        heads.append((source, space, settings))
    return {"graph": graph, "modules": dict(modules), "spaces": spaces, "heads": tuple(heads), "pairs": PAIRS[graph]}


def _head(shapes, module: str) -> tuple[int, dict]:
    """(dimension of the space, settings of `graph.Head`)."""
    hidden = []
    while (inner := f"{module}/final_projection_inner{f'_{len(hidden)}' if hidden else ''}/w") in shapes:
        hidden.append(_units(shapes, inner))
        if len(hidden) > _MAX_HIDDEN:
            raise CheckpointError(f"{module}: more hidden layers than any released network has")
    norms = sum(name.startswith(f"{module}/") and name.endswith("/scale") for name in shapes)
    settings = {"hidden": tuple(hidden)} if hidden else {}
    if norms > len(hidden):
        settings["batch_norm"] = True
    return _units(shapes, f"{module}/final_projection/w"), settings
