"""One step of an optimiser on the gradients of a global batch, with what Keras leaves open made definite.

- A gradient of word vectors comes as one row an occurrence. The rows of a word are added up before anything looks at
  them: Keras' Adam squares them one by one, and clipping and norms count them one by one.
- What has no gradient in a step is not stepped: where a modality is absent from a whole batch, its weights, their
  moments and their decay stand still (LARS would take the gradient 0 with a ratio of 1, Adam would coast). Only the
  number of the step goes on, on which schedules and Adam's correction hang. The unit is a variable: the words that are
  not in a batch share the moments' decay with the others, as in every dense step.
- An optimiser of `optimizers.with_l2` has its decay added to each gradient here.
- One of `optimizers.with_rates` has other rates for some heads.
- Scales, offsets and biases, which are the vectors among the variables, do not decay, as in LARS (`optimizers.LARS`).
- Adam steps by TensorFlow's own operation: one for a variable, where Keras' formula takes two dozen.
- Under mixed_float16 the loss is scaled (`scale_losses`): float16 has no numbers for small gradients.
- Where averages of the weights take their place every so many steps (ema_overwrite_frequency), that is no branch:
  replicas cannot meet in one.
"""

import keras
import tensorflow as tf

from mmv_tf.common import replicas

# As in keras.optimizers.LossScaleOptimizer, which steps inside of a branch, where replicas cannot meet.
_FIRST_SCALE, _STEPS_TO_GROW = 2.0**15, 2000


