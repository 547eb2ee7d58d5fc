"""The API as a stranger meets it."""

import asyncio
import os
import re
import resource
import socket
import threading
import time
from urllib.parse import quote, unquote

import cv2
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient

from helpers.traversals import traversals
from mmv_tf.searching import labels, lists, server


@pytest.fixture(scope="module")
def client(made):
    with TestClient(server.app(made.index), base_url="http://127.0.0.1:8765") as client:
        for _ in range(1200):
            if client.get("/api/state").json()["loaded"]:
                break
            time.sleep(0.1)
        yield client


def _token(client):
    return re.search(r'name="token" content="([\w-]{20,})"', client.get("/").text)[1]


def _numbers(made):
    return dict(
        made.index.store.rows("SELECT f.path, MIN(w.id) FROM windows w JOIN files f ON f.id = w.file GROUP BY f.id")
    )


def test_state_page_and_headers(client, made):
    state = client.get("/api/state").json()
    assert (state["files"], state["unreadable"], state["loaded"], state["error"]) == (3, 1, True, None)
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"] and "http" not in page.text
    for answer in (page, client.get("/static/page.js"), client.get("/api/state")):
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/static/page.css").headers["content-type"].startswith("text/css")
    script = client.get("/static/page.js").text
    assert "innerHTML" not in script and "http://" not in script and "https://" not in script
    assert "/api/search" in client.get("/docs").text
    ((name, reason),) = [tuple(row.values()) for row in client.get("/api/unreadable").json()]
    assert name == "broken.mp4" and "not_a_video" in reason


def test_a_question_and_its_lists(client):
    found = client.get("/api/search", params={"text": "batter", "within": "video", "k": 5}).json()
    assert [hit["file"] for hit in found["results"] if "words" in hit["matched"]] == ["a.mp4"] and found["exact"]
    rows = client.get("/api/search", params={"text": "batter", "form": "csv"}).text.splitlines()
    assert rows[0] == "file,start,end,score,percentile,matched" and any(row.startswith("a.mp4,") for row in rows)
    edl = client.get("/api/search", params={"text": "batter", "form": "edl", "k": 1}).text
    assert re.search(r"^001  AX       V     C        00:00:0\d:\d\d 00:00:0\d:\d\d 00:00:00:00 00:00:0", edl, re.M)


def test_filters(client, made):
    def files(**only):
        found = client.get("/api/search", params={"like": _numbers(made)["a.mp4"], "per_file": 99, **only}).json()
        return {hit["file"] for hit in found["results"]}

    assert files(folder="sub") == {"sub/<img src=x onerror=alert(1)>.mkv"} and files(kind="sound") == {"sound.wav"}
    assert files(min_seconds=3.5) == {"a.mp4"} and "a.mp4" not in files(max_seconds=3.5)
    assert files(before=1) == set() and files(after=1) == files()


