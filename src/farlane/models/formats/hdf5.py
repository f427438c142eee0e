"""HDF5 files: which arrays they hold and where their bytes lie, and links out of them, which are refused.

Source: HDF5 File Format Specification, contiguous storage; external links, external and virtual storage.
"""

from __future__ import annotations

from typing import Any, Final

from farlane.errors import InvalidInput
from farlane.models.formats.values import TensorPlace

MAX_OBJECTS: Final = 100_000
_DTYPES: Final = {
    "float16": "F16", "float32": "F32", "float64": "F64", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16",
    "int32": "I32", "uint32": "U32", "int64": "I64", "uint64": "U64",
}  # fmt: skip


def datasets(file: Any) -> list[TensorPlace]:
    """Return where the arrays of an open `h5py.File` lie that are in one piece, by their paths.

    Offsets count from the beginning of the file. Arrays in chunks, compressed or not, are left out.

    Raises:
        InvalidInput: it has more than MAX_OBJECTS, or points to other files.
        Exception: what h5py raises for a damaged file.
    """
    import h5py

    found: list[TensorPlace] = []
    waiting, count = [file], 0
    while waiting:
        group = waiting.pop()
        for name in group:
            count += 1
            if count > MAX_OBJECTS:
                raise InvalidInput(f"this HDF5 file has more than {MAX_OBJECTS} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise InvalidInput(f"{str(name)[:80]!r} in this HDF5 file is a link, which is refused")
            item = group.get(name)
            if isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise InvalidInput(
                        f"the data of {str(name)[:80]!r} lie in another file, which is refused"
                    )
                found += _place(item)
            elif isinstance(item, h5py.Group):
                waiting.append(item)
    return found


def _place(item: Any) -> list[TensorPlace]:
    import h5py

    offset = item.id.get_offset()
    contiguous = item.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if offset is None or not contiguous or item.dtype.hasobject:
        return []
    # Big-endian numbers are cut out, and handled as bytes.
    dtype = _DTYPES.get(item.dtype.name, "") if item.dtype.isnative else ""
    size = int(item.id.get_storage_size())
    return [
        TensorPlace(str(item.name), dtype or str(item.dtype)[:40], tuple(item.shape or ()), int(offset), size)
    ]
