"""The place where a run computes: one device, the GPUs of a machine, several machines, or a TPU.

What several processes must know of each other is here too: who writes the files, and what each of them holds.
"""

import argparse
import contextlib
import functools
import json
import os

_TF_CONFIG = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --distribution_strategy, --tpu, --tpu_zone and --tpu_project."""
    parser.add_argument(
        "--distribution_strategy",
        choices=["one_device", "mirrored", "multi_worker_mirrored", "tpu"],
        help="mirrored: every GPU of this machine; multi_worker_mirrored: every process that TF_CONFIG names; "
        "default: tpu if --tpu is given, otherwise one_device",
    )
    parser.add_argument("--tpu", help="name or address of the TPU; 'local' on a TPU VM")
    parser.add_argument("--tpu_zone", metavar="ZONE", help="zone of the TPU, if it is not that of this machine")
    parser.add_argument("--tpu_project", metavar="PROJECT", help="project of the TPU, if not that of this machine")


def from_flags(args: argparse.Namespace):
    """The tf.distribute.Strategy of a command line (`add_arguments`).

    Several processes must meet before any of them runs an operation: call it first.

    Raises:
      ValueError: the flags contradict each other, TF_CONFIG is missing or malformed, or there is no such TPU.
      OSError: this process cannot join the others.
    """
    name = args.distribution_strategy or ("tpu" if args.tpu else "one_device")
    tpu_flags = {"--tpu": args.tpu, "--tpu_zone": args.tpu_zone, "--tpu_project": args.tpu_project}
    if name == "tpu" and not args.tpu:
        raise ValueError("A TPU needs --tpu=NAME (its name, its address, or 'local' on a TPU VM).")
    if name != "tpu" and any(tpu_flags.values()):
        flag = next(flag for flag, value in tpu_flags.items() if value)
        raise ValueError(f"{flag} is for a TPU, and the strategy is {name}: leave one of them out.")
    if name == "tpu":
        return _tpu(args.tpu, args.tpu_zone, args.tpu_project)
    if name == "multi_worker_mirrored":
        return _multi_worker_mirrored()
    import tensorflow as tf
    from official.common import distribute_utils

    gpus = len(tf.config.list_physical_devices("GPU"))
    return distribute_utils.get_distribution_strategy(name, num_gpus=min(gpus, 1) if name == "one_device" else gpus)


def _tpu(tpu: str, zone: str | None, project: str | None):
    import tensorflow as tf
    from official.common import distribute_utils

    try:
        if not (zone or project):
            return distribute_utils.get_distribution_strategy("tpu", tpu_address=tpu)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu, zone=zone, project=project)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # the look-up fails in the ways of several libraries
        place = f" in zone {zone or '(that of this machine)'}, project {project or '(that of this machine)'}"
        reason = str(error).strip() or type(error).__name__
        raise ValueError(f"The TPU {tpu!r}{place} was not found or did not start: {reason}") from error


def _multi_worker_mirrored():
    import tensorflow as tf

    address = _own_address(os.environ.get("TF_CONFIG", ""))
    # It waits for as long as it takes (an hour and more), and TensorFlow keeps SIGTERM from ending it meanwhile.
    print(f"this is {address}; waiting for the other processes that TF_CONFIG names", flush=True)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()  # distribute_utils makes the same by a deprecated name
    except (RuntimeError, tf.errors.OpError) as error:
        raise OSError(f"This worker ({address}) cannot join the others that TF_CONFIG names: {error}") from error


def _own_address(text: str) -> str:
    """Checks TF_CONFIG; the address of this worker in it."""
    example = f"Each process needs it, with its own index: TF_CONFIG='{_TF_CONFIG}'"
    if not text:
        raise ValueError(f"multi_worker_mirrored: the environment variable TF_CONFIG is not set. {example}")
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        kind, index = task["type"], task["index"]
        address = cluster[kind][index]
        if kind not in ("chief", "worker") or index < 0:
            raise ValueError(f"the task {kind} {index} is not one of the cluster's workers")
        if ":" not in address:
            raise ValueError(f"{address!r} has no port")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"TF_CONFIG is malformed ({type(error).__name__}: {error}): {text}. {example}") from error
    return address


def _workers(strategy) -> int:
    """How many processes train together."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec()
    return max(1, sum(cluster.num_tasks(job) for job in cluster.jobs if job in ("chief", "worker")))


def say(strategy):
    """`print` in the process that writes the files of the run; nothing in the others, which would say the same."""
    return functools.partial(print, flush=True) if is_chief(strategy) else lambda line: None


def on_one_machine(strategy) -> bool:
    """Whether nobody else takes part, whom an operation of this process would have to wait for."""
    import tensorflow as tf

    return not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy | tf.distribute.TPUStrategy)


def on_accelerator(strategy) -> bool:
    """Whether the replicas are on GPUs or a TPU."""
    import tensorflow as tf

    try:
        devices = strategy.extended.worker_devices
    except RuntimeError:  # no strategy: TensorFlow computes on the first GPU, if there is one
        devices = [device.name for device in tf.config.list_logical_devices()]
    return any(kind in device.upper() for device in devices for kind in ("GPU", "TPU"))


def is_chief(strategy) -> bool:
    """Whether this process is the one that writes the files of the run; true where there is only one."""
    if _workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def host_of(strategy) -> str:
    """A name of this process among those of a run, such as 'worker-1'; '0' where it is the only one."""
    if _workers(strategy) == 1:
        return "0"
    return f"{strategy.cluster_resolver.task_type}-{strategy.cluster_resolver.task_id}"


def everyone(strategy, value: int) -> list[int]:
    """The value of each process, the same list on all of them, in the order of TF_CONFIG.

    Every process must call it, at the same place of the run: it waits for them.
    """
    workers = _workers(strategy)
    if workers == 1:
        return [value]
    replicas = _exchange(strategy)(value).numpy().tolist()
    return replicas[:: len(replicas) // workers]


@contextlib.contextmanager
def lost_worker_in_one_line(strategy):
    """Says in one line that another process of the run is gone, where TensorFlow says that a collective was aborted.

    One that was killed is noticed at once; one whose machine is gone, or that stands still, after ten seconds (both
    measured on two processes), which is TensorFlow's own heartbeat.

    Raises:
      OSError: another process has ended, or does not answer.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        _, aborted, reason = str(error).partition("ollective ops is aborted by: ")
        if _workers(strategy) == 1 or not aborted:
            raise
        raise OSError(
            "Another process of this run has ended or does not answer; what it printed says why. This one ends too: "
            f"start all of them again, and they go on from the newest checkpoint. ({reason.splitlines()[0]})"
        ) from error


@functools.cache  # traced once a run
def _exchange(strategy):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64)], autograph=False)
    def exchange(value):
        def gather():
            return tf.distribute.get_replica_context().all_gather(value[tf.newaxis], axis=0)

        return strategy.experimental_local_results(strategy.run(gather))[0]

    return exchange
