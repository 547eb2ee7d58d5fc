"""Search over one's own videos: `mmv_tf search index | serve | query | export`."""

import dataclasses
import json
import os
import pathlib
import sys
import time

from mmv_tf.common import command, paths

_EXAMPLES = """
examples:
  mmv_tf search index my_videos/ --module exported/fac --index my.index     # again: only what is new, changed or gone
  mmv_tf search serve --index my.index                                      # prints the address of the page
  mmv_tf search query --index my.index --text "a dog barks"
  mmv_tf search query --index my.index --sound bark.wav --in both --json
  mmv_tf search query --index my.index --video clip.mp4@12-15 --cut found/
  mmv_tf search query --index my.index --text "at night" --image street.jpg --weights text=1,image=.5
  mmv_tf search export --index my.index --output vectors/ --form vertex
"""
_THEN = "mmv_tf evaluate --module exported/fac --gin_file=gin/evals/esc50.gin --output results/esc50.json"


def _parser():
    parser = command.parser("search", main.__doc__, _THEN, _EXAMPLES)
    commands = parser.add_subparsers(dest="what", required=True)
    index = commands.add_parser("index", help="make an index of a folder, or bring it up to date")
    index.add_argument("folder", nargs="?", help="folder with videos and sounds, searched recursively")
    index.add_argument("--videos", help="the same")
    index.add_argument(
        "--module", type=paths.argument, help="folder of an export; may be left out for an index that is there"
    )
    index.add_argument("--embeddings", type=paths.argument, help="take what mmv_tf embed --videos wrote here")
    index.add_argument("--labels", type=paths.argument, metavar="CSV", help="table with the columns file and label")
    index.add_argument("--watch", action="store_true", help="go on, and take up what changes, until Ctrl-C")
    serve = commands.add_parser("serve", help="the page")
    serve.add_argument("--port", type=int, default=8765, help="default: %(default)s; 0 for any that is free")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; another than 127.0.0.1 needs --token")
    serve.add_argument("--token", help="that a browser must give, where --host is not this machine alone")
    query = commands.add_parser("query", help="ask on the command line")
    query.add_argument("--text", default="", help="words, by meaning and as words")
    query.add_argument("--image", help="file of a picture")
    query.add_argument("--sound", metavar="FILE[@A-B]", help="file with sound, and of it the seconds from A to B")
    query.add_argument("--video", metavar="FILE[@A-B]", help="file of a video")
    query.add_argument("--like", type=int, metavar="ID", help="moments like this one")
    query.add_argument("--unlike", type=int, metavar="ID", help="and not like this one")
    query.add_argument(
        "--weights", default="", metavar="text=1,image=.5",
        help="of what is asked with together: text, image, sound, video, like, unlike",
    )  # fmt: skip
    query.add_argument("--in", dest="within", choices=("video", "audio", "both"), default="both")
    query.add_argument("--folder", default="", help="only files below this folder")
    query.add_argument("--name", default="", help="only files with this in their path")
    query.add_argument("--label", default="", help="only files with this label")
    query.add_argument("--kind", choices=("video", "sound"), default="", help="only videos, or only sounds")
    query.add_argument("--after", metavar="DATE", help="only files changed since then, such as 2024-05-01")
    query.add_argument("--before", metavar="DATE", help="only files changed before")
    query.add_argument("--min_seconds", type=float, help="only files at least so long")
    query.add_argument("--max_seconds", type=float, help="only files at most so long")
    query.add_argument("--k", type=int, default=20, help="moments (default: %(default)s)")
    query.add_argument("--per_file", type=int, default=3, help="most moments of a file (default: %(default)s)")
    query.add_argument("--json", action="store_true", help="print JSON")
    query.add_argument("--cut", metavar="FOLDER", help="write each moment as an .mp4 into this folder")
    export = commands.add_parser("export", help="the vectors as files for a vector database")
    export.add_argument("--output", type=paths.argument, required=True, help="folder to write; must not exist")
    export.add_argument("--form", choices=("vertex", "milvus"), required=True, help="whose layout; docs/search.md")
    for one in (index, serve, query, export):
        one.add_argument("--index", type=paths.argument, required=True, help="folder of the index")
    for one in (index, serve, query):
        one.add_argument(
            "--engine", help="what compares the vectors: numpy (default), faiss or milvus; stays that of the index"
        )
        one.add_argument("--uri", help="of Milvus: http://HOST:19530, or the path of a file for milvus-lite")
        one.add_argument("--allow_file_operations", action="store_true", help="as of mmv_tf embed")
    for one in (serve, query):
        one.add_argument("--module", type=paths.argument, help="where the module lies now, if it was moved")
    return parser


