"""`backstory witness`: cosign other people's logs, as a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_text
from backstory.cli.options import Json
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.verify.witness import Witness

LISTEN = "127.0.0.1:8031"
_NS = 10**9


def witness(
    action: Literal["serve", "init", "add-log", "status"] = "serve",
    /,
    *,
    state: Path,
    name: str | None = None,
    vkey: Annotated[list[str] | None, Parameter(negative=())] = None,
    listen: str | None = None,
    json: Json = False,
) -> None:
    """Cosign other people's logs: `init` makes the witness, `add-log` tells it of a log, `serve` runs it.

    A witness cosigns a checkpoint once it is proven to extend the one it cosigned before, and so stops a log from
    showing two histories. It should be run by somebody who is not the log's operator.

    Args:
        action: `init`, `add-log`, `serve` until SIGTERM or Ctrl-C, or `status`: what it cosigned last.
        state: Directory of the witness: its key, its memory, the logs it knows, evidence it kept.
        name: With init, name of the witness; by convention a URL without scheme, such as witness.example.net/w1.
        vkey: With add-log, public key of the log, with ` from N` and ` until N` where it was rotated; may be repeated.
        listen: With serve, where to listen, as host:port; port 0 lets the system choose one. [default: 127.0.0.1:8031]
        json: Print one JSON document.
    """
    from backstory.storage.world import World
    from backstory.verify.witness import Witness, create_witness

    for given, option, of in ((name, "--name", "init"), (vkey, "--vkey", "add-log"), (listen, "--listen", "serve")):
        if given is not None and action != of:
            raise InputError(f"witness {action}: {option} goes with {of}")
    if action == "init":
        if name is None:
            raise InputError("witness init: expected --name")
        made = create_witness(state, name, World())
        _tell(
            {"state": str(state), "vkey": made}, f"created {state}\nverifier key of the witness: {made}", as_json=json
        )
    elif action == "add-log":
        if not vkey:
            raise InputError("witness add-log: expected --vkey")
        origins = Witness(state, World()).add_logs("\n".join(vkey))
        _tell({"origins": origins}, "\n".join(f"knows {origin}" for origin in origins), as_json=json)
    elif action == "status":
        _status(Witness(state, World()), as_json=json)
    else:
        _serve(state, listen or LISTEN, as_json=json)


def _serve(state: Path, listen: str, *, as_json: bool) -> None:
    from backstory.server.run import parse_address, serve
    from backstory.server.witness_app import witness_app

    host, port = parse_address(listen)
    serve(
        witness_app(state), host, port, lambda url: _tell({"url": url}, f"witness listening at {url}", as_json=as_json)
    )


def _status(opened: Witness, *, as_json: bool) -> None:
    from backstory.records.identity import time_text

    logs = []
    lines = [opened.vkey]
    for origin in sorted(opened.logs()):
        latest = opened.latest(origin)
        size, time = (None, None) if latest is None else (latest.checkpoint.size, time_text(latest.time * _NS))
        logs.append({"origin": origin, "time": time, "tree_size": size})
        lines.append(f"{origin}: nothing cosigned yet" if time is None else f"{origin}: tree size {size}, {time}")
    _tell({"logs": logs, "vkey": opened.vkey}, "\n".join(lines), as_json=as_json)


def _tell(facts: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_text(text)
    sys.stdout.flush()
