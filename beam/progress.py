"""How far a run is, on standard error."""

import json
import os
import sys
import threading
import time


class Progress:
    """Shows how far a run is, from what appears in its staging folder: whatever the runner, nothing to pass around."""

    def __init__(self, staging, sources):
        self._staging, self._sources = staging, sources
        self._seen, self._clips, self._rejected = set(), 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        if os.path.isdir(self._staging):
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        if self._thread.ident:
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
                bar.update(self._look())
                rate = (self._clips - clips_before) / max(time.monotonic() - began, 1e-3)
                bar.set_postfix_str(f"{self._clips} clips, {self._rejected} rejected, {rate:.1f} clips/s")
                if last:
                    return

    def _look(self):
        """Number of sources finished since the last look."""
        new = 0
        for entry in os.scandir(self._staging):
            if entry.name.endswith(".json") and entry.name not in self._seen:
                self._seen.add(entry.name)
                with open(entry.path, encoding="utf-8") as file:
                    index = json.load(file)
                self._clips += len(index["records"])
                self._rejected += len(index["rejections"])
                new += 1
        return new
