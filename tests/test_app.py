"""`make app` to raw requests: what it refuses, what it serves, and how many kernels it leaves."""

import asyncio
import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil
import pytest
from jupyter_pages import app, write_cell
from tornado.websocket import websocket_connect

pytest.importorskip("voila")
KERNEL = "12345678-1234-1234-1234-123456789012"
CHANNELS = f"/api/kernels/{KERNEL}/channels"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
UPGRADE["Sec-WebSocket-Key"] = base64.b64encode(bytes(16)).decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app with a small notebook, three kernels at most, which go after three seconds if their
    page is not there."""
    folder = tmp_path_factory.mktemp("app")
    write_cell(folder / "small.ipynb", "'a cell'")
    (folder / "secret.py").write_text("secret = 1")
    (folder / "picture.png").write_bytes(b"png")
    kernels = {"most": 3, "cull_idle_timeout": 3, "cull_interval": 1, "untouched": 8}
    options = [f"--Kernels.{name}={value}" for name, value in kernels.items()]
    with app(folder, f"--Voila.notebook_path={folder / 'small.ipynb'}", *options) as running:
        yield running
    assert "Traceback" not in running.log.read_text()


def test_listens_on_this_machine_only(served: Any) -> None:
    listening = [
        each
        for each in psutil.Process(served.process.pid).net_connections()
        if each.status == "LISTEN"
    ]
    assert [each.laddr.ip for each in listening if each.laddr.port == served.port] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "path", ["/", CHANNELS, "/voila/static/voila.js", "/voila/files/picture.png", "/login"]
)
def test_other_hosts_and_origins_are_refused(served: Any, path: Path) -> None:
    more = UPGRADE if path == CHANNELS else {}
    for host in (
        "evil.example",
        f"evil.example:{served.port}",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
    ):
        assert served.ask(path, Host=host, **more)[0] == 403
    for origin in (
        "http://evil.example",
        "null",
        "http://[",
        "",
        "http://127.0.0.1:1",
        f"http://127.0.0.1:{served.port}.evil.example",
        f"https://127.0.0.1:{served.port}",
        f"x://127.0.0.1:{served.port}",
        *("file://", "x://", "https://", "://"),
    ):
        assert served.ask(path, Origin=origin, **more)[0] == 403


def test_without_the_token_there_is_only_the_question_for_it(served: Any) -> None:
    assert served.ask("/", token=False)[0] == served.ask("/?token=wrong", token=False)[0] == 302
    assert served.ask(f"/?token={served.token}x", token=False)[0] == 302
    assert served.ask(CHANNELS, token=False, **UPGRADE)[0] == 403
    for method, path in (
        ("GET", "/api/kernels/"),
        ("DELETE", "/api/kernels/"),
        ("POST", "/voila/api/shutdown/"),
    ):
        assert served.ask(path + KERNEL, method, token=False)[0] == 403
    assert (
        served.ask(
            f"/voila/api/shutdown/{KERNEL}", "POST", Origin=f"http://127.0.0.1:{served.port}"
        )[0]
        == 404
    )
    assert served.kernels() == []


def test_nothing_is_served_but_the_page(served: Any) -> None:
    for path in (
        "small.ipynb",
        "secret.py",
        "picture.png",
        "../app/serve.py",
        "%2e%2e/README.md",
        "..%2fREADME.md",
    ):
        assert served.ask(f"/voila/files/{path}")[0] == (404 if ".." in unquote(path) else 403)
    for path in ("static", "templates/lab/static", "templates", "labextensions", "api/themes"):
        for odd in ("../app.py", "%2e%2e/%2e%2e/conf.json", "x/y", "x", "a%00b", "/etc/passwd"):
            assert served.ask(f"/voila/{path}/{odd}")[0] in (403, 404), (path, odd)
    for path in (
        "/voila/tree",
        "/voila/render/small.ipynb",
        "/api/contents",
        "/api/sessions",
        "/voila/api/contents/",
    ):
        assert served.ask(path)[0] == 302  # to /voila/files, which has none
    for asked in (("/api/kernels", "POST"), ("/", "PUT")):
        assert served.ask(*asked)[0] == 403
    for odd in ("%c3%28", "a%0d%0aSet-Cookie:x=y", "a%0ab", "%7f", "login?next=%00"):
        assert served.ask(f"/{odd}")[0] == 404
    for odd in (
        "x/static/",
        "lab/static/",
        "lab/static//",
        "lab/static/.",
        "lab/static/./",
        "./static/x",
    ):
        assert served.ask(f"/voila/templates/{odd}")[0] == 404
    text = served.ask("/?template=x&theme=<b>x</b>")[1]
    assert "a cell" in text and "<b>x</b>" not in text and "cell_type" not in text


def test_the_log_holds_no_query(served: Any) -> None:
    """Refused, sent elsewhere, missing or served: a line tells the path alone."""
    for path in (
        "/voila/files/x",
        "/nope",
        "/api/kernels/x",
        "/voila/static/none",
        "/voila/templates/x/static/",
        "/",
    ):
        for method in ("GET", "PUT"):
            served.ask(
                f"{path}?it='s&token={served.token}&secret='1'",
                method,
                token=False,
                Origin="http://evil.example",
            )
            served.ask(f"{path}?it='s&token={served.token}&secret='1'", method, token=False)
    log = served.log.read_text()
    assert log.count(served.token) == 1 and "secret=" not in log and "403 PUT /nope (" in log


def test_pages_that_nobody_reads_leave_no_kernel(served: Any) -> None:
    """Of five loads at once two are told to wait; pages that never say goodbye leave nothing."""
    assert served.ends_with(0)
    with ThreadPoolExecutor(5) as readers:
        replies = sorted(readers.map(served.ask, ["/"] * 5))
    assert [status for status, _ in replies] == [200, 200, 200, 503, 503]
    assert all("3 pages are open" in text for status, text in replies if status == 503)
    assert served.ends_with(0)


def test_a_closed_page_takes_its_kernel_along(served: Any) -> None:
    kernel = served.open()
    assert (
        served.ask(
            f"/voila/api/shutdown/{kernel}", "POST", Origin=f"http://127.0.0.1:{served.port}"
        )[0]
        == 204
    )
    assert served.kernels() == []


def test_an_open_page_has_longer_but_not_forever(served: Any) -> None:
    kernel = served.open()

    async def connected() -> Any:
        """Seconds that a kernel lives whose page stays connected and sends nothing."""
        address = f"ws://127.0.0.1:{served.port}/api/kernels/{kernel}/channels?token={served.token}"
        socket = await websocket_connect(address)
        start = time.monotonic()
        while served.kernels() and time.monotonic() < start + 60:
            await asyncio.sleep(0.1)
        socket.close()
        return time.monotonic() - start

    assert 5 < asyncio.run(connected()) < 60


@pytest.mark.parametrize("option", ["--token=", "--Voila.auto_token=False"])
def test_no_token_no_page(tmp_path: Path, option: str) -> None:
    with app(tmp_path, option) as refused:
        assert refused.process.wait(60) == 1
        assert "needs a token" in refused.log.read_text()
