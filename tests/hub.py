"""A dataset repository on this machine: an HTTP server for the calls of the hub's protocol that the project makes.

/api/datasets/<owner>/<name>[/revision/<revision>]      the commit
/api/datasets/<owner>/<name>/tree/<commit>              files, a few a page, the next page in the header Link
/datasets/<owner>/<name>/resolve/<commit>/<path>        a small file, or a redirect to where large ones lie
/large/<path>                                           ranges
/api/models/<owner>/<name>[/revision/<revision>]        commit, files with sizes
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
REPO = "someone/data"
DATE = "2025-01-02T03:04:05.000Z"
PAGE = 2  # files a page
LARGE = 1000  # bytes from which a file lies elsewhere, with a sha256


@dataclass
class Repository:
    """What is served, and what goes wrong.

    Attributes:
        files: path -> content.
        cut: path -> bytes after which the connection breaks, as often as there are numbers.
        hang: paths of which only a beginning ever comes.
        changed: path -> content that is sent instead.
        gone: paths that are listed and not there.
        asked: (path, header Range) of every transfer, in order.
    """

    files: dict[str, bytes]
    cut: dict[str, list[int]] = field(default_factory=dict)
    hang: set[str] = field(default_factory=set)
    changed: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def tree(self) -> list[dict]:
        entries = [{"type": "directory", "path": "folder", "size": 0, "oid": "0" * 40}]
        for path, content in self.files.items():
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
            if len(content) >= LARGE:
                sha256 = hashlib.sha256(content).hexdigest()
                entry |= {"oid": "1" * 40, "lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}}
            entries.append(entry)
        return entries


@contextmanager
def serve(repository: Repository):
    """The address of a server for ``repository``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            address = urlsplit(self.path)
            path = unquote(address.path)
            api, resolve = f"/api/datasets/{REPO}", f"/datasets/{REPO}/resolve/{COMMIT}/"
            model = f"/api/models/{REPO}"
            asked = {f"{place}{revision}": place for place in (api, model)
                     for revision in ("", "/revision/main", f"/revision/{COMMIT}")}  # fmt: skip
            if path in asked:
                files = [{"rfilename": name, "size": len(content)} for name, content in repository.files.items()]
                weights = {"safetensors": {"parameters": {"BF16": 1000}, "total": 1000}} if asked[path] == model else {}
                about = {"id": REPO, "sha": COMMIT, "lastModified": DATE, "siblings": files}
                self.answer(json.dumps(about | weights).encode())
            elif path == f"{api}/tree/{COMMIT}":
                self.page(int(dict(pair.split("=") for pair in address.query.split("&")).get("cursor", 0)))
            elif path.startswith(resolve) and path.removeprefix(resolve) not in repository.gone:
                name = path.removeprefix(resolve)
                if len(repository.files[name]) >= LARGE:
                    self.answer(b"", 302, Location=f"/large/{name}")
                else:
                    self.send(name)
            elif path.startswith("/large/"):
                self.send(path.removeprefix("/large/"))
            else:
                self.answer(b'{"error": "not found"}', 404)

        def page(self, start):
            host, tree = self.headers["Host"], repository.tree()
            following = f"http://{host}/api/datasets/{REPO}/tree/{COMMIT}?recursive=True&cursor={start + PAGE}"
            more = {"Link": f'<{following}>; rel="next"'} if start + PAGE < len(tree) else {}
            self.answer(json.dumps(tree[start : start + PAGE]).encode(), **more)

        def send(self, name):
            content = repository.changed.get(name, repository.files[name])
            wanted = self.headers["Range"]
            repository.asked.append((name, wanted))
            start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            extra = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if wanted else {}
            self.answer(content[start:], 206 if wanted else 200, name, **extra)

        def answer(self, body, status=200, name=None, **headers):
            self.send_response(status)
            for key, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(key, str(value))
            self.end_headers()
            cuts = repository.cut.get(name)
            if cuts:
                self.wfile.write(body[: cuts.pop(0)])
                self.close_connection = True
            elif name in repository.hang:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                repository.stopped.wait()
                self.close_connection = True
            else:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        repository.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
