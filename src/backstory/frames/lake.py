"""Tables of Delta Lake and Iceberg as sources: one version or snapshot of one, in an order that stays.

Files are read in the order of their names, so that a version read again has its rows in the same places.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from backstory.errors import InputError, NotFoundError, StorageError
from backstory.frames.file_format import typed
from backstory.frames.place import local_path
from backstory.frames.read_options import ReadOptions, require_known

if TYPE_CHECKING:
    import deltalake
    import pyarrow as pa
    import pyiceberg.table


def is_delta(source: object) -> bool:
    """Say whether an object is a `deltalake.DeltaTable`."""
    return _is(source, "deltalake", "DeltaTable")


def is_iceberg(source: object) -> bool:
    """Say whether an object is a table of pyiceberg."""
    return _is(source, "pyiceberg", "Table")


def _is(source: object, package: str, name: str) -> bool:
    return any(c.__module__.split(".")[0] == package and c.__name__ == name for c in type(source).__mro__)


def open_delta(path: Path, version: int) -> deltalake.DeltaTable:
    """Open a version of a Delta table on this machine.

    Raises:
        NotFoundError: There is no such table or version.
        StorageError: deltalake is not installed.
    """
    try:
        import deltalake
        from deltalake.exceptions import DeltaError, TableNotFoundError
    except ModuleNotFoundError:
        raise StorageError("delta: expected deltalake to be installed: pip install backstory[delta]") from None
    try:
        return deltalake.DeltaTable(str(path), version=version)
    except (DeltaError, TableNotFoundError, OSError) as error:
        raise NotFoundError(f"delta: no version {version} of the table in {path} ({type(error).__name__})") from None


def read_delta(table: deltalake.DeltaTable, options: ReadOptions) -> pa.Table:
    """Return the rows of a Delta table at its version.

    Raises:
        InputError: It needs what cannot be read here, such as deletion vectors.
        NotFoundError: Files of the version were vacuumed.
        StorageError: It cannot be read.
    """
    from deltalake.exceptions import DeltaError, DeltaProtocolError
    from pyarrow import dataset

    require_known(options, ("columns", "types"), "a Delta table")
    try:
        found = table.to_pyarrow_dataset()
    except DeltaProtocolError:
        raise InputError("delta: the table uses a feature deltalake does not read into Arrow") from None
    except (DeltaError, OSError) as error:
        raise StorageError(f"delta: the table cannot be read ({type(error).__name__})") from None
    fragments = sorted(found.get_fragments(), key=lambda fragment: str(fragment.path))
    if not fragments:
        return typed(found.schema.empty_table(), options, "the Delta table")
    ordered = dataset.FileSystemDataset(fragments, found.schema, found.format, found.filesystem)
    try:
        rows = ordered.to_table()
    except FileNotFoundError:
        raise NotFoundError(f"delta: files of version {table.version()} are gone, as after a vacuum") from None
    except OSError as error:
        raise StorageError(f"delta: version {table.version()} cannot be read ({type(error).__name__})") from None
    return typed(rows.replace_schema_metadata(None), options, "the Delta table")


def open_iceberg(path: Path) -> pyiceberg.table.Table:
    """Open an Iceberg table on this machine by its metadata file, which may name files of this machine only.

    Raises:
        InputError: It is no metadata file.
        NotFoundError: There is no such file.
        StorageError: pyiceberg is not installed.
    """
    try:
        from pyiceberg.catalog.noop import NoopCatalog
        from pyiceberg.exceptions import ValidationError
        from pyiceberg.io.pyarrow import PyArrowFileIO
        from pyiceberg.serializers import FromInputFile
        from pyiceberg.table import StaticTable
    except ModuleNotFoundError:
        raise StorageError("iceberg: expected pyiceberg to be installed: pip install backstory[iceberg]") from None

    class LocalFiles(PyArrowFileIO):
        """Reads nothing over a network, and loads no class that a table names."""

        def new_input(self, location: str) -> Any:
            if local_path(location) is None:
                raise FileNotFoundError(location)
            return super().new_input(location)

    files = LocalFiles()
    try:
        metadata = FromInputFile.table_metadata(files.new_input(str(path)))
    except FileNotFoundError:
        raise NotFoundError(f"iceberg: no metadata file {path}") from None
    except (ValidationError, ValueError):
        raise InputError(f"iceberg: not a metadata file: {path}") from None
    return StaticTable(
        identifier=("static", path.name),
        metadata=metadata,
        metadata_location=str(path),
        io=files,
        catalog=NoopCatalog("static"),
    )


def snapshot_of(table: pyiceberg.table.Table, options: ReadOptions) -> int:
    """Return the id of the snapshot that is meant.

    Raises:
        NotFoundError: The table has no such snapshot, or none.
    """
    wanted = options.snapshot
    found = table.current_snapshot() if wanted is None else _snapshot(table, wanted)
    if found is None:
        raise NotFoundError("iceberg: the table has no such snapshot: it was expired, or never was")
    return int(found.snapshot_id)


def _snapshot(table: pyiceberg.table.Table, wanted: str) -> Any:
    return table.snapshot_by_id(int(wanted)) if wanted.isdecimal() else table.snapshot_by_name(wanted)


def read_iceberg(table: pyiceberg.table.Table, snapshot: int, options: ReadOptions) -> pa.Table:
    """Return the rows of an Iceberg table in a snapshot.

    Raises:
        NotFoundError: Files of the snapshot are gone.
        StorageError: They cannot be read.
    """
    from pyiceberg.io.pyarrow import ArrowScan

    require_known(options, ("columns", "snapshot", "types"), "an Iceberg table")
    scan = table.scan(snapshot_id=snapshot)
    try:
        files = sorted(scan.plan_files(), key=lambda task: str(task.file.file_path))
        rows = ArrowScan(table.metadata, table.io, scan.projection(), scan.row_filter).to_table(files)
    except FileNotFoundError:
        raise NotFoundError(f"iceberg: files of snapshot {snapshot} are gone") from None
    except OSError as error:
        raise StorageError(f"iceberg: snapshot {snapshot} cannot be read ({type(error).__name__})") from None
    return typed(rows.replace_schema_metadata(None), options, "the Iceberg table")
