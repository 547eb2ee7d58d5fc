"""Lists of moments for other programs: CSV, and the EDL that editing programs read."""

import csv
import io

_RATE = 25  # frames a second of an EDL


def as_csv(hits) -> str:
    """A row a hit, under a header."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["file", "start", "end", "score", "percentile", "matched"])
    for hit in hits:
        # A cell that begins so would be a formula in a spreadsheet.
        name = f"'{hit.file}" if hit.file[:1] in "=+-@\t\r" else hit.file
        writer.writerow([name, hit.start, hit.end, hit.score, hit.percentile, " ".join(hit.matched)])
    return out.getvalue()


def as_edl(hits) -> str:
    """CMX 3600, the list of cuts that editing programs read, at _RATE frames a second."""

    def clock(seconds):
        whole, frames = divmod(round(seconds * _RATE), _RATE)
        return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{frames:02d}"

    lines, at = ["TITLE: moments", "FCM: NON-DROP FRAME", ""], 0.0
    for number, hit in enumerate(hits, 1):
        span = f"{clock(hit.start)} {clock(hit.end)} {clock(at)} {clock(at + hit.end - hit.start)}"
        name = " ".join("".join(c if c.isprintable() else " " for c in hit.file).split())
        lines += [f"{number:03d}  AX       V     C        {span}", f"* FROM CLIP NAME: {name}", ""]
        at += hit.end - hit.start
    return "\n".join(lines)
