"""A run that starts quickly, where a test needs the whole program several times: VT, and a network of few layers."""

from helpers import tiny

FILES = ["gin/vt.gin", "gin/optim/sgd_cosine.gin"]


def bindings(folder) -> list[str]:
    """Makes tiny records in `folder`; what makes FILES tiny, with a step a loop and a constant learning rate."""
    everything = tiny.bindings(tiny.make_records(folder), tiny.write_vocabulary(folder / "vocabulary.txt"))
    return [
        *(line for line in everything if not line.startswith(("Graph.", "AudioResNet.", "LogMel."))),
        "S3D.final_endpoint = 'Conv2d_1a_7x7'",
        "Graph.spaces = {'vt': 8}",
        # Small: at this size gradients are in the hundreds, and steps of a usual size multiply rounding errors by ten.
        "keras.optimizers.SGD.learning_rate = 2e-6",
        "train.steps_per_loop = 1",
    ]


def command(workdir, bindings, *flags) -> list[str]:
    """Arguments of `python` for such a run."""
    files = [f"--gin_file={file}" for file in FILES]
    return ["-m", "mmv_tf.train", f"--workdir={workdir}", *files, *(f"--gin_param={line}" for line in bindings), *flags]
