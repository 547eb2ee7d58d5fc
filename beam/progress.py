"""The progress of a run, on standard error."""

import json
import sys
import threading
import time

from apache_beam.io.filesystems import FileSystems

from mmv_tf.beam import storage

_LAST_LOOK_SECONDS = 5.0


class Progress:
    """Shows how far a run is, from what appears in its staging folder: whatever the runner, nothing to pass around."""

    def __init__(self, staging, sources):
        self._staging, self._sources = staging, sources
        self._seen, self._clips, self._rejected = set(), 0, 0
        self._stop = threading.Event()
        self._stopped = float("inf")  # time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped = time.monotonic()
        self._stop.set()
        self._thread.join()

    def _watch(self):
        from tqdm import tqdm

        already = self._look()  # of a run that was killed
        began, clips_before = time.monotonic(), self._clips
        # Where no one watches a bar move, a line every now and then is enough.
        interval = 0.5 if sys.stderr.isatty() else 10.0
        with tqdm(total=self._sources, initial=already, unit="source", mininterval=0, file=sys.stderr) as bar:
            while True:
                last = self._stop.wait(interval)
                looked = time.monotonic()
                bar.update(self._look())
                # A bucket, or a folder of a million files, takes its time: looking must not become the work.
                interval = max(interval, 20 * (time.monotonic() - looked))
                rate = (self._clips - clips_before) / max(time.monotonic() - began, 1e-3)
                bar.set_postfix_str(f"{self._clips} clips, {self._rejected} rejected, {rate:.1f} clips/s")
                if last:
                    return

    def _look(self):
        """Number of sources finished since the last look."""
        new = 0
        for name in storage.names(self._staging):
            if name.endswith(".json") and name not in self._seen:
                index = json.loads(storage.read_text(FileSystems.join(self._staging, name)))
                self._seen.add(name)
                self._clips += len(index["records"])
                self._rejected += len(index["rejections"])
                new += 1
                if time.monotonic() > self._stopped + _LAST_LOOK_SECONDS:
                    break  # the run is over: no one waits for the figures of a bar
        return new
