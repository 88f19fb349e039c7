"""A web server on the loopback interface, and zip archives made in memory."""

import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


class Server(ThreadingHTTPServer):
    """Serves ``files``, a dict of path to bytes; announces ``missing_bytes`` more than it sends."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.requested: list[str] = []
        self.missing_bytes = 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.requested.append(self.path)
        body = self.server.files.get(self.path)
        if body is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + self.server.missing_bytes))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def make_zip():
    """A function from pairs of name (or ZipInfo) and content to the bytes of a zip archive."""

    def make(*members):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members:
                file.writestr(name, content)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data beside the project's."""
    if not (SHARED_DATA / "omniglot").is_dir():
        pytest.skip(f"the Omniglot archives are not in {SHARED_DATA}")
    return SHARED_DATA
