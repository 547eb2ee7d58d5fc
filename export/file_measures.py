"""Cost and loss of a file made of an export: inputs to measure with, times, errors, a table."""

import time


def samples(name: str, shape, count: int, records: str):
    """Inputs [N,1,...] to measure with: from records, or made up of a few waves."""
    import numpy as np

    from mmv_tf.inputs.pipeline import front_end

    if records:
        return _from_records(name, shape, count, records)
    rs = np.random.RandomState(0)
    if name == "audio":
        time_ = np.arange(shape[1]) / front_end().sample_rate
        waves = [np.sin(2 * np.pi * rs.uniform(80, 7000, (1, 6)) * time_[:, None]).sum(-1) for _ in range(count)]
        # With some noise: below a pure tone lies nothing but the rounding of the Fourier transform.
        return (np.stack(waves)[:, None] / 12 + rs.normal(0, 0.01, (count, *shape))).astype(np.float32)
    ramp = [np.linspace(0, 2 * np.pi, size) for size in shape[1:3]]
    pictures = []
    for _ in range(count):
        rows, columns = (np.sin(rs.uniform(1, 9, 3) * axis[:, None] + rs.uniform(0, 6, 3)) for axis in ramp)
        pictures.append(0.5 + 0.4 * rows[:, None] * columns[None] + rs.uniform(-0.1, 0.1, shape[1:]))
    return np.stack(pictures)[:, None].astype(np.float32)


def _from_records(name, shape, count, records):
    import numpy as np
    import tensorflow as tf

    from mmv_tf.common import paths
    from mmv_tf.export.embedding.clip_cutter import ClipCutter, ClipSettings

    cutter, found = ClipCutter(ClipSettings.from_gin(has_audio=name == "audio"), [name]), []
    files = paths.matching(records)
    if not files:
        raise FileNotFoundError(f"{records}: no such records.")
    for serialized in tf.data.TFRecordDataset(files).as_numpy_iterator():
        for item in cutter.cut(serialized):
            value = item.value.astype(np.float32) / 255 if name == "image" else item.value
            if name == "audio":
                value = np.resize(value, shape[1])
            elif value.shape != tuple(shape[1:]):
                value = tf.image.resize(value, shape[1:3]).numpy()
            found.append(value[None])
        if len(found) >= count:
            break
    return np.stack(found[:count])


def compare(wanted, found) -> dict[str, dict[str, float]]:
    """{key: mean and least cosine, mean relative L2 error} of embeddings [N,d] against those of the module."""
    import numpy as np

    errors = {}
    for key, right in wanted.items():
        length = np.linalg.norm(right, axis=-1)
        cosines = np.sum(right * found[key], -1) / (length * np.linalg.norm(found[key], axis=-1))
        relative = np.linalg.norm(found[key] - right, axis=-1) / length
        errors[key] = {
            "cosine": float(cosines.mean()),
            "least_cosine": float(cosines.min()),
            "relative_l2": float(relative.mean()),
        }
    return errors


def milliseconds(functions, inputs, times: int) -> list[float]:
    """Median time of a call of each function; they take turns, so that a busy machine is as busy for all."""
    import numpy as np

    taken = [[] for _ in functions]
    for _ in range(times):
        for function, seen in zip(functions, taken, strict=True):
            begin = time.perf_counter()
            function(inputs)
            seen.append(1000 * (time.perf_counter() - begin))
    return [float(np.median(seen)) for seen in taken]


def measure(signature, keys, files, samples, times: int) -> list[dict]:
    """A row for the signature of the module and one for each file: bytes, milliseconds, errors.

    Args:
      signature: of the module.
      keys: the outputs to compare.
      files: {form: (bytes, function of a float32 array -> {key: array})}.
      samples: float32 [N, *shape of the input].
      times: calls to take the median time of.
    """
    import numpy as np
    import tensorflow as tf

    def exported(inputs):
        outputs = signature(tf.constant(inputs))
        return {key: outputs[key].numpy() for key in keys}

    def embed(function):
        rows = [function(inputs) for inputs in samples]
        return {key: np.concatenate([row[key] for row in rows]) for key in keys}

    wanted = embed(exported)
    medians = milliseconds([exported, *(function for _, function in files.values())], samples[0], times)
    rows = [{"form": "SavedModel", "milliseconds": medians[0]}]
    for (form, (size, function)), median in zip(files.items(), medians[1:], strict=True):
        row = {"form": form, "bytes": size, "milliseconds": median, "samples": len(samples)}
        rows.append(row | {"errors": compare(wanted, embed(function))})
    return rows


def table(rows) -> str:
    lines = [f"{'network':8}{'form':16}{'MB':>8}{'ms':>9}   output        cosine  (least)  relative L2"]
    for row in rows:
        size = f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else ""
        head = f"{row['network']:8}{row['form']:16}{size:>8}{row['milliseconds']:9.1f}"
        lines += (
            [
                f"{head if number == 0 else '':41}   {key:12}{error['cosine']:8.5f} {error['least_cosine']:8.5f}"
                f"{error['relative_l2']:13.2e}"
                for number, (key, error) in enumerate(row["errors"].items())
            ]
            if "errors" in row
            else [head]
        )
    return "\n".join(lines)
