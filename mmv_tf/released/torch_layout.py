"""The layout of a PyTorch checkpoint: whose network it is, from the names and the shapes of its tensors alone."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping

from mmv_tf.backbones.batch_norm import PYTORCH
from mmv_tf.released import torch_names
from mmv_tf.released.layout import Layout
from mmv_tf.released.pickle_machine import CheckpointError


@dataclasses.dataclass(frozen=True)
class System:
    """Whose weights have the form of a file.

    Attributes:
      name: of the system and of who published them.
      licence: of their publication, with its address.
      inputs: gin bindings and remarks for what the network saw in training.
    """

    name: str
    licence: str
    inputs: str


@dataclasses.dataclass(frozen=True)
class Found:
    """What to build for a checkpoint, and where its tensors go.

    Attributes:
      system: whose it is.
      layout: of the `MMV`.
      entries: of a built `MMV`, all its `torch_names.Entry`.
      identity: heads that the file does not have and that pass on the representation as it is.
      unused: pattern of names that are known and have no place, such as those of a classifier.
      losses: gin bindings of the losses.
    """

    system: System
    layout: Layout
    entries: Callable[..., Iterator[torch_names.Entry]]
    identity: tuple[str, ...] = ()
    unused: str = r"fc\.(weight|bias)"
    losses: str = ""


TORCHVISION = System(
    "torchvision (models.video: R3D-18, MC3-18, R(2+1)D-18)",
    "BSD 3-Clause licence (github.com/pytorch/vision/blob/main/LICENSE)",
    "# Of Kinetics-400.\nVideoInput.num_frames = 16\nVideoInput.frame_rate = 15.0\n"
    "VideoInput.min_side = 128\nVideoInput.crop_size = 112\n"
    "VideoInput.mean = (0.43216, 0.394666, 0.37645)\nVideoInput.deviation = (0.22803, 0.22145, 0.216989)\n",
)
XDC = System(
    "XDC (Alwassel et al. 2020, github.com/HumamAlwassel/XDC)",
    "MIT licence (github.com/HumamAlwassel/XDC/blob/main/LICENSE)",
    "# It saw clips of 8 (pretraining) or 32 frames of 112 x 112 pixels.\n"
    "VideoInput.num_frames = 32\nVideoInput.frame_rate = 30.0\nVideoInput.min_side = 128\nVideoInput.crop_size = 112\n",
)
GDT = System(
    "GDT (Patrick et al. 2020, github.com/facebookresearch/GDT)",
    "Apache License 2.0 (github.com/facebookresearch/GDT/blob/main/LICENSE)",
    "# One second of video, and of sound at 24 kHz.\n"
    "InputPipeline.audio = @FilterBank()\n"
    "VideoInput.num_frames = 30\nVideoInput.frame_rate = 30.0\nVideoInput.min_side = 128\nVideoInput.crop_size = 112\n"
    "VideoInput.mean = (0.45, 0.45, 0.45)\nVideoInput.deviation = (0.225, 0.225, 0.225)\n",
)
MIL_NCE = System(
    "MIL-NCE (Miech et al. 2020, github.com/antoine77340/S3D_HowTo100M and MIL-NCE_HowTo100M)",
    "Apache License 2.0 (github.com/antoine77340/MIL-NCE_HowTo100M/blob/master/LICENSE)",
    "# The paper's: 32 frames at 10 frames/s of 200 x 200 pixels; the trainer in PyTorch has 16 at 5, of 224 x 224.\n"
    "VideoInput.num_frames = 32\nVideoInput.frame_rate = 10.0\nVideoInput.crop_size = 200\n",
)
_BLOCKS = {((2, 2, 2, 2), False): 18, ((3, 4, 6, 3), False): 34, ((3, 4, 6, 3), True): 50}
_MAX_WORDS, _MAX_UNITS = 1 << 20, 4096  # a file says what is built for it: a small one could ask for all memory


def detect(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """The layout of a checkpoint.

    Args:
      shapes: {name of a tensor: shape}.

    Raises:
      CheckpointError: the names are not those of a network that is known here, or no network of ours has the shapes.
    """
    if "stem.0.weight" in shapes:
        return _video_resnet(shapes)
    if "video_network.base.stem.0.weight" in shapes:
        return _gdt(shapes)
    if "mixed_3b.conv_b0.conv1.weight" in shapes:
        return _mil_nce(shapes)
    raise CheckpointError(
        "its tensors are not those of a network whose weights are read here: the video networks of torchvision and "
        "XDC, GDT, and MIL-NCE's S3D"
    )


def _video_resnet(shapes) -> Found:
    settings = _video_settings(shapes, "")
    own = settings.get("between") == "own"
    if settings["depth"] != 18:
        raise CheckpointError("an R(2+1)D of another depth than 18: of those there are no published weights known here")
    dim = _axis(shapes, "layer4.1.conv2.1.weight", 1, 0)
    layout = _layout({"video": ("VideoResNet", settings)}, {"v": dim}, (("video", "v", {}),))

    def entries(model):
        return torch_names.video_resnet(model.backbones["video"])

    return Found(XDC if own else TORCHVISION, layout, entries, identity=("video -> v",))


def _gdt(shapes) -> Found:
    video = _video_settings(shapes, "video_network.base.")
    backbones, heads, modules = {"video": ("VideoResNet", video)}, [], {}
    if "audio_network.base.conv1.weight" in shapes:
        depth = {(1, 1, 1, 1): 9, (2, 2, 2, 2): 18}.get(_counts(shapes, "audio_network.base."))
        if depth is None:
            raise CheckpointError("audio_network: no ResNet here has its blocks")
        width = _width(shapes, "audio_network.base.conv1.weight", 4)
        backbones["audio"] = ("ResNetV1", {"depth": depth, "width": width, "norm": dict(PYTORCH)})
    for modality, letter in (("video", "v"), ("audio", "a")):
        module, source = f"mlp_{letter}.block_forward", f"{modality} -> va"
        if modality in backbones:
            hidden = _axis(shapes, f"{module}.2.weight", 2, 0)
            dim = _axis(shapes, f"{module}.8.weight", 2, 0)
            heads.append((modality, "va", {"hidden": (hidden,)}))
            modules[source] = module
    pairs = (("video", "audio", "va", "nce"),) if "audio" in backbones else ()
    layout = _layout(backbones, {"va": dim}, tuple(heads), pairs)

    def entries(model):
        yield from torch_names.video_resnet(model.backbones["video"], "video_network.base.")
        if "audio" in backbones:
            yield from torch_names.resnet_v1(model.backbones["audio"], "audio_network.base.")
        for source, module in modules.items():
            yield from torch_names.head(model.heads[source], f"{module}.2", f"{module}.4", f"{module}.8")

    return Found(GDT, layout, entries, unused=r"audio_network\.base\.fc\.(weight|bias)")


def _mil_nce(shapes) -> Found:
    kernels = {(3, 3, 7, 7): "rgb_3x7x7", (24, 2, 4, 4): "space_to_depth"}
    stem = kernels.get(tuple(shapes.get("conv1.conv1.weight", ()))[1:])
    if stem is None:
        raise CheckpointError("conv1.conv1.weight: no stem of S3D here has that kernel")
    width = _width(shapes, "conv1.conv1.weight", 5)
    settings = {"stem": stem, "width": width, "padding": "even", "norm": dict(PYTORCH)}
    backbones, dim = {"video": ("S3D", settings)}, _axis(shapes, "fc.weight", 2, 0)
    heads, pairs, table = [("video", "vt", {})], (), "text_module.word_embd.weight"
    if table in shapes:
        words, units = _axis(shapes, table, 2, 0), _axis(shapes, "text_module.fc1.weight", 2, 0)
        if words > _MAX_WORDS:
            raise CheckpointError(f"{table}: {words} words, more than any published network has")
        text = {"vocabulary_size": words, "dim": _axis(shapes, table, 2, 1), "units": units}
        backbones["text"] = ("TextNetwork", text)
        heads.append(("text", "vt", {}))
        pairs = (("video", "text", "vt", "mil_nce"),)

    def entries(model):
        yield from torch_names.s3d(model.backbones["video"])
        yield from torch_names.dense("fc", model.heads["video -> vt"].projection)
        if "text" in backbones:
            yield from torch_names.text_network(model.backbones["text"], "text_module.")
            yield from torch_names.dense("text_module.fc2", model.heads["text -> vt"].projection)

    losses = "mil_nce.normalize = False\nmil_nce.temperature = 1.0\n"
    return Found(MIL_NCE, _layout(backbones, {"vt": dim}, tuple(heads), pairs), entries, unused=r"$", losses=losses)


def _layout(backbones, spaces, heads, pairs=()) -> Layout:
    return Layout(backbones, "", {}, spaces, heads, pairs).with_a_pair()


def _video_settings(shapes, prefix: str) -> dict:
    """The settings of the `VideoResNet` whose names begin so."""
    bottleneck = f"{prefix}layer1.0.conv3.0.weight" in shapes
    depth = _BLOCKS.get((_counts(shapes, prefix), bottleneck))
    if depth is None:
        raise CheckpointError(f"{prefix}layer1 and on: no video ResNet here has those blocks")
    factored = f"{prefix}stem.3.weight" in shapes
    settings = {"depth": depth, "norm": dict(PYTORCH)}
    settings["width"] = _width(shapes, f"{prefix}stem.{3 if factored else 0}.weight", 5)
    if not factored:
        kernel = _axis(shapes, f"{prefix}layer2.0.conv1.0.weight", 5, 2)
        return {**settings, "convolution": "3" if kernel == 3 else "mixed"}
    # What stands between in the second convolution of the second group tells the two kinds from each other.
    name = f"{prefix}layer2.0.conv2.0.0.weight"
    between, channels = _axis(shapes, name, 5, 0), _axis(shapes, name, 5, 1)
    own = between == (27 * channels * channels) // (12 * channels)
    if own:
        settings["norm"] = {**PYTORCH, "epsilon": 1e-3, "decay": 0.1}  # which XDC, as Caffe2 before it, sets
    return {**settings, "convolution": "2+1", "between": "own" if own else "block"}


def _counts(shapes, prefix: str) -> tuple[int, ...]:
    """Blocks a group."""
    pattern = re.compile(re.escape(prefix) + r"layer([1-4])\.(\d{1,2})\.")
    blocks = {(match[1], match[2]) for name in shapes if (match := pattern.match(name))}
    return tuple(sum(group == number for group, _ in blocks) for number in "1234")


def _width(shapes, name: str, rank: int) -> float:
    channels = _axis(shapes, name, rank, 0)
    if channels > 64 or channels % 8:
        raise CheckpointError(f"{name}: {channels} channels, which no published network has")
    return channels / 64


def _axis(shapes, name: str, rank: int, axis: int) -> int:
    if name not in shapes:
        raise CheckpointError(f"holds no tensor {name!r}")
    if len(shapes[name]) != rank:
        raise CheckpointError(f"{name}: shape {list(shapes[name])}, but a tensor of {rank} axes belongs there")
    size = shapes[name][axis]
    if not 1 <= size <= (_MAX_UNITS if "word_embd" not in name else _MAX_WORDS):
        raise CheckpointError(f"{name}: {size} in its shape, which no published network has")
    return size
