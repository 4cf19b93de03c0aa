"""Entry point: find the command, run it, turn errors into a sentence and an exit code.

`backstory --help` must be quick, so it is printed from a table here and loads nothing; a command loads what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from backstory.cli.exit_codes import INPUT, INTERRUPTED, MEANINGS, OK, UNLISTED, exit_code
from backstory.errors import BackstoryError
from backstory.version import VERSION

if TYPE_CHECKING:
    from cyclopts import App

PROGRAM = "backstory"
TRACEBACK_VARIABLE = "BACKSTORY_TRACEBACK"
"""Set, it shows the traceback of a bug."""

COMMANDS = {
    "init": ("backstory.cli.init:init", "create an archive and print the public key to pin"),
    "demo": ("backstory.cli.demo:demo", "the whole story on real data, in about a minute"),
    "info": ("backstory.cli.overview:info", "what is in the archive: origin, key, models, sources, counts"),
    "why": ("backstory.cli.why:why", "why a model said this: rows, features, model, code, proof"),
    "impact": ("backstory.cli.impact:impact", "which predictions, features and models some rows reached"),
    "graph": ("backstory.cli.graph:graph", "the lineage of a prediction, model or dataset: data or SVG"),
    "why-not": ("backstory.cli.why_not:why_not", "why a row is not in a model's training set: dropped by which step"),
    "lint": ("backstory.cli.lint:lint", "lines of a script where row ids or a model's honesty would be lost"),
    "replay": ("backstory.cli.replay:replay", "whether the model still says that"),
    "whatif": ("backstory.cli.whatif:whatif", "what the model would have said: other version, features or source rows"),
    "diff": ("backstory.cli.diff:diff", "what differs between two predictions, models, dataset versions or contexts"),
    "bisect": ("backstory.cli.bisect:bisect", "which change flipped a prediction, or a figure over some"),
    "drift": ("backstory.cli.drift:drift", "whether what a model is given and says has moved; with a plot"),
    "explain": (
        "backstory.cli.explain:explain",
        "what each feature added to an output; reasons; what would have changed it",
    ),
    "rootcause": ("backstory.cli.rootcause:rootcause", "what bad predictions share upstream, confirmed by replay"),
    "search": ("backstory.cli.search:search", "predictions an SQL predicate holds for"),
    "data": ("backstory.cli.data:data", "dataset versions: list, show, diff, prove; fingerprints of files"),
    "models": ("backstory.cli.models:models", "model versions with their aliases"),
    "features": ("backstory.cli.features:features", "feature sets: list, show, diff; with owner and justification"),
    "contract": ("backstory.cli.contract:contract", "what data is promised to be: infer, check, set, list, verdicts"),
    "erase": ("backstory.cli.erase:erase", "forget a person for good; --find says where they are"),
    "verify-erasure": ("backstory.cli.verify_erasure:verify_erasure", "check a certificate of an erasure"),
    "rectify": ("backstory.cli.rectify:rectify", "what a prediction should have been made with, beside it"),
    "classify": ("backstory.cli.classify:classify", "sensitivity classes of columns: a draft, and confirming it"),
    "runs": ("backstory.cli.runs:runs", "trainings, evaluations and other runs"),
    "history": ("backstory.cli.runs:history", "what became of the versions of a model"),
    "deployments": ("backstory.cli.deployments:deployments", "what serves, who approved it, what served a prediction"),
    "access": ("backstory.cli.access:access", "who may see what: policy, roles, cases, grants; and who saw it"),
    "decisions": (
        "backstory.cli.decisions:decisions",
        "what was decided with predictions: record, verify, finalise, list, oversight",
    ),
    "rights": ("backstory.cli.rights:rights", "requests people made and notices they were given, with their clocks"),
    "retention": (
        "backstory.cli.retention:retention",
        "how long records are kept: status, rules, holds, disposal, freezes",
    ),
    "query": ("backstory.cli.query:query", "the canonical queries of auditors, Q-01 to Q-26"),
    "share": ("backstory.cli.share:share", "figures with noise that can be given away, under budgets"),
    "log": ("backstory.cli.log:log", "entries of the log"),
    "verify": ("backstory.cli.verify:verify", "check the whole archive from its bytes"),
    "receipt": ("backstory.cli.receipt:receipt", "the file that proves one prediction to a stranger"),
    "verify-receipt": ("backstory.cli.verify_receipt:verify_receipt", "check a receipt without any archive"),
    "verify-membership": ("backstory.cli.data_prove:verify_membership", "check who or what is in a dataset, or is not"),
    "bundle": ("backstory.cli.bundle:bundle", "what an auditor asked for in one file, with proofs and verifier"),
    "verify-bundle": ("backstory.cli.bundle:verify_bundle", "check an evidence bundle without any archive"),
    "report": ("backstory.cli.report:report", "a report for people, auditors or authorities, with its proofs"),
    "promise": ("backstory.cli.promise:promise", "the signed word that a prediction will be in the log"),
    "promise-key": ("backstory.cli.promise:promise_key", "the public key of promises; --delay switches them on"),
    "verify-promise": ("backstory.cli.verify_promise:verify_promise", "whether a promise was kept"),
    "reconcile": ("backstory.cli.reconcile:reconcile", "compare what is recorded with an outside count"),
    "seal": ("backstory.cli.seal:seal", "put everything recorded so far into the log"),
    "merge": ("backstory.cli.merge:merge", "few larger segment files instead of many small ones"),
    "reindex": ("backstory.cli.reindex:reindex", "rebuild the catalog from the log"),
    "serve-log": ("backstory.cli.serve_log:serve_log", "the log over HTTP, for anybody who wants to check it"),
    "feed": ("backstory.cli.feed:feed", "show the checkpoint to witnesses and keep what they sign"),
    "timestamp": ("backstory.cli.timestamp:timestamp", "have the checkpoint stamped by an RFC 3161 authority"),
    "witness": ("backstory.cli.witness:witness", "cosign other people's logs, as a process of its own"),
    "monitor": ("backstory.cli.monitor:monitor", "remember what a log showed; alarm when it shows something else"),
    "drill": ("backstory.cli.drill:drill", "plant faults and frauds in copies, and see who catches them"),
    "keys": ("backstory.cli.keys:keys", "the keys: list, rotate, add-ml-dsa, rotate-master, rekey"),
    "restore": ("backstory.cli.restore:restore", "a new log where the old one was lost or put back from a copy"),
    "completion": ("backstory.cli.completion:completion", "a script for completion in bash, zsh or fish"),
}
"""Where each command is, and what it does."""

EXAMPLES = {
    "impact": (
        "backstory impact planes --key N14228",
        """backstory impact weather --key '["JFK", "2013-08-08T21:00:00Z"]'""",
        'backstory impact weather --where "wind_speed > 1000"',
        "backstory impact orders --origin orders-tuesday.csv --export affected.csv",
    ),
    "search": (
        """backstory search "model = 'delay' and output > 60" --limit 5""",
        'backstory search "model = ? and output > ? and feature.hour = ?" delay 60 17',
    ),
}
"""What the help of a command ends with, where its arguments are not plain words."""

_WITH_PANDAS = frozenset(
    {"--stages", "bisect", "demo", "diff", "drill", "explain", "replay", "report", "rootcause", "search", "whatif"}
)
"""Commands, and an option, that run models or give frames; the others start twice as fast without it."""
_HELP_FLAGS = frozenset({"-h", "--help"})


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What stands after the program's name; None for this process's own.

    Returns:
        The exit code; see `backstory.cli.exit_codes`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and not _WITH_PANDAS.intersection(given):
        from backstory.columns.own_process import hide_pandas

        hide_pandas()
    as_json = "--json" in given
    try:
        code = _dispatch(given, as_json=as_json)
        sys.stdout.flush()
    except BackstoryError as error:
        from backstory.cli.answer import print_error

        print_error(error, as_json=as_json)
        return exit_code(type(error))
    except KeyboardInterrupt:
        return _failed("interrupted", "interrupted", INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        # The reader of our output is gone (`backstory log | head`); Python would complain once more while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return UNLISTED
    except Exception as error:  # noqa: BLE001  the edge: whatever is left over is a bug, told without values
        if os.environ.get(TRACEBACK_VARIABLE):
            sys.excepthook(type(error), error, error.__traceback__)
        return _failed("unexpected", _unexpected(error), UNLISTED, as_json=as_json)
    return code


def build_app() -> App:
    """Return the command line with every command; a command's module is loaded when it is used."""
    from cyclopts import App

    app = App(
        name=PROGRAM,
        version=VERSION,
        help_format="plaintext",
        help_formatter="plain",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, (place, help_) in COMMANDS.items():
        examples = "\n".join(["Examples:", *(f"  {line}" for line in EXAMPLES[name])]) if name in EXAMPLES else None
        app.command(place, name=name, help=help_, help_epilogue=examples)
    return app


def help_text() -> str:
    """Return what `backstory --help` prints: commands, then exit codes."""
    lines = [
        f"Usage: {PROGRAM} COMMAND [OPTIONS]",
        "",
        "Every prediction has a backstory: record it, ask for it, prove it.",
    ]
    lines += ["", "Commands:", *(f"  {name:<19}{help_}" for name, (_, help_) in COMMANDS.items())]
    lines += [
        "",
        "Options:",
        "  -h, --help      print this, or with a command what it takes",
        "  --version       print the version",
    ]
    lines += ["", "Exit codes:", *(f"  {code:<5}{meaning}" for code, meaning in MEANINGS.items())]
    return "\n".join(lines) + "\n"


def _dispatch(given: list[str], *, as_json: bool) -> int:
    if not given or given[0] in _HELP_FLAGS:
        sys.stdout.write(help_text())
        return OK if given else INPUT
    if given == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return OK
    if given[0] not in COMMANDS:
        from backstory.records.names import nearest

        there_is = nearest(given[0], COMMANDS) or f"; `{PROGRAM} --help` lists them"
        return _failed("usage", f"no command {given[0]!r}{there_is}", INPUT, as_json=as_json)
    from cyclopts import CycloptsError

    try:
        app = build_app()
        if not _HELP_FLAGS.isdisjoint(given):
            from backstory.cli.help_layout import ParagraphFormatter

            app.help_formatter = ParagraphFormatter()
            app[given[0]].help = None  # instead of the line in `--help` all that the docstring says
        code = app(given)
    except CycloptsError as error:
        what = str(error).strip().removeprefix(f'Command "{given[0]}" ').rstrip(".")
        return _failed("usage", f"{given[0]}: {what}; see `{PROGRAM} {given[0]} --help`", INPUT, as_json=as_json)
    return code if isinstance(code, int) else OK


def _failed(code: str, message: str, exit_code_: int, *, as_json: bool) -> int:
    from backstory.cli.answer import print_failure

    print_failure(code, message, {}, as_json=as_json)
    return exit_code_


def _unexpected(error: Exception) -> str:
    """Say where a bug is. The error's own message is left out, as it may hold a recorded value."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "?" if frame is None else f"{frame.tb_frame.f_globals.get('__name__')}, line {frame.tb_lineno}"
    hint = f"{TRACEBACK_VARIABLE}=1 shows where it came from, maybe with recorded values"
    return f"unexpected {type(error).__name__} in {where}: this is a bug; {hint}"


if __name__ == "__main__":
    sys.exit(run())