def main(argv=None):
    """Finds moments in a folder of videos by text, sound, picture or clip."""
    args = _parser().parse_args(argv)
    return {"index": _index, "serve": _serve, "query": _query, "export": _export}[args.what](args)


def _index(args):
    if bool(args.folder) == bool(args.videos):
        raise ValueError("give the folder with videos once: mmv_tf search index FOLDER --module MODULE --index INDEX")
    root = os.path.abspath(paths.home(args.folder or args.videos))
    from mmv_tf.common import batches, lock
    from mmv_tf.searching import engines, indexing
    from mmv_tf.searching.embedder import Embedder
    from mmv_tf.searching.store import DATABASE, Store

    if not os.path.isdir(root):
        raise ValueError(f"{root}: not a folder")
    if args.embeddings and args.watch:
        raise ValueError("--embeddings and --watch: vectors are taken once")
    with lock.folder(args.index, "search index"):
        is_there = os.path.isfile(os.path.join(args.index, DATABASE))
        known = Store(args.index).settings if is_there else None
        if args.module is None and known is None:
            raise ValueError("--module: the folder of an export, such as mmv_tf export makes, for a new index")
        engine = engines.settings(args.engine, args.uri, known)
        mirror = engines.mirror(engine)
        batches.keep_freed_memory()
        embedder = Embedder(args.module or known["module_folder"], args.allow_file_operations)
        stays, more = indexing.made_with(embedder, root, engine)
        more["labels"] = os.path.abspath(args.labels) if args.labels else (known or {}).get("labels")
        store = Store(args.index, stays, more)
        store.mirror = mirror
        store.tidy()  # what a kill has left
        tried = None  # when files were tried again
        while True:
            if args.embeddings:
                from mmv_tf.searching import taken

                report = taken.take(store, embedder.checksum, embedder.targets, args.embeddings, root)
                files, has_changed = report.files, True
                said = f"the vectors of {files} files are taken; {report.lost} files are not below {root}"
                said += f"; {report.gone} files that the index had are gone"
            else:
                again = tried is None or time.monotonic() - tried > _TRY_AGAIN
                report = indexing.update(store, embedder, root, progress=not args.watch, again=again)
                tried = time.monotonic() if again else tried
                files, windows = store.rows(
                    "SELECT (SELECT COUNT(*) FROM files WHERE reason = ''), COUNT(*) FROM windows"
                )[0]
                has_changed = any((*report[:4], report.captions, report.recovered))
                said = f"{files} files, {windows} moments to search by {_engine(engine)}; {report}"
            if not args.watch or has_changed:
                print(f"{args.index}: {said}", flush=True)
                if args.embeddings:
                    _tell_taken(report)
                _tell(store)
            _label(store, root, tell=not args.watch or has_changed)
            if not args.watch:
                return 0 if files else 1
            time.sleep(1.0)


def _engine(engine):
    return f"{engine['engine']} at {engine['uri']}" if engine["uri"] else engine["engine"]


_TOLD = 20  # files that are named
_TRY_AGAIN = 3600.0  # seconds of --watch between two tries at what could not be read for a reason of the moment


def _tell_taken(report):
    """Prints which vectors are not, or may not be, those of the files that there are now."""
    then = "mmv_tf search index without --embeddings embeds them anew"
    if report.changed:
        print(f"  left out, since they have changed after they were embedded: {len(report.changed)} files; {then}")
        for path in report.changed[:_TOLD]:
            print(f"    {path}")
        if len(report.changed) > _TOLD:
            print(f"    and {len(report.changed) - _TOLD} more")
    if report.doubtful:
        print(f"  of another time than what was embedded, as copies are: {report.doubtful} of the files taken; {then}")


def _tell(store):
    """Prints what cannot be read, and what there is to say of captions."""
    for path, reason in store.rows("SELECT path, reason FROM files WHERE reason != '' ORDER BY path LIMIT ?", _TOLD):
        print(f"  cannot be read: {path}: {reason}")
    for reason, number, path, detail in store.rows(
        "SELECT reason, COUNT(*), MIN(path), detail FROM remarks GROUP BY reason ORDER BY reason"
    ):
        print(f"  captions: {number} x {reason} ({path}: {detail}{'; ...' if number > 1 else ''})", flush=True)