def prepare(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes a Keras optimiser step as this module says. More than once does nothing more."""
    if "update_step" in vars(optimizer):
        return
    step, decays = optimizer.update_step, optimizer._use_weight_decay
    optimizer.adam = _Adam(optimizer) if _is_plain_adam(optimizer) else None
    there = True  # whether the variable that is being stepped has a gradient; between two of them, true

    def changing(assign, otherwise):
        return lambda variable, value: assign(variable, tf.where(there, value, otherwise(variable)))

    # Keras' optimisers change variables by these three alone.
    optimizer.assign = changing(optimizer.assign, lambda variable: variable)
    optimizer.assign_add = changing(optimizer.assign_add, lambda _: 0)
    optimizer.assign_sub = changing(optimizer.assign_sub, lambda _: 0)

    def step_if_there_is_a_gradient(gradient, variable, learning_rate):
        nonlocal there
        there = tf.reduce_any(tf.not_equal(gradient, 0))  # NaN is unequal to 0: it is stepped, and seen
        if (factor := _factor(optimizer, variable)) != 1:
            learning_rate = learning_rate * factor
        if optimizer.weight_decay is not None and len(variable.shape) > 1 and decays(variable):
            rate, decay = (tf.cast(x, variable.dtype) for x in (learning_rate, optimizer.weight_decay))
            optimizer.assign_sub(variable, variable * decay * rate)
        if getattr(optimizer, "l2", 0.0) and (optimizer.l2_of_vectors or len(variable.shape) > 1):
            gradient += tf.cast(optimizer.l2, gradient.dtype) * tf.cast(variable, gradient.dtype)
        if optimizer.adam is not None:
            optimizer.adam.update(gradient, variable, learning_rate, there)
        else:
            step(gradient, variable, learning_rate)
        there = True  # Nadam has a state of its own, that no variable owns

    optimizer.overwrites_every, optimizer.ema_overwrite_frequency = optimizer.ema_overwrite_frequency, None
    optimizer.update_step = step_if_there_is_a_gradient
    optimizer._apply_weight_decay = lambda variables: None  # it is a part of the step above
    # The gradients are summed here, before they are clipped; the losses are shares of one mean, so the sum is exact.
    optimizer._all_reduce_sum_gradients = list


def _is_plain_adam(optimizer) -> bool:
    return (
        getattr(optimizer.update_step, "__func__", None) is keras.optimizers.Adam.update_step and not optimizer.amsgrad
    )


class _Adam:
    """The update of `keras.optimizers.Adam` by TensorFlow's kernel: the same formula, in one pass.

    A variable and its moments are read and written once, and not a dozen times, and a graph has a third of the
    operations of the update. The kernel takes 1 - beta of a float32: with 0.999 the mean of squares is off by 1.3e-5,
    and so is its correction. Where both betas are 1 and the rate is 0, all stands still: so it is without a gradient.
    """

    def __init__(self, optimizer):
        self._optimizer, self._scalars = optimizer, {}

    def begin(self):
        """Forgets what the variables of one step share."""
        self._scalars.clear()

    def _shared(self, variable, learning_rate):
        """Powers of the betas, epsilon, and (rate, betas) of a variable with a gradient and of one without."""
        key = variable.device, variable.dtype, id(learning_rate)
        if key not in self._scalars:
            optimizer, dtype = self._optimizer, variable.dtype
            step = tf.cast(optimizer.iterations, dtype) + 1
            betas = [tf.constant(beta, dtype) for beta in (optimizer.beta_1, optimizer.beta_2)]
            moving = tf.stack([tf.cast(learning_rate, dtype), *betas])
            powers, epsilon = [beta**step for beta in betas], tf.constant(optimizer.epsilon, dtype)
            # The rate stays with them: no other gets its id.
            self._scalars[key] = (*powers, epsilon, moving, tf.constant([0, 1, 1], dtype)), learning_rate
        return self._scalars[key][0]

    def update(self, gradient, variable, learning_rate, there):
        """One step of a variable (of this replica), in place; `there`: scalar bool, whether there is a gradient."""
        optimizer, index = self._optimizer, self._optimizer._get_variable_index(variable)
        power_1, power_2, epsilon, moving, still = self._shared(variable, learning_rate)
        rate, beta_1, beta_2 = tf.unstack(tf.where(there, moving, still))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=optimizer._momentums[index].value.handle,
            v=optimizer._velocities[index].value.handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=tf.cast(gradient, variable.dtype),
            use_locking=False,
        )


def without_keras_scale(optimizer) -> tuple[keras.optimizers.Optimizer | None, bool]:
    """(the optimiser inside of a LossScaleOptimizer, with the scale of `scale_losses` in place of Keras', True).

    Of another one, (itself, False). Two scales would multiply.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer, False
    inner = optimizer.inner_optimizer
    if not has_scale(inner):  # it may be compiled again
        inner.loss_scale_factor = optimizer.initial_scale
        scale_losses(inner, optimizer.dynamic_growth_steps)
    return inner, True


def scale_losses(optimizer: keras.optimizers.Optimizer, steps_to_grow: int = _STEPS_TO_GROW) -> None:
    """Gives an optimiser a loss scale, which is a part of its state.

    It is doubled after `steps_to_grow` steps in which all gradients were finite, and halved after one in which they
    were not: that step is left out, and counted. Where it has come down to 1 it is not for the scale that they are not
    finite.
    """

    def add(name, first, dtype):
        initial = keras.initializers.Constant(first)
        return optimizer.add_variable((), initial, dtype, aggregation="only_first_replica", name=name)

    # One given by hand is where this one begins; Keras would divide by it once more.
    first, optimizer.loss_scale_factor = optimizer.loss_scale_factor or _FIRST_SCALE, None
    optimizer.loss_scale = add("loss_scale", first, "float32")
    optimizer.steps_to_grow = steps_to_grow
    optimizer.steps_at_scale = add("steps_at_scale", 0, "int32")
    optimizer.scale_loss = lambda loss: loss * tf.cast(optimizer.loss_scale, tf.convert_to_tensor(loss).dtype)


def has_scale(optimizer) -> bool:
    """Whether `scale_losses` was here."""
    return hasattr(optimizer, "loss_scale")


def _unscaled(optimizer, gradients):
    """The gradients of the loss, 0 in a step to be left out; their norm; whether it is taken. Moves the scale."""
    scale, count = optimizer.loss_scale, optimizer.steps_at_scale
    gradients = [gradient / scale for gradient in gradients]
    norm = tf.linalg.global_norm(gradients)
    is_finite = tf.math.is_finite(norm)
    grows = count + 1 >= optimizer.steps_to_grow
    count.assign(tf.where(is_finite & ~grows, count + 1, 0))
    is_taken = is_finite | (scale <= 1.0)
    larger, smaller = tf.where(grows, 2.0 * scale, scale), tf.maximum(0.5 * scale, 1.0)
    scale.assign(tf.where(is_finite, larger, smaller))
    return [tf.where(is_taken, gradient, tf.zeros_like(gradient)) for gradient in gradients], norm, is_taken


def _layers(variable) -> list[str]:
    # Keras hands over TensorFlow's variables, whose names are the paths of its own.
    return getattr(variable, "path", variable.name).split("/")[:-1]


def _layer_of(head: str) -> str:
    """The name of a head's layer, which stands in the paths of its variables."""
    return head.replace(" -> ", "_to_")


def _factor(optimizer, variable) -> float:
    """Of the learning rate of a variable."""
    rates = getattr(optimizer, "rates_of_heads", {})
    return next((factor for head, factor in rates.items() if _layer_of(head) in _layers(variable)), 1.0)


def _check_rates(optimizer, variables) -> None:
    known = {layer for variable in variables for layer in _layers(variable) if "_to_" in layer}
    for head in getattr(optimizer, "rates_of_heads", {}):
        if _layer_of(head) not in known:
            has = ", ".join(sorted(layer.replace("_to_", " -> ") for layer in known)) or "none"
            raise ValueError(f"with_rates.heads has {head!r}, and the model has no such head; there are {has}.")


def step(optimizer: keras.optimizers.Optimizer, gradients, variables) -> tuple[tf.Tensor, tf.Tensor]:
    """Takes one step, in a replica context.

    Args:
      gradients: this replica's share of each variable's gradient, of `optimizer.scale_loss(loss)`; None where the loss
        does not use a variable, such as heads that only inference needs.
    Returns:
      scalar: the norm of the gradient of the global batch, before clipping.
      scalar bool: whether the step was taken; only one with a scaled loss may be left out.
    """
    prepare(optimizer)
    if optimizer.adam is not None:
        optimizer.adam.begin()
    _check_rates(optimizer, variables)
    used = [(tf.convert_to_tensor(g), v) for g, v in zip(gradients, variables, strict=True) if g is not None]
    gradients, variables = replicas.total([g for g, _ in used]), [v for _, v in used]
    if has_scale(optimizer):
        gradients, norm, is_taken = _unscaled(optimizer, gradients)
    else:
        norm, is_taken = tf.linalg.global_norm(gradients) / optimizer.scale_loss(1.0), tf.constant(True)
    optimizer.apply(gradients, variables)
    _overwrite(optimizer)
    return norm, is_taken


def _overwrite(optimizer) -> None:
    """Puts the averages of the weights in their place where it is time for that (Keras' ema_overwrite_frequency)."""
    if not (optimizer.use_ema and optimizer.overwrites_every):
        return
    is_due = optimizer.iterations % optimizer.overwrites_every == 0  # the step that was just taken is counted
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
        if average is not None:
            optimizer.assign(variable, tf.where(is_due, average, variable))
