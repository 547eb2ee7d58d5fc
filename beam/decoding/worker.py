"""The child process that decodes: requests on standard input, answers on standard output. No pickles, no code travels.

A message is the length of a JSON header (4 bytes, big-endian), the header, and as many blobs as header['blobs'] gives
lengths for. Request: {path, clips: [[start, end or null], ...], settings}. Answers, in this order: one {plan: [[indices
of clips, start, end], ...], truncated}, then for each piece of the plan {piece, ...} with the JPEGs and, if any, the
waveform (float32, little-endian) as blobs, or {piece, reason, detail}; with the first of them, `remarks` about the
source may come, as [[kind, detail, number]]; at last {done: true}. A piece with `sound_failed: true` has pictures, and
sound that could not be decoded. A source that cannot be used at all, or no further, is answered by {reason, detail} in
place of what is missing.
"""

import json
import os
import resource
import signal
import struct
import sys

from mmv_tf.common import orphans

MAX_HEADER_BYTES = 64 << 20


def write_message(stream, header, blobs=()):
    data = json.dumps(header | {"blobs": [len(blob) for blob in blobs]}).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def read_message(read):
    """(header, blobs) through read(n), which returns exactly n bytes or raises EOFError."""
    (length,) = struct.unpack(">I", read(4))
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"header of {length} bytes")
    header = json.loads(read(length))
    return header, [read(size) for size in header.pop("blobs")]


def _limit(max_memory_bytes):
    """What the child may use, whatever is in the file: memory, no core dump, no files written."""
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # its stderr is a small file


def _answer(request, settings, say):
    import av

    from mmv_tf.beam.decoding import av_source, clips

    try:
        pieces, truncated = clips.plan(request["path"], request["clips"], settings)
        say({"plan": pieces, "truncated": truncated})
        numbers = {piece: number for number, piece in enumerate(pieces)}
        remarks = []
        for clip, error in clips.decode(request["path"], pieces, settings, remarks):
            number = numbers[clip.indices, clip.start, clip.wanted_end]
            said = {"remarks": [(kind.value, *rest) for kind, *rest in remarks]} if remarks else {}
            remarks.clear()  # once a source
            if error:
                say(said | {"piece": number, "reason": error.reason.value, "detail": str(error)})
                continue
            sound = [] if clip.waveform is None else [clip.waveform.astype("<f4").tobytes()]
            height, width = clip.size
            header = said | {
                "piece": number,
                "end": clip.end,
                "height": height,
                "width": width,
                "frames": len(clip.jpegs),
            }
            if clip.sound_failed:
                header["sound_failed"] = True
            say(header, clip.jpegs + sound)
        say({"done": True})
    except av_source.SourceError as error:
        say({"reason": error.reason.value, "detail": str(error)})
    except MemoryError:
        say({"reason": "out_of_memory", "detail": f"over {settings.max_memory_bytes >> 20} MiB"})
    except av.error.FFmpegError as error:  # not of a packet: of the filters that scale and convert
        say({"reason": "decode_error", "detail": f"{error.strerror}"[:200]})


def _answer_by(answer, request, settings, out):
    """Answers a request. The parent kills a child that takes too long; should it be stopped itself, the alarm does.

    While an answer is written there is no alarm: the parent may be at work with the one before, for as long as it
    likes. From each answer on, what comes next has its time anew.
    """

    def set_alarm():
        signal.alarm(int(settings.timeout_seconds * 1.5) + 1)

    def say(header, blobs=()):
        signal.alarm(0)
        write_message(out, header, blobs)
        set_alarm()

    set_alarm()
    answer(request, settings, say)
    signal.alarm(0)


def main(answer=_answer):
    """Answers requests by `answer(request, settings, say)`, with say(header, blobs), until standard input ends."""
    orphans.exit_with_parent()
    # Answers go to a private copy of standard output: nothing that a library prints can get between them.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    import av
    import cv2

    from mmv_tf.beam.specs import Settings

    av.logging.set_level(None)
    cv2.setNumThreads(1)

    def read(size):
        data = sys.stdin.buffer.read(size)
        if len(data) < size:
            raise EOFError
        return data

    limited = False
    while True:
        try:
            request, _ = read_message(read)
        except EOFError:
            return
        settings = Settings(**request["settings"])
        if not limited:
            _limit(settings.max_memory_bytes)
            limited = True
        _answer_by(answer, request, settings, out)


if __name__ == "__main__":
    main()
