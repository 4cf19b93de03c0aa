"""`archive.contracts`: what data is promised to be, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.archive.inside import Inside
from backstory.errors import InputError
from backstory.frames.contract import Contract
from backstory.frames.contract_check import Verdict, check_table
from backstory.frames.contract_infer import infer_contract
from backstory.frames.contract_odcs import read_contract
from backstory.frames.reading import reading_of
from backstory.frames.stream import Stream
from backstory.frames.table import to_arrow
from backstory.frames.token import id_columns
from backstory.lineage.contracts import (
    SourceContract,
    contract_of,
    list_contracts,
    set_contract,
    verdicts_table,
)
from backstory.lineage.source import require_name

if TYPE_CHECKING:
    import pyarrow as pa


class Contracts:
    """The contracts of an archive; made by `Archive.contracts`.

    A contract is YAML of the Open Data Contract Standard, version 3. Wherever one is taken, it may be a path, the text
    itself, the same as a dict, or what `get` returns.
    """

    def __init__(self, inside: Inside) -> None:
        """Look after the contracts of an archive."""
        self._inside = inside

    def check(self, data: Any, contract: Contract | Mapping[str, Any] | str | Path, name: str = "data") -> Verdict:  # noqa: ANN401
        """Check data against a contract; nothing is fixed or recorded.

        Args:
            data: A frame, or whatever else `source` takes.
            contract: The contract.
            name: Which of its tables the data is, where it is about several.

        Returns:
            A verdict: `state` is `passed`, `flagged` or `refused`; `broken` has for each broken rule its `rule`, how
            many `rows` broke it, and `positions` of the first of them.

        Raises:
            InputError: The contract is malformed, or a query in it fails.
        """
        return check_table(read_contract(contract, name), table_of(data), now_ns=self._inside.ledger.world.now_ns())

    def infer(self, data: Any, name: str, *, subject: str | None = None) -> str:  # noqa: ANN401
        """Draft a contract that the data fulfils, for a person to go over.

        Args:
            data: A frame, or whatever else `source` takes.
            name: Name of the source.
            subject: Column that says which person a row is about; no value of it is named.

        Returns:
            The contract in YAML.
        """
        table = table_of(data)
        if subject is not None and subject not in table.column_names:
            raise InputError(f"contract: expected the column {subject!r}, got a table without it ({name})")
        return infer_contract(table, name, subject=subject)

    def set(self, source: str, contract: Contract | Mapping[str, Any] | str | Path | None) -> Contract | None:
        """Let `source` check all data of a name against a contract from now on; with None against none.

        Args:
            source: Name of the source.
            contract: The contract. It is kept in clear, without its members `team`, `support` and `roles`.

        Raises:
            InputError: The contract is malformed, or names values of the column that says who a row is about.
            ForbiddenError: The archive is open for reading only, or the policy in force does not let you.
        """
        self._inside.require("register")
        require_name(source, 0)
        read = None if contract is None else read_contract(contract, source)
        set_contract(self._inside.ledger, source, read)
        return read

    def get(self, source: str) -> Contract | None:
        """Return the contract of a source, None if it has none: `rules`, and what is `unchecked`."""
        return contract_of(self._inside.ledger, source)

    def list(self) -> list[SourceContract]:
        """Return the contracts that were set, by source."""
        return list_contracts(self._inside.ledger)

    def verdicts(self, source: str | None = None) -> pa.Table:
        """Return what was found of dataset versions, oldest first.

        Args:
            source: Only those of this source.

        Returns:
            A table with a row for each broken rule, and one with no rule where none was broken: `source`, `part`,
            `dataset`, `fixed` (when), `contract`, `id`, `version`, `verdict`, `rule`, `severity`, `rows`.

        Raises:
            NotFoundError: There is no such source.
        """
        return verdicts_table(self._inside.ledger, source)


def table_of(data: Any) -> pa.Table:  # noqa: ANN401  any frame, path, query or table
    """Return the rows of whatever `source` takes, without id columns; what is read is never made a pandas frame."""
    reading = reading_of(data)
    if reading is None or reading.again is None:
        table = to_arrow(data.frame if isinstance(data, Stream) else data)
    else:
        table, _ = reading.again()
    return table.drop_columns(id_columns(table.column_names))
