"""`backstory serve-log`: the log over HTTP, for anybody who wants to check it."""

from __future__ import annotations

from backstory.cli.answer import print_json, print_text
from backstory.cli.archives import find_layout
from backstory.cli.options import ASKING, Asking

LISTEN = "127.0.0.1:8030"


def serve_log(*, listen: str = LISTEN, asking: Asking = ASKING) -> None:
    """Serve the log as C2SP tlog-tiles until SIGTERM or Ctrl-C: checkpoint, tiles, entries, and nothing else.

    Args:
        listen: Where to listen, as host:port; port 0 lets the system choose one. Only this machine reaches 127.0.0.1.
        asking: Which archive.
    """
    import sys

    from backstory.server.log_app import log_app
    from backstory.server.run import parse_address, serve

    host, port = parse_address(listen)
    find_layout(asking)

    def told(url: str) -> None:
        if asking.json:
            print_json({"url": url})
        else:
            print_text(f"serving the log at {url}")
        sys.stdout.flush()

    serve(log_app(asking.archive), host, port, told)
