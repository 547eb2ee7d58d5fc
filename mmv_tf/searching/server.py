"""The page and its API, for this machine alone unless another host is asked for.

Every answer names windows by their numbers, never paths; a file is opened below the root of the index at the moment of
use. Nothing is fetched from anywhere. POST needs the token of this start and the page's own Origin.
"""

import collections
import contextlib
import dataclasses
import pathlib
import secrets
import socket
import threading
import time
from typing import Annotated, Literal

import fastapi
import numpy as np
import uvicorn
from fastapi import Body, Header, Query
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.background import BackgroundTask
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mmv_tf import __version__
from mmv_tf.beam.sources import source_files
from mmv_tf.beam.specs import Settings
from mmv_tf.pages import document, pictures
from mmv_tf.searching import labels, lists
from mmv_tf.searching.clips import Clips
from mmv_tf.searching.index import Index, weights_of
from mmv_tf.searching.selection import Filter

MAX_UPLOAD = 64 << 20
_KEPT_SECONDS, _KEPT_UPLOADS = 600.0, 100  # the vectors of an upload, so that its address can be opened again
_KEPT_PREVIEWS = 64 << 20  # bytes
_STATIC = pathlib.Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_TYPES = {"mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/mp4", "webm": "video/webm", "mkv": "video/webm",
          "ogv": "video/ogg", "mp3": "audio/mpeg", "m4a": "audio/mp4", "wav": "audio/wav", "flac": "audio/flac",
          "ogg": "audio/ogg", "oga": "audio/ogg", "opus": "audio/ogg"}  # fmt: skip


# Of windows that were embedded elsewhere: a grey pixel.
_NO_PICTURE = pictures.encoded(np.full((1, 1, 3), 96, np.uint8), 75)


class _Uploads:
    """The vectors of uploads by a random name, for some minutes."""

    def __init__(self):
        self._kept, self._lock = collections.OrderedDict(), threading.Lock()

    def add(self, vectors) -> str:
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name] = time.monotonic(), vectors
            while len(self._kept) > _KEPT_UPLOADS:
                self._kept.popitem(last=False)
        return name

    def get(self, name):
        with self._lock:
            for old in [n for n, (added, _) in self._kept.items() if time.monotonic() - added > _KEPT_SECONDS]:
                del self._kept[old]
            if name not in self._kept:
                raise fastapi.HTTPException(410, "this upload is no longer kept: give the file again")
            return self._kept[name][1]


class _Bounded:
    """Ends a request whose body goes on after MAX_UPLOAD, whatever it said of its length: no more of it is read.

    An answer that comes before the body has ended closes the connection, or the rest would be waited for.
    """

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        names = {name for name, _ in scope.get("headers", ())}
        size, has_ended, is_over = 0, not names & {b"content-length", b"transfer-encoding"}, False

        async def bounded():
            nonlocal size, has_ended, is_over
            message = await receive()
            size += len(message.get("body", b""))
            has_ended |= not message.get("more_body", False)
            if size > MAX_UPLOAD and not is_over:
                answer = JSONResponse({"detail": f"over {MAX_UPLOAD >> 20} MiB"}, 413, {"Connection": "close"})
                is_over = True
                await answer(scope, receive, send)
            return {"type": "http.disconnect"} if is_over else message

        async def closing(message):
            if message["type"] == "http.response.start" and not has_ended:
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            if not is_over:
                await send(message)

        await self._app(scope, bounded, closing)


class _Previews:
    """Encoded spans, the last used ones, bounded in bytes."""

    def __init__(self, root):
        self.clips, self._kept, self._size, self._lock = Clips(root), collections.OrderedDict(), 0, threading.Lock()

    def get(self, path, start, end) -> bytes:
        key = path, round(start, 3), round(end, 3)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        content = self.clips.preview(path, start, end)
        with self._lock:  # another request may have kept the same meanwhile
            self._size += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._size > _KEPT_PREVIEWS:
                self._size -= len(self._kept.popitem(last=False)[1])
        return content


