"""The state of an optimiser in a checkpoint: each slot under the name of its variable and the optimiser's own name.

    optimizer/Adam/iteration
    optimizer/Adam/momentum/video/Mixed_3b/.../kernel

so that the moments of a variable come back to that variable, whatever the order of heads and backbones, and never to
another optimiser. The learning rate is a setting, not a state: the configured one counts.

Where the optimiser makes moving averages of the weights (`use_ema = True`), they are what is probed, evaluated,
deflated and exported; training goes on from the weights themselves.
"""

import contextlib
import re

import keras
import tensorflow as tf

from mmv_tf.common.values import listed
from mmv_tf.training import checkpoint_files

_SLOT_PATTERN = re.compile(r"optimizer/(?P<kind>[^/]+)/(?P<name>[^/]+)/\.ATTRIBUTES/VARIABLE_VALUE")
_SHOWN = 3  # names in a line
_AVERAGE = "average/"  # Keras' name of the moving averages of the weights that `use_ema` makes


def named(optimizer: keras.optimizers.Optimizer, model) -> dict[str, keras.Variable]:
    """{name: variable} of a built optimiser's state, such as 'momentum/video/dense/kernel'; no learning rate.

    Args:
      model: an MMV, whose trainable variables the optimiser was built with.
    Raises:
      ValueError: two of its variables get one name.
    """
    # Keras calls the slot `velocity` of a variable with the path a/b by a_b_velocity, and keeps no other link.
    owners = {f"{variable.path.replace('/', '_')}_": name for name, variable in model.named_variables().items()}
    found: dict[str, keras.Variable] = {}
    for variable in optimizer.variables:
        if variable is optimizer._learning_rate:
            continue
        prefix = max((p for p in owners if variable.name.startswith(p)), key=len, default=None)
        name = f"{variable.name.removeprefix(prefix)}/{owners[prefix]}" if prefix else variable.name
        if name in found:
            raise ValueError(f"two variables of the optimiser {optimizer.name} are called {name!r}")
        found[name] = variable
    return found


def parts(optimizer: keras.optimizers.Optimizer, model) -> dict[str, dict]:
    """What tf.train.Checkpoint saves of it: {the optimiser's class: {name: value}}."""
    return {type(optimizer).__name__: {name: variable.value for name, variable in named(optimizer, model).items()}}


def restore(optimizer: keras.optimizers.Optimizer, model, path: str, same_configuration: bool = True) -> list[str]:
    """Gives an optimiser the state in a checkpoint, as far as it is this optimiser's.

    Another optimiser begins anew, but for the number of steps, on which schedules hang.

    Args:
      path: of the checkpoint.
      same_configuration: whether the optimiser, the heads and the backbones are those that the checkpoint was written
        with; asked for by checkpoints of earlier versions alone, which hold the state by position.
    Returns:
      lines about what was not taken over, for people.
    Raises:
      ValueError: a slot has another shape than its variable; names the checkpoint.
    """
    for weight, average in _averages(optimizer, model):  # if the checkpoint has none, they begin with its weights
        average.assign(weight.numpy())
    stored = _stored(path)
    if not stored:
        return _restore_by_position(optimizer, model, path, same_configuration)
    (kind,) = stored
    ours, state = type(optimizer).__name__, named(optimizer, model)
    reader = tf.train.load_checkpoint(path)
    taken = {name: key for name, key in stored[kind].items() if name in state and kind == ours or name == "iteration"}
    for name, key in taken.items():
        _assign(state[name], reader.get_tensor(key), name, path)
    if kind != ours:
        return [f"{path} is of {kind}, and {ours} is configured: it begins anew, at step {int(optimizer.iterations)}"]
    lines = []
    if absent := [name for name in state if name not in taken]:
        lines.append(f"{listed(absent, _SHOWN)} of {ours} begin anew: {path} does not hold them")
    if unused := [name for name in stored[kind] if name not in state]:
        lines.append(f"{listed(unused, _SHOWN)} of {path} are left out: {ours} as it is configured has no such state")
    return lines


def take_averages(model, path: str) -> int:
    """Gives a built MMV the moving averages in a checkpoint for weights; how many it holds, 0 for none."""
    reader, weights = tf.train.load_checkpoint(path), model.named_variables()
    slots = {name: key for kind in _stored(path).values() for name, key in kind.items()}
    if "iteration" in slots and not reader.get_tensor(slots["iteration"]):
        return 0  # of the untrained network: Keras begins them with the first step
    averages = {name.removeprefix(_AVERAGE): key for name, key in slots.items() if name.startswith(_AVERAGE)}
    for name, key in averages.items():
        _assign(weights[name], reader.get_tensor(key), name, path)
    return len(averages)


@contextlib.contextmanager
def averages_in_place(model):
    """The moving averages of `model`'s optimiser, if it makes some, stand in for the weights as long as this lasts."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.use_ema or not int(optimizer.iterations):
        yield
        return
    pairs = _averages(optimizer, model)
    before = [weight.numpy() for weight, _ in pairs]
    try:
        for weight, average in pairs:
            weight.assign(average.numpy())
        yield
    finally:
        for (weight, _), value in zip(pairs, before, strict=True):
            weight.assign(value)


def _restore_by_position(optimizer, model, path, same_configuration) -> list[str]:
    """Of a checkpoint that an earlier version wrote: the optimiser's variables in their order."""
    reader = tf.train.load_checkpoint(path)
    pattern = re.compile(r"optimizer/\d{5}/\.ATTRIBUTES/VARIABLE_VALUE")
    keys = sorted(key for key, _ in tf.train.list_variables(path) if pattern.fullmatch(key))
    shapes = reader.get_variable_to_shape_map()
    iteration, *slots = keys
    if slots and not shapes[slots[0]] and reader.get_variable_to_dtype_map()[slots[0]].is_floating:
        slots = slots[1:]  # a constant learning rate lay among them
    state = list(named(optimizer, model).values())
    _assign(state[0], reader.get_tensor(iteration), "iteration", path)
    fits = [tuple(shapes[key]) for key in slots] == [tuple(variable.shape) for variable in state[1:]]
    if not (fits and same_configuration):
        return [
            f"{path} was written by an earlier version, which kept the optimiser's state by position, and the "
            f"configuration has changed since: {type(optimizer).__name__} begins anew, at step "
            f"{int(optimizer.iterations)}"
        ]
    for variable, key in zip(state[1:], slots, strict=True):
        _assign(variable, reader.get_tensor(key), key, path)
    return []


def _averages(optimizer, model) -> list[tuple[keras.Variable, keras.Variable]]:
    """[(weight, its moving average)]."""
    weights, state = model.named_variables(), named(optimizer, model)
    return [(weights[n.removeprefix(_AVERAGE)], v) for n, v in state.items() if n.startswith(_AVERAGE)]


def _stored(path: str) -> dict[str, dict[str, str]]:
    """{the optimiser's class: {name of a slot: its key in the checkpoint}}; {} if slots have no names there."""
    found: dict[str, dict[str, str]] = {}
    for key, _ in tf.train.list_variables(path):
        if match := _SLOT_PATTERN.fullmatch(key):
            found.setdefault(match["kind"], {})[checkpoint_files.name_of(match["name"])] = key
    return found


def _assign(variable, value, name, path):
    if tuple(variable.shape) != value.shape:
        raise ValueError(f"{path}: {name} of the optimiser has the shape {value.shape}, not {tuple(variable.shape)}")
    variable.assign(value)
