"""Serve the explorer as a web page of its own (`make app`).

Voilà serves it to this machine alone, behind a token, with few kernels.

    python app/serve.py --port 8866 --no-browser

Every option of Voilà passes through; ``--Kernels.most`` is how many pages may be open at once, and
``--Kernels.untouched`` after how many seconds an open page that nobody touches loses its kernel.
"""

import html
import re
import threading
import webbrowser
from datetime import UTC, datetime
from logging import LogRecord
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jupyter_server import DEFAULT_STATIC_FILES_PATH
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.httputil import HTTPServerRequest
from tornado.log import access_log, app_log, gen_log
from tornado.routing import Matcher, PathMatches, Rule
from tornado.web import ErrorHandler, HTTPError
from traitlets import Integer
from traitlets.config import Config
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler

HOSTS = ("127.0.0.1", "localhost")
# Addresses that no page asks for, and what the page sends otherwise than by GET. Voilà stumbles
# over anything else.
ODD = re.compile(r"\.\.|/\.(/|\?|$)|[\0-\x1f\x7f\ufffd]|/voila/templates/(?![^/]+/static/[^/?])")
SENT = re.compile(r".*/(login|voila/api/shutdown/[\w-]+|api/kernels/[\w-]+)")


class Kernels(AsyncMappingKernelManager):
    """One kernel per page, and no more than ``most``.

    A page that went away without a word loses its kernel within minutes.
    """

    most = Integer(4, config=True, help="how many pages may be open at once")
    untouched = Integer(
        1800, config=True, help="seconds until an open page without a message loses its kernel"
    )

    def pre_start_kernel(self, kernel_name: str | None, kwargs: dict) -> Any:
        """Refuse a page too many.

        Kernels that are starting count, those that are shutting down do not.
        """
        waiting = {kernel for kernel, task in self._pending_kernels.items() if not task.done()}
        if len(waiting ^ set(self._kernels)) >= self.most:
            full = f"{self.most} pages are open and no more may be; close one and load this again"
            raise HTTPError(503, reason=full)
        return super().pre_start_kernel(kernel_name, kwargs)

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """As Jupyter does it, but leave an open page for ``untouched`` seconds."""
        kernel = self._kernels.get(kernel_id)
        if kernel is None or kernel.execution_state in (None, "starting"):
            return  # it went while another was waited for, or its page is still on the way
        untouched = (datetime.now(UTC) - kernel.last_activity).total_seconds()
        if untouched > self.untouched or not self._kernel_connections.get(kernel_id):
            await super().cull_kernel_if_idle(kernel_id)


class Foreign(Matcher):
    """Requests to another host than this machine, from a page of another origin, or odd ones."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """What an error's handler is given, or None where the request is none of these."""
        origin = request.headers.get("Origin")
        own = origin in (None, f"{request.protocol}://{request.host}")
        asked = request.method == "GET" or SENT.fullmatch(request.path)
        if request.host_name not in HOSTS or not own or not asked:
            return {"target_kwargs": {"status_code": 403}}
        if not request.uri.isascii() or ODD.search(unquote(request.uri)):
            return {"target_kwargs": {"status_code": 404}}
        return None


def without_queries(record: LogRecord) -> bool:
    """A line of the log without the query of its address, which may hold the token."""
    record.msg = re.sub(r"\?\S*", "", record.getMessage())
    record.args = ()
    return True


class Closed(VoilaShutdownKernelHandler):
    """Where a page that closes says so, by a beacon.

    A beacon cannot carry Jupyter's token against forged requests, for which all of Voilà's are
    refused; but it tells its origin, which :class:`Foreign` has looked at.
    """

    def check_xsrf_cookie(self) -> None:
        """As Jupyter does it, where no origin is told."""
        if "Origin" not in self.request.headers:
            super().check_xsrf_cookie()


class Page(Voila):
    """Voilà with one notebook, behind a token and the check of hosts and origins."""

    def init_settings(self) -> dict[str, Any]:
        """As Voilà's; ends where there is no token."""
        settings = super().init_settings()
        if not self.identity_provider.token:
            self.exit(
                "the page runs code for whoever opens it, so it needs a token: "
                "leave --token out, or give one"
            )
        # Of its pages of errors.
        settings["static_path"] = DEFAULT_STATIC_FILES_PATH
        settings["static_url_prefix"] = "/voila/static/"
        return settings

    def listen(self) -> None:
        """Refuse what is foreign before all of Voilà's handlers, those of files included."""
        self.app.default_router.rules[:0] = [
            Rule(Foreign(), ErrorHandler),
            Rule(PathMatches(r".*/voila/api/shutdown/(.*)"), Closed),
        ]
        for log in (access_log, app_log, gen_log):
            log.addFilter(without_queries)
        super().listen()

    def launch_browser(self) -> None:
        """Open the page with its token by a file of this user: anybody can read a command line."""
        url = html.escape(f"{self.connection_url}?token={self.identity_provider.token}")
        path = Path(self.connection_dir, "open.html")
        path.write_text(f'<meta http-equiv="refresh" content="0;url={url}">', encoding="utf-8")
        threading.Thread(target=webbrowser.open, args=[path.as_uri()], daemon=True).start()


if __name__ == "__main__":
    options = {
        "ip": HOSTS[0],
        "auto_token": True,
        "notebook_path": str(Path(__file__).with_name("explorer.ipynb")),
    }
    voila: dict[str, Any] = {
        "multi_kernel_manager_class": Kernels,
        "file_allowlist": [],  # the page brings its pictures along
        "allow_template_override": "NO",
        "allow_theme_override": "NO",
        "extension_denylist": ["@jupyter-notebook/lab-extension"],  # quarrels with Voilà
    }
    kernels = {
        "cull_idle_timeout": 120,
        "cull_interval": 30,
        "cull_connected": True,
        "transport_encryption": "auto",
    }
    config = Config({"Voila": options, "VoilaConfiguration": voila, "Kernels": kernels})
    Page.launch_instance(config=config)
