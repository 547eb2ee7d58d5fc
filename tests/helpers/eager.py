"""Operations that are called outside of a graph, without a function around each of them."""

from tensorflow.python import pywrap_tfe

_set = pywrap_tfe.TFE_ContextOptionsSetRunEagerOpAsFunction


def at_once() -> None:
    """To be called before the first operation of a process.

    TensorFlow makes a function with a graph of every operation that it has not seen yet, and optimises it, in half a
    millisecond; every variable has an operation of its own. The same kernels are there without.
    """
    pywrap_tfe.TFE_ContextOptionsSetRunEagerOpAsFunction = lambda options, _: _set(options, False)