def app(index: Index, hosts=("127.0.0.1", "localhost"), token: str | None = None) -> fastapi.FastAPI:
    """The application.

    Args:
      hosts: names by which it may be called; others are refused, so that no foreign name can be made to mean it.
      token: that a browser must give, in the address or a cookie, where it is not for this machine alone.
    """
    store, uploads = index.store, _Uploads()
    previews, secret = _Previews(store.settings["root"]), secrets.token_urlsafe(24)
    loading = {"error": None, "done": False}

    def load():
        try:
            index.embedder.load()
            if (number := _any_window(store)) is not None:
                index.query(like=number)
        except ValueError as error:
            loading["error"] = str(error)
        finally:
            loading["done"] = True

    @contextlib.asynccontextmanager
    async def lifespan(_):
        threading.Thread(target=load, daemon=True).start()
        yield
        previews.clips.close()

    made = fastapi.FastAPI(
        title="mmv_tf search", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip

    @made.middleware("http")
    async def guarded(request: fastapi.Request, call_next):
        if token is not None:
            given = request.query_params.get("token") or request.cookies.get("token") or ""
            if not secrets.compare_digest(given.encode(), token.encode()):
                return JSONResponse({"detail": "give ?token=..., as the server was started with"}, 401)
        if request.method == "POST":
            origin = request.headers.get("origin")
            own = f"{request.url.scheme}://{request.headers.get('host')}"
            if origin not in (None, own) or not secrets.compare_digest(
                request.headers.get("x-token", "").encode(), secret.encode()
            ):
                return JSONResponse({"detail": "not from this page"}, 403)
            if int(request.headers.get("content-length") or MAX_UPLOAD + 1) > MAX_UPLOAD:
                return JSONResponse({"detail": f"over {MAX_UPLOAD >> 20} MiB, or of no stated length"}, 413)
        answer = await call_next(request)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if token is not None and request.query_params.get("token"):
            answer.set_cookie("token", token, httponly=True, samesite="strict")
        return answer

    made.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    made.add_middleware(_Bounded)

    @made.exception_handler(ValueError)
    async def told(_, error):
        return JSONResponse({"detail": str(error)[:500]}, 422)

    @made.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page():
        html = (_STATIC / "index.html").read_text("utf-8")
        return html.replace("__TOKEN__", secret)

    @made.get("/static/{name}", include_in_schema=False)
    def static(name: Literal["page.css", "page.js"]):
        kind = {"page.css": "text/css", "page.js": "text/javascript"}[name]
        return Response((_STATIC / name).read_bytes(), media_type=f"{kind}; charset=utf-8")

    @made.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    def docs():
        """The API in plain HTML: the usual page would load its program from elsewhere."""
        methods = [
            (path, method.upper(), operation.get("description", ""))
            for path, of_path in made.openapi()["paths"].items()
            for method, operation in of_path.items()
        ]
        return document.render("api.html", title="mmv_tf search: the API", methods=methods)

    @made.get("/api/state")
    def state():
        """What the index holds, and whether the network is loaded."""
        statement = "SELECT COALESCE(SUM(reason = ''), 0), COALESCE(SUM(reason != ''), 0) FROM files"
        files, unreadable = store.rows(statement)[0]
        settings = store.settings
        return {
            "files": files, "moments": store.rows("SELECT COUNT(*) FROM windows")[0][0], "unreadable": unreadable,
            "remarks": store.rows("SELECT COUNT(*) FROM remarks")[0][0],
            "seconds": settings["seconds"], "queries": settings["queries"], "targets": settings["targets"],
            "loaded": loading["done"] and not loading["error"], "error": loading["error"],
            "engine": settings["engine"], "generation": store.generation,
        }  # fmt: skip

    @made.get("/api/unreadable")
    def unreadable(limit: Annotated[int, Query(ge=1, le=1000)] = 200):
        """Files that could not be read, and why."""
        rows = store.rows("SELECT path, reason FROM files WHERE reason != '' ORDER BY path LIMIT ?", limit)
        return [{"file": path, "reason": reason} for path, reason in rows]

    @made.get("/api/remarks")
    def remarks(limit: Annotated[int, Query(ge=1, le=1000)] = 200):
        """What was mended in files of captions, or left out of them, and why."""
        rows = store.rows("SELECT path, reason, detail FROM remarks ORDER BY path, rowid LIMIT ?", limit)
        return [{"file": path, "reason": reason, "detail": detail} for path, reason, detail in rows]

    @made.get("/api/choices")
    def choices():
        """Labels and folders of the files, which a question may be confined to; at most 1,000 of each."""
        folders = set()
        for (path,) in store.rows("SELECT path FROM files WHERE reason = ''"):
            while path := path.rpartition("/")[0]:
                folders.add(path)
        return {"labels": labels.known(store), "folders": sorted(folders)[:1000]}

    def asked(text, upload, like, unlike, weights, within, k, offset, per_file, only):
        vectors = uploads.get(upload) if upload else None
        if (text and "text" in index.modalities or upload) and not loading["done"]:
            raise fastapi.HTTPException(503, "the network is loading: a moment", {"Retry-After": "1"})
        return index.query(
            text, vectors=vectors, like=like, unlike=unlike, weights=weights_of(weights), within=within, k=k,
            offset=offset, per_file=per_file, only=only,
        )  # fmt: skip

    @made.get("/api/search")
    def search(
        text: Annotated[str, Query(max_length=2000)] = "",
        upload: Annotated[str, Query(max_length=64)] = "",
        like: Annotated[int | None, Query(ge=0, le=2**53)] = None,
        unlike: Annotated[int | None, Query(ge=0, le=2**53)] = None,
        weights: Annotated[str, Query(max_length=200)] = "",
        within: Literal["video", "audio", "both"] = "both",
        k: Annotated[int, Query(ge=1, le=200)] = 24,
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
        per_file: Annotated[int, Query(ge=1, le=1000)] = 3,
        folder: Annotated[str, Query(max_length=1000)] = "",
        name: Annotated[str, Query(max_length=200)] = "",
        kind: Literal["", "video", "sound"] = "",
        label: Annotated[str, Query(max_length=200)] = "",
        after: Annotated[float | None, Query(ge=-1e11, le=1e11, allow_inf_nan=False)] = None,
        before: Annotated[float | None, Query(ge=-1e11, le=1e11, allow_inf_nan=False)] = None,
        min_seconds: Annotated[float | None, Query(ge=0, le=1e7, allow_inf_nan=False)] = None,
        max_seconds: Annotated[float | None, Query(ge=0, le=1e7, allow_inf_nan=False)] = None,
        form: Literal["json", "csv", "edl"] = "json",
    ):
        """The moments nearest to a question; only of files below a folder, with a text in their path, of a kind, with a
        label, so long, changed between two times (seconds since 1970). Weights, of what is asked with together, are of
        the form text=1,image=.5 (text, image, sound, video, like, unlike)."""
        only = Filter(folder, name, after, before, min_seconds, max_seconds, kind, label)
        found = asked(text, upload, like, unlike, weights, within, k, offset, per_file, only)
        if form == "json":
            about = {
                "total": found.total,
                "exact": found.is_exact,
                "stands_out": found.stands_out,
                "notes": found.notes,
            }
            return {"results": [dataclasses.asdict(hit) for hit in found.hits], **about}
        content = lists.as_csv(found.hits) if form == "csv" else lists.as_edl(found.hits)
        headers = {"Content-Disposition": f'attachment; filename="moments.{form}"'}
        return Response(content, media_type="text/csv" if form == "csv" else "text/plain", headers=headers)

    @made.post("/api/upload")
    def upload(
        content: Annotated[bytes, Body(media_type="application/octet-stream", max_length=MAX_UPLOAD)],
        kind: Literal["image", "sound", "video"],
        suffix: Annotated[str, Query(pattern=r"^(\.[A-Za-z0-9]{1,6})?$")] = "",
        x_token: Annotated[str, Header()] = "",
    ):
        """A picture, sound or clip to search with. It is decoded in a child process, and gone at once; its vectors stay
        for ten minutes under the name that comes back."""
        del x_token  # looked at before
        if not content:
            raise ValueError("an empty file")
        if len(content) > MAX_UPLOAD:
            raise fastapi.HTTPException(413, f"over {MAX_UPLOAD >> 20} MiB")
        if not loading["done"]:
            raise fastapi.HTTPException(503, "the network is loading: a moment", {"Retry-After": "1"})
        return {"upload": uploads.add(index.embedder.of_upload(kind, content, suffix))}

    def window(number):
        rows = store.rows(
            "SELECT f.path, w.start, w.end, f.plays, f.id FROM windows w JOIN files f ON f.id = w.file WHERE w.id = ?",
            number,
        )
        if not rows:
            raise fastapi.HTTPException(404, "there is no such moment (any more)")
        return rows[0]

    Number = Annotated[int, fastapi.Path(ge=0, le=2**53)]

    @made.get("/api/picture/{number}")
    def picture(number: Number):
        """Frames of a moment side by side, or its spectrogram."""
        rows = store.rows("SELECT picture FROM windows WHERE id = ?", number)
        if not rows:
            raise fastapi.HTTPException(404, "there is no such moment (any more)")
        content = rows[0][0] or _NO_PICTURE
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @made.get("/api/file/{number}")
    def file(number: Number):
        """The file of a moment, as it is, for browsers that play it; parts of it by Range."""
        path, _, _, plays, _ = window(number)
        if not plays:
            raise fastapi.HTTPException(415, "browsers do not play this file: take the preview")
        stack = contextlib.ExitStack()
        try:
            found = stack.enter_context(source_files.opened(store.settings["root"], path, Settings.max_file_bytes))
        except source_files.Refused as error:
            stack.close()
            raise fastapi.HTTPException(410, f"{path}: {error}") from None
        kind = _TYPES.get(path.rpartition(".")[2].lower(), "video/mp4")
        return FileResponse(found.file, media_type=kind, background=BackgroundTask(stack.close))

    @made.get("/api/preview/{number}")
    def preview(
        number: Number,
        start: Annotated[float | None, Query(ge=0, le=1e7, allow_inf_nan=False)] = None,
        end: Annotated[float | None, Query(ge=0, le=1e7, allow_inf_nan=False)] = None,
        save: bool = False,
    ):
        """A span of the file of a moment, at most 30 s, as an MP4."""
        path, begins, ends, _, _ = window(number)
        begin, until = begins if start is None else start, ends if end is None else end
        if until <= begin:
            raise ValueError("the end must be after the start")
        try:
            content = previews.get(path, begin, until)
        except ValueError as error:
            raise fastapi.HTTPException(410, str(error)) from None
        headers = {"Content-Disposition": 'attachment; filename="moment.mp4"'} if save else {}
        return Response(content, media_type="video/mp4", headers=headers)

    @made.get("/api/moments/{number}")
    def of_file(number: Number):
        """All moments of the file of one: its timeline."""
        path, _, _, _, file_id = window(number)
        rows = store.rows("SELECT id, start, end FROM windows WHERE file = ? ORDER BY start LIMIT 5000", file_id)
        seconds = store.rows("SELECT seconds FROM files WHERE id = ?", file_id)[0][0]
        return {"file": path, "seconds": seconds, "moments": [{"id": n, "start": a, "end": b} for n, a, b in rows]}

    return made


def _any_window(store):
    rows = store.rows("SELECT id FROM windows LIMIT 1")
    return rows[0][0] if rows else None


def serve(
    folder, host="127.0.0.1", port=8765, token=None, module=None, allow_file_operations=False, engine=None, uri=None
) -> int:
    """Serves an index until it is stopped, and prints the address.

    Raises:
      ValueError: no index, the port is taken, or another host without a token.
    """
    is_local = host in ("127.0.0.1", "localhost", "::1")
    if not is_local and not token:
        raise ValueError(f"--host {host}: whoever reaches it sees the videos: give a --token that they must know")
    index = Index.open(folder, module, allow_file_operations, engine, uri)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise ValueError(f"--port {port}: {error.strerror}; take another") from None
    names = ["127.0.0.1", "localhost", "[::1]"] if is_local else ["*"] if host in ("0.0.0.0", "::") else [host]
    port = listening.getsockname()[1]
    address = f"http://{'localhost' if host == '0.0.0.0' else host}:{port}/"
    print(f"{address}{f'?token={token}' if token else ''}   (Ctrl-C ends it)", flush=True)
    config = uvicorn.Config(app(index, names, token), log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])
    return 0
