"""Examples of retrieval as pictures: a query and what it found, from the result and the records it was measured on."""

import numpy as np

from mmv_tf.inspection import folder as folders
from mmv_tf.pages import jpeg, pictures
from mmv_tf.records import reader

_FRAMES = 3  # of a clip


def section(result: dict, network: str) -> dict:
    """What the page shows of the examples that a result holds.

    Without the records that they are from, that is their texts and keys; `missing` says why.

    Returns:
      {'title', 'missing', 'examples': [{'title', 'query': item, 'found': [(item, 'right' or 'wrong')]}]}, its items
      being those of the macro `figure` in pages/templates/macros.html.
    """
    examples = result["examples"]
    shown = [item for example in examples for item in (example["query"], *example["found"])]
    stored, missing = _records(result, {item["key"] for item in shown})
    made = []
    for example in examples:
        query, target = example["pair"].split("->")
        found = [(_item(item, target, stored), "right" if item["right"] else "wrong") for item in example["found"]]
        title = f"{query} \u2192 {target}, right one at place {example['rank']}"
        made.append({"title": title, "query": _item(example["query"], query, stored), "found": found})
    return {"title": f"{network}: {result['dataset']}", "missing": missing, "examples": made}


def _item(item, modality, stored) -> dict:
    text = item["text"] if modality == "text" else ""
    record = None if modality == "text" else stored.get(item["key"])
    picture = _picture(record, modality) if record else b""
    return {"picture": picture, "alt": modality, "text": text, "name": item["key"], "sound_id": ""}


def _picture(record, modality) -> bytes:
    """JPEG of frames or sound of a record; b'' where it has none that can be shown."""
    if modality == "audio":
        return b"" if record.waveform is None else pictures.spectrogram(record.waveform, record.sample_rate)
    chosen = record.jpegs[:: max(1, len(record.jpegs) // _FRAMES)][:_FRAMES]
    try:
        return pictures.strip(np.stack([jpeg.decode(frame) for frame in chosen]), len(chosen)) if chosen else b""
    except ValueError:  # a damaged frame
        return b""


def _records(result, keys) -> tuple[dict, str]:
    """({key: record} of the clips that are shown, '' or why there are none)."""
    settings = result["settings"]
    splits = settings["split"]
    try:
        if "data" in result and result["data"] != _data_now(settings["records"], splits):
            return {}, f"{settings['records']} holds other records than those that were measured"
        folder = folders.read(settings["records"])
        wanted = [name for split in ((splits,) if isinstance(splits, str) else splits) for name in folder.shards(split)]
    except (ValueError, OSError) as error:
        return {}, str(error)
    found = {}
    for name in wanted:
        file, size = folders.open_file(folder.join(name))
        with file:
            for _, record, _, _ in reader.read(file, size):
                if record and (key := record.key.decode("utf-8", "replace")) in keys:
                    found[key] = record
    return found, ""


def _data_now(records, splits) -> str:
    from mmv_tf.evaluation import features, protocol
    from mmv_tf.inputs import contents, shards

    return features.data_identity([contents.identities(shards.find(protocol.split_pattern(records, splits, "")))])