def _label(store, root, tell):
    if not store.settings.get("labels"):
        return
    from mmv_tf.searching import labels

    read = labels.take(store, store.settings["labels"], root)
    if tell:
        print(f"  {store.settings['labels']}: {read}")
        for line in read.troubles[:_TOLD]:
            print(f"    {line}")
        if len(read.troubles) > _TOLD:
            print(f"    and {len(read.troubles) - _TOLD} more lines that cannot be used", flush=True)


def _export(args):
    from mmv_tf.common import lock
    from mmv_tf.searching import exporting
    from mmv_tf.searching.store import Store

    store = Store(args.index)
    with lock.folder(args.index, "search export"), lock.beside(args.output, "search export"):
        counts = exporting.write(store, args.output, args.form)
    for name, number in counts.items():
        print(f"  {name}: {number} vectors")
    print(f"{args.output}: {sum(counts.values())} vectors of {args.index} in the layout of {args.form}")
    return 0


def _span(text):
    """(path, (start, end)) of FILE[@A-B]."""
    path, at, span = text.rpartition("@")
    start, dash, end = span.partition("-")
    if not at or not dash:
        return text, (0.0, None)
    try:
        return path, (float(start), float(end))
    except ValueError:
        return text, (0.0, None)


def _query(args):
    from mmv_tf.searching import selection
    from mmv_tf.searching.index import Index, weights_of
    from mmv_tf.searching.selection import Filter

    if args.k < 1 or args.per_file < 1:
        raise ValueError("--k and --per_file must be at least 1")
    asked, spans = {}, {}
    for kind in ("image", "sound", "video"):
        if value := getattr(args, kind):
            is_whole = kind == "image" or os.path.isfile(paths.home(value))
            path, spans[kind] = (value, (0.0, None)) if is_whole else _span(value)
            path = paths.home(path)
            if not os.path.isfile(path):
                raise ValueError(f"--{kind} {path}: no such file")
            asked[kind] = path
    times = [value and selection.moment_of(f"--{name}", value)
             for name, value in (("after", args.after), ("before", args.before))]  # fmt: skip
    only = Filter(args.folder, args.name, *times, args.min_seconds, args.max_seconds, args.kind, args.label)
    index = Index.open(args.index, args.module, args.allow_file_operations, args.engine, args.uri)
    found = index.query(
        args.text, **asked, span=spans, like=args.like, unlike=args.unlike, within=args.within, k=args.k,
        per_file=args.per_file, only=only, weights=weights_of(args.weights),
    )  # fmt: skip
    cuts = _cut(index, found.hits, args.cut) if args.cut else [None] * len(found.hits)
    if args.json:
        rows = [
            dataclasses.asdict(hit) | ({"cut": cut} if cut else {}) for hit, cut in zip(found.hits, cuts, strict=True)
        ]
        about = {"total": found.total, "exact": found.is_exact, "stands_out": found.stands_out, "notes": found.notes}
        print(json.dumps({"results": rows, **about}, indent=1, ensure_ascii=False))
        return 0
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    for hit in found.hits:
        place = "" if hit.percentile is None else f"  above {hit.percentile:g} %"
        also = f"  also in {', '.join(hit.also_in)}" if hit.also_in else ""
        print(f"{hit.file}  {hit.start:g}-{hit.end:g} s{place}  by {', '.join(hit.matched)}{also}")
    return 0 if found.hits else 1


def _cut(index, hits, folder):
    """Writes each moment as FOLDER/01-NAME-START.mp4; returns the paths."""
    from mmv_tf.common import files
    from mmv_tf.searching.clips import Clips

    os.makedirs(folder, exist_ok=True)
    clips, cuts = Clips(index.store.settings["root"]), []
    try:
        for number, hit in enumerate(hits, 1):
            # Of bytes, which a file system counts: a letter may take four.
            stem = os.fsencode(pathlib.PurePosixPath(hit.file).stem)[:80].decode("utf-8", "ignore")
            cuts.append(os.path.join(folder, f"{number:02d}-{stem}-{hit.start:g}.mp4"))
            files.write_bytes(cuts[-1], clips.preview(hit.file, hit.start, hit.end, height=720))
    finally:
        clips.close()
    return cuts


def _serve(args):
    try:
        from mmv_tf.searching import server
    except ModuleNotFoundError as error:
        raise ValueError(f"mmv_tf search serve needs {error.name}: pip install 'mmv_tf[search]'") from None
    return server.serve(
        args.index, args.host, args.port, args.token, args.module, args.allow_file_operations, args.engine, args.uri
    )


def cli(argv=None) -> int:
    return command.run(main, argv)


if __name__ == "__main__":
    raise SystemExit(cli())
