"""Over HTTP: the log as any C2SP client reads it, and a witness of other people's logs.

    log_app       an archive's log, to be served alone or mounted in another application
    witness_app   a witness
    run           serves either with uvicorn

Both are plain ASGI applications: they need no framework, and fit into any.
"""

from __future__ import annotations

from backstory.server.log_app import log_app
from backstory.server.witness_app import witness_app

__all__ = ["log_app", "witness_app"]
