"""The zip file of an evidence bundle: files of a bundle's names, each once, and no byte beside them.

Programs that unpack zip files do not agree on what is in one that says two things. So one is accepted that says one
thing only: docs/format.md, section "Bundles".
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Sequence
from typing import BinaryIO, Final

from backstory.errors import VerificationError
from backstory.records.limits import BUNDLE_FILES_MAX

REGULAR_FILE: Final = 0o100644 << 16
"""What a zip file says of the mode of a plain file."""
_NAME = re.compile(
    r"manifest\.json|bundle\.tlog-proof|README\.txt|index\.html|records\.jsonl|records-[0-9]{4,5}\.parquet"
    r"|receipts/[0-9]{4}\.receipts|upstream/rows\.json|upstream/documents/[0-9a-f]{64}\.json"
    r"|upstream/entries/[0-9]{1,19}\.tlog-proof|verify/[a-z_]{1,64}\.(html|mjs|py)"
    r"|report\.(html|json|pdf)|schema\.json|tables/[a-z][a-z_]{0,63}\.(csv|parquet)"
)
_COMPRESSION_LEVEL_BITS = 0x6
_TIME = (1980, 1, 1, 0, 0, 0)
_DOS_TIME = 33 << 16
_SMALL_MAX = (1 << 31) - 1
"""Sizes and offsets above stand in a field of their own (ZIP64)."""
_ELSEWHERE = 0xFFFFFFFF
_LOCAL, _CENTRAL_SIZE = struct.Struct("<4sHHHIIIIHH"), 46


def check_zip(archive: zipfile.ZipFile, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """Check names and form of a bundle's zip file, and return its files by name.

    Args:
        archive: The zip file.
        file: Its bytes.

    Raises:
        VerificationError: It is not of the form a bundle has; the message names the file.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    if len(infos) > BUNDLE_FILES_MAX or archive.comment:
        raise VerificationError("bundle: the zip file has too much in it")
    for info in infos:
        shown = f"bundle: {info.orig_filename[:200]!r}"
        if info.orig_filename != info.filename or _NAME.fullmatch(info.filename) is None:
            raise VerificationError(f"{shown}: no name of a file in a bundle")
        if info.filename in members:
            raise VerificationError(f"{shown}: it is there twice")
        if not _is_plain(info):
            raise VerificationError(f"{shown}: it is not a plain file")
        members[info.filename] = info
    _check_layout(infos, file)
    return members


def _is_plain(info: zipfile.ZipInfo) -> bool:
    is_packed = info.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    is_packed = is_packed and not info.flag_bits & ~_COMPRESSION_LEVEL_BITS
    is_dated = info.date_time == _TIME and not info.comment and info.extra == _central_extra(info)
    return is_packed and is_dated and info.external_attr == REGULAR_FILE


def _check_layout(infos: Sequence[zipfile.ZipInfo], file: BinaryIO) -> None:
    """Insist on the files one behind the other, then their directory, then its end, and that all say the same."""
    at = 0
    for info in infos:
        size = _local_size(info, file, at)
        if info.header_offset != at or not size:
            raise VerificationError(f"bundle: {info.filename}: the zip file says two things of it")
        at += size + info.compress_size
    size = sum(_CENTRAL_SIZE + len(info.filename) + len(info.extra) for info in infos)
    file.seek(at + size)
    end = _end(len(infos), size, at)
    if file.read(len(end) + 1) != end or file.seek(0, os.SEEK_END) != at + size + len(end):
        raise VerificationError("bundle: the zip file has bytes that are of no file")


def _local_size(info: zipfile.ZipInfo, file: BinaryIO, at: int) -> int:
    """Return the size of what stands before a file's packed bytes; 0 if it is not what the directory says."""
    file.seek(at)
    name = info.filename.encode()
    found = file.read(_LOCAL.size + len(name) + 20)
    is_large = found[26:30] == struct.pack("<HH", len(name), 20)
    extra = struct.pack("<HHQQ", 1, 16, info.file_size, info.compress_size) if is_large else b""
    sizes = (_ELSEWHERE, _ELSEWHERE) if is_large else (info.compress_size, info.file_size)
    if not is_large and max(sizes) >= _ELSEWHERE:
        return 0
    version, packing = int.from_bytes(found[4:6], "little"), (info.flag_bits, info.compress_type)
    header = _LOCAL.pack(b"PK\3\4", version, *packing, _DOS_TIME, info.CRC, *sizes, len(name), len(extra))
    expected = header + name + extra
    return len(expected) if found[: len(expected)] == expected else 0


def _central_extra(info: zipfile.ZipInfo) -> bytes:
    """Return what stands in the directory of a file that is large, or behind large ones."""
    large = [info.file_size, info.compress_size] if max(info.file_size, info.compress_size) > _SMALL_MAX else []
    large += [info.header_offset] if info.header_offset > _SMALL_MAX else []
    return struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def _end(count: int, size: int, offset: int) -> bytes:
    """Return what stands behind the directory."""
    plain = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, min(offset, _ELSEWHERE), 0)
    if offset <= _SMALL_MAX:
        return plain
    large = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset)
    return large + struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1) + plain
