"""Examples of retrieval as pictures: a query and what it found, from the result and the records it was measured on."""

import html

import numpy as np

from mmv_tf.inspection import folder as folders
from mmv_tf.pages import jpeg, pictures
from mmv_tf.records import reader

_FRAMES = 3  # of a clip


def section(result: dict, network: str) -> str:
    """HTML of the examples that a result holds; '' if it has none. Without its records, texts and keys are shown."""
    examples = result.get("examples")
    if not examples:
        return ""
    shown = [item for example in examples for item in (example["query"], *example["found"])]
    stored, missing = _records(result["settings"], {item["key"] for item in shown})
    parts = [f"<h3>{html.escape(network)}: {html.escape(result['dataset'])}</h3>"]
    if missing:
        parts.append(f'<p class="soft">Without pictures: {html.escape(missing)}</p>')
    parts.append('<p class="soft">The queries were drawn by a fixed seed, however well they went.</p>')
    for example in examples:
        query, target = example["pair"].split("->")
        found = "".join(
            f"<td>{_item(item, target, stored)}<p>{'<b>right</b>' if item['right'] else 'wrong'}</p></td>"
            for item in example["found"]
        )
        title = f"{query} \u2192 {target}, right one at place {example['rank']}"
        parts.append(
            f'<div class="card scroll"><p>{html.escape(title)}</p><table class="examples"><tr>'
            f"<td><b>query</b>{_item(example['query'], query, stored)}</td>{found}</tr></table></div>"
        )
    return "".join(parts)


def _item(item, modality, stored) -> str:
    name = f'<p class="soft">{html.escape(item["key"])}</p>'
    if modality == "text":
        return f"<p>{html.escape(item['text'])}</p>{name}"
    record = stored.get(item["key"])
    if record is None:
        return name
    if modality == "audio":
        content = pictures.spectrogram(record.waveform, record.sample_rate)
    else:
        chosen = record.jpegs[:: max(1, len(record.jpegs) // _FRAMES)][:_FRAMES]
        content = pictures.strip(np.stack([jpeg.decode(frame) for frame in chosen]), len(chosen))
    return f'<img alt="{modality}" src="{pictures.data_uri("image/jpeg", content)}">{name}'


def _records(settings, keys) -> tuple[dict, str]:
    """({key: record} of the clips that are shown, '' or why there are none)."""
    splits = settings["split"]
    try:
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
