"""`backstory contract`: what data is promised to be, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from backstory.cli.answer import print_json, print_page, print_text
from backstory.cli.archives import open_archive, require_named
from backstory.cli.exit_codes import FAILED, OK
from backstory.cli.options import ASKING, Asking
from backstory.errors import InputError

if TYPE_CHECKING:
    from backstory.frames.contract_check import Verdict
    from backstory.lineage.page import Page

Action = Literal["infer", "check", "set", "list", "verdicts"]
_EXPECTED = {"infer": "a file of data", "check": "a file of data and a contract", "set": "a source and a contract"}
_POSITIONS_SHOWN = 5


def contract(
    action: Action,
    what: str | None = None,
    contract: str | None = None,
    /,
    *,
    name: Annotated[str | None, Parameter(help="Name of the source. [default: as the file]")] = None,
    subject: Annotated[str | None, Parameter(help="Column that says which person a row is about.")] = None,
    asking: Asking = ASKING,
) -> int:
    """Draft, check and set data contracts (Open Data Contract Standard), and ask what was found.

    infer FILE             draft a contract that the data fulfils, as YAML

    check FILE CONTRACT    check data; needs no archive; exit code 20 where the contract refuses it

    set SOURCE CONTRACT    check all data of a source against it from now on; `none` takes it back

    list                   the contracts that were set

    verdicts [SOURCE]      what was found of the data that is kept, rule by rule

    Args:
        action: What to do.
        what: A file (or directory) of data, or a source.
        contract: File of a contract.
        name: Name of the source.
        subject: Column that says which person a row is about; no value of it is named in a draft.
        asking: Which archive.
    """
    if (what is None and action in _EXPECTED) or (contract is None and action in {"check", "set"}):
        raise InputError(f"contract {action}: expected {_EXPECTED[action]}")
    if action == "infer":
        return _infer(str(what), name, subject, as_json=asking.json)
    if action == "check":
        return _check(str(what), str(contract), name, as_json=asking.json)
    if action == "set":
        _set(str(what), str(contract), asking)
    elif action == "list":
        _list(asking)
    else:
        _verdicts(what, asking)
    return OK


def _infer(file: str, name: str | None, subject: str | None, *, as_json: bool) -> int:
    from backstory.archive.contracts import table_of
    from backstory.frames.contract_infer import infer_contract
    from backstory.frames.table import require_columns

    table = table_of(file)
    require_columns(table.column_names, [] if subject is None else [subject], file)
    text = infer_contract(table, name or _name_of(file), subject=subject)
    if as_json:
        print_json({"contract": text})
    else:
        print_text(text.rstrip())
    return OK


def _name_of(file: str) -> str:
    return Path(file).name.partition(".")[0]


def _check(file: str, given: str, name: str | None, *, as_json: bool) -> int:
    from backstory.archive.contracts import table_of
    from backstory.frames.contract_check import check_table
    from backstory.frames.contract_odcs import read_contract
    from backstory.storage.world import World

    read = read_contract(Path(given), name or _name_of(file))
    verdict = check_table(read, table_of(file), now_ns=World().now_ns())
    if as_json:
        rules = [{**found.document(), "positions": list(found.positions)} for found in verdict.broken]
        print_json({**verdict.document(), "rules": rules, "unchecked": list(read.unchecked)})
    else:
        print_page(_verdict_page(verdict))
    return FAILED if verdict.state == "refused" else OK


def _verdict_page(verdict: Verdict) -> Page:
    from backstory.frames.contract_check import told
    from backstory.lineage.page import Page, Row, Section, facts_section
    from backstory.lineage.plain import count_text

    contract = verdict.contract
    rows = tuple(
        Row(
            cells=(
                found.rule.id,
                found.rule.kind,
                found.rule.severity,
                "" if found.rows is None else f"{found.rows:,}",
                ", ".join(map(str, found.positions[:_POSITIONS_SHOWN])),
            ),
            loud=found.rule.severity == "refuse",
        )
        for found in verdict.broken
    )
    columns = ("rule", "kind", "severity", "rows", "first positions")
    sections = [Section(title="Broken rules", columns=columns, rows=rows)] if rows else []
    sections += (
        [facts_section("Not checked", [("", said) for said in contract.unchecked])] if contract.unchecked else []
    )
    refused = told(verdict.of("refuse"))
    return Page(
        headline=f"{verdict.state}: {count_text(verdict.rows, 'row')}, {count_text(len(verdict.rules), 'rule')}, "
        f"{len(verdict.broken)} broken",
        alarms=(f"REFUSED: {refused}",) if refused else (),
        facts=(("contract", f"{contract.id} {contract.version}"), ("digest", contract.digest)),
        sections=tuple(sections),
    )


def _set(source: str, given: str, asking: Asking) -> None:
    import backstory

    require_named(asking)
    with backstory.open(asking.archive, vkey=asking.vkey) as archive:
        read = archive.contracts.set(source, None if given == "none" else Path(given))
    if asking.json:
        print_json({"contract": None if read is None else read.digest, "source": source})
    elif read is None:
        print_text(f"{source} has no contract from now on")
    else:
        left_out = [f"not checked: {said}" for said in read.unchecked]
        rules = f"{len(read.rules)} rule{'' if len(read.rules) == 1 else 's'}"
        print_text("\n".join([f"{source}: contract {read.id} {read.version}, {rules}, {read.digest}", *left_out]))


def _list(asking: Asking) -> None:
    with open_archive(asking) as archive:
        found = archive.contracts.list()
    if asking.json:
        print_json({"contracts": [asdict(one) for one in found]})
    else:
        from backstory.lineage.impact_page import DIGITS_SHOWN
        from backstory.lineage.plain import to_second

        cells = [(one.source, one.id, one.version, to_second(one.time), one.contract[:DIGITS_SHOWN]) for one in found]
        print_page(_listed("contract", ("source", "contract", "version", "since", "digest"), cells))


def _verdicts(source: str | None, asking: Asking) -> None:
    with open_archive(asking) as archive:
        found: list[dict[str, Any]] = archive.contracts.verdicts(source).to_pylist()
    if asking.json:
        print_json({"verdicts": found})
    else:
        from backstory.lineage.impact_page import DIGITS_SHOWN

        cells = [
            (
                str(row["source"]) + ("" if row["part"] is None else f"@{row['part']}"),
                str(row["dataset"])[:DIGITS_SHOWN],
                f"{row['id']} {row['version']}",
                str(row["verdict"]),
                str(row["rule"] or ""),
                str(row["severity"] or ""),
                "" if row["rows"] is None else f"{row['rows']:,}",
            )
            for row in found
        ]
        print_page(
            _listed("verdict", ("source", "dataset", "contract", "verdict", "broken rule", "severity", "rows"), cells)
        )


def _listed(what: str, columns: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> Page:
    from backstory.lineage.page import Page, Row, Section
    from backstory.lineage.plain import count_text

    rows = tuple(Row(cells=row) for row in cells)
    section = Section(title=f"{what.capitalize()}s", columns=columns, rows=rows)
    return Page(headline=count_text(len(rows), what), sections=(section,) if rows else ())