def test_files_pictures_previews_and_timelines(client, made):
    numbers = _numbers(made)
    playable, other = numbers["a.mp4"], next(n for path, n in numbers.items() if path.endswith(".mkv"))
    part = client.get(f"/api/file/{playable}", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and part.content == (made.videos / "a.mp4").read_bytes()[:100]
    assert part.headers["content-type"] == "video/mp4"
    assert client.get(f"/api/file/{other}").status_code == 415
    for number in (playable, other, numbers["sound.wav"]):
        assert client.get(f"/api/picture/{number}").content[:2] == b"\xff\xd8"
        preview = client.get(f"/api/preview/{number}")
        assert preview.headers["content-type"] == "video/mp4" and preview.content[4:8] == b"ftyp"
        assert client.get(f"/api/preview/{number}").content == preview.content
    assert client.get(f"/api/preview/{playable}?start=2&end=1").status_code == 422
    timeline = client.get(f"/api/moments/{playable}").json()
    assert timeline["file"] == "a.mp4" and abs(timeline["seconds"] - 4) < 0.2 and len(timeline["moments"]) > 2


def test_a_preview_that_two_ask_for_at_once_is_counted_once():
    previews, asked = server._Previews("/videos"), []

    def preview(path, start, end):  # while the first one is made, a second request makes it as well
        asked.append(path)
        if len(asked) == 1:
            previews.get(path, start, end)
        return bytes(1000)

    previews.clips.preview = preview
    assert previews.get("a.mp4", 0.0, 2.0) == previews.get("a.mp4", 0.0, 2.0) == bytes(1000)
    assert len(asked) == 2 and previews._size == sum(map(len, previews._kept.values())) == 1000


def test_labels_folders_and_remarks_are_offered(client, made):
    labels.take(made.index.store, _table(made, "a.mp4,dog"), str(made.videos))
    assert client.get("/api/choices").json() == {"labels": ["dog"], "folders": ["sub"]}
    question = {"text": "batter", "label": "dog"}
    assert {hit["file"] for hit in client.get("/api/search", params=question).json()["results"]} == {"a.mp4"}
    assert client.get("/api/search", params={**question, "label": "cat"}).json()["results"] == []
    made.index.store.remark([("<b>x.srt", "unused_captions", "no video or sound of this name")])
    rows = [{"file": "<b>x.srt", "reason": "unused_captions", "detail": "no video or sound of this name"}]
    assert client.get("/api/remarks").json() == rows and client.get("/api/state").json()["remarks"] == 1
    made.index.store.label([])
    made.index.store.remark([])


def _table(made, *rows):
    path = made.videos.parent / "labels.csv"
    path.write_text("\n".join(["file,label", *rows]))
    return str(path)


def test_an_upload_is_a_question(client, tmp_path):
    content = cv2.imencode(".png", np.full((48, 64, 3), 40, np.uint8))[1].tobytes()
    headers = {"X-Token": _token(client), "Content-Type": "application/octet-stream"}
    made = client.post("/api/upload?kind=image&suffix=.png", content=content, headers=headers).json()
    found = client.get("/api/search", params={"upload": made["upload"], "within": "video"}).json()
    assert found["results"] and all(hit["matched"] == ["picture"] for hit in found["results"])
    joined = {"upload": made["upload"], "text": "a red ball", "within": "video", "per_file": 99}

    def scores(**weights):
        found = client.get("/api/search", params=joined | weights).json()["results"]
        return {hit["id"]: hit["score"] for hit in found if hit["score"] is not None}

    assert scores(weights="text=0,image=1") == scores(text="") != scores() == scores(weights="text=.5")
    assert scores(weights="text=2,image=4") == scores()
    wrong = client.get("/api/search", params=joined | {"weights": "sound=1"})
    assert wrong.json()["detail"] == "weights: sound=1, and no sound is asked with"
    assert client.get("/api/search", params={"upload": "x" * 16}).status_code == 410
    bad = client.post("/api/upload?kind=video&suffix=.mp4", content=b"no video", headers=headers)
    assert bad.status_code == 422 and "cannot be decoded" in bad.json()["detail"]
    assert client.post("/api/upload?kind=image", content=b"", headers=headers).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Token": "wrong"},
        {"X-Token": "TOKEN", "Origin": "http://evil.example"},
        {"X-Token": "TOKEN", "Origin": "null"},
        {"X-Token": "TOKEN", "Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_foreign_page_uploads_nothing(client, headers):
    headers = {name: _token(client) if value == "TOKEN" else value for name, value in headers.items()}
    answer = client.post("/api/upload?kind=image", content=b"x", headers=headers)
    assert answer.status_code == 403 and answer.json() == {"detail": "not from this page"}


def test_a_large_upload_is_refused_before_it_is_read(client):
    headers = {"X-Token": _token(client), "Content-Length": str(2 << 30)}
    assert client.post("/api/upload?kind=video", content=iter([b"x"]), headers=headers).status_code == 413


def _stream(port, length):
    """Sends an upload that says so much of its length and never ends: (answer, MiB that were taken from us)."""
    head = [
        b"POST /api/upload?kind=video HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        b"X-Token: " + TOKEN.encode(),
        length,
    ]
    sent, chunk = 0, b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as there:
        there.sendall(b"\r\n".join([*head, b"", b""]))
        there.settimeout(1.0)
        try:
            while sent < 200:
                there.sendall(chunk)
                sent += 1
        except OSError:  # no more is taken
            pass
        there.settimeout(20)
        try:
            return there.recv(100), sent
        except OSError:
            return b"", sent


TOKEN = "t" * 32


@pytest.mark.parametrize("length", [b"Content-Length: 2147483648", b"Transfer-Encoding: chunked", b"Content-Length: 9"])
def test_an_upload_without_end_is_not_read(made, monkeypatch, length):
    monkeypatch.setattr(server.secrets, "token_urlsafe", lambda size: TOKEN)
    listening = socket.create_server(("127.0.0.1", 0))
    runner = uvicorn.Server(uvicorn.Config(server.app(made.index), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=runner.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer, sent = _stream(listening.getsockname()[1], length)
        # Nine bytes are an upload, for which the network is not there; what comes after them is no request.
        assert (not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 503"))) and sent <= 64
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    finally:
        runner.should_exit = True
        thread.join(30)


def _answer(app, path, method="GET", body=()):
    """(status, content) of what a server would hand to the application, without anything that tidies an address."""
    sent, parts = [], iter(body)

    async def receive():
        part = next(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def send(message):
        sent.append(message)

    raw, _, query = path.partition("?")
    headers = [(b"host", b"127.0.0.1"), (b"x-token", TOKEN.encode()), (b"content-length", b"9")]
    scope = {"type": "http", "method": method, "path": unquote(raw), "raw_path": raw.encode(), "headers": headers,
             "query_string": query.encode(), "scheme": "http", "http_version": "1.1"}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_that_is_longer_than_it_says_is_read_to_the_bound(made, monkeypatch):
    monkeypatch.setattr(server.secrets, "token_urlsafe", lambda size: TOKEN)
    monkeypatch.setattr(server, "MAX_UPLOAD", 4 << 10)
    read = []
    body = (read.append(n) or bytes(1 << 10) for n in range(1000))
    status, content = _answer(server.app(made.index), "/api/upload?kind=video", "POST", body)
    assert status == 413 and b"over 0 MiB" in content and len(read) == 5


def test_200_traversals_lead_nowhere(client, made):
    (made.videos.parent / "outside.mp4").write_text("secret")
    app, places = server.app(made.index), ("static", "api/file", "api/picture", "api/preview", "api/moments")
    for number, path in enumerate(traversals()):
        for place in places:
            for written in (path, quote(path, safe="")) if number % len(places) == places.index(place) else (path,):
                status, content = _answer(app, f"/{place}/{written}")
                assert 400 <= status < 500 and b"secret" not in content and b"root:" not in content, (place, written)
        if number % 5 == 0:
            found = client.get("/api/search", params={"like": _numbers(made)["a.mp4"], "folder": path})
            assert found.json()["results"] == [], path
        assert _answer(app, f"/{path}")[0] in (404, 405) or path in ("/", "//", ".", "./", ".."), path
    assert number == 199


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", ""])
def test_a_foreign_name_is_refused(client, host):
    assert client.get("/api/state", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py", "/static/server.py",
        "/api/file/..%2f..%2fetc%2fpasswd", "/api/file/-1", "/api/file/1e3", "/api/file/99999999", "/api/picture/x",
        "/api/preview/0", "/api/moments/9999999999999999999", "/api/preview/1?start=nan", "/api/preview/1?end=1e300",
    ],
)  # fmt: skip
def test_nothing_but_numbers_names_a_file(client, path):
    answer = client.get(path)
    assert 400 <= answer.status_code < 500 and "root:" not in answer.text


@pytest.mark.parametrize(
    "query",
    ["k=0", "k=201", "offset=-1", "within=smell", "like=-1", f"text={'x' * 2001}", "form=xml", "", "like=999999"],
)
def test_questions_that_cannot_be_asked(client, query):
    assert client.get(f"/api/search?{query}").status_code == 422


def test_a_file_that_is_gone_or_led_away_is_told(client, made):
    number = _numbers(made)["a.mp4"]
    os.rename(made.videos / "a.mp4", made.videos / "hidden")
    try:
        assert client.get(f"/api/file/{number}").status_code == 410
        (made.videos / "a.mp4").symlink_to("/etc/hostname")
        answer = client.get(f"/api/file/{number}")
        assert answer.status_code == 410 and "leads out of the root" in answer.json()["detail"]
        assert client.get(f"/api/preview/{number}?start=0.5&end=1.5").status_code == 410
    finally:
        (made.videos / "a.mp4").unlink(missing_ok=True)
        os.rename(made.videos / "hidden", made.videos / "a.mp4")


def test_another_host_needs_a_token(made):
    with pytest.raises(ValueError, match="--host 0.0.0.0: whoever reaches it sees the videos: give a --token"):
        server.serve(str(made.folder), "0.0.0.0", 0)
    client = TestClient(server.app(made.index, ["*"], "secret"), base_url="http://any")
    assert client.get("/api/state").status_code == 401 and client.get("/api/state?token=wrong").status_code == 401
    assert client.get("/api/state?token=secret").status_code == 200
    assert client.get("/api/state").status_code == 200  # by the cookie


def test_a_cell_of_a_list_is_no_formula():
    made = type("Hit", (), dict(file="=cmd()", start=1.0, end=2.0, score=0.5, percentile=9.0, matched=("picture",)))
    assert lists.as_csv([made]).splitlines()[1].startswith("'=cmd()")
