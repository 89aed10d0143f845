"""NRRD files, as 3D Slicer and ITK write them: header, array and place in the patient."""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import UnusableAnnotation

TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4", "double": "f8",
}
TO_LPS: Final[Mapping[str, tuple[float, float, float]]] = {
    "left-posterior-superior": (1, 1, 1), "LPS": (1, 1, 1), "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "LAS": (1, -1, 1),
}
VECTOR: Final = re.compile(r"none|\(([^)]*)\)")
MOST_BYTES: Final = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nrrd:
    """An array with its place.

    Parameters
    ----------
    values:
        Axes as the file has them, fastest first: three of space, or a list axis before them.
    affine_lps_mm:
        4×4 of the three axes of space: index → LPS mm.
    """

    values: NDArray[np.generic]
    affine_lps_mm: NDArray[np.float64]
    fields: Mapping[str, str]


def read_nrrd(path: Path) -> Nrrd:
    """Read a NRRD file, attached or with its data beside it.

    Raises
    ------
    UnusableAnnotation
        If it is damaged, of a kind that is not read here, or does not say where it lies in the patient.
    """
    content = path.read_bytes()
    head, _, data = content.partition(b"\n\n")
    head_r, _, data_r = content.partition(b"\r\n\r\n")
    head, data = (head_r, data_r) if len(head_r) < len(head) else (head, data)
    fields = _fields(head.decode("utf-8", "replace"))
    sizes = [int(size) for size in fields.get("sizes", "").split()]
    kind = TYPES.get(fields.get("type", ""))
    if kind is None or len(sizes) not in {3, 4}:
        raise UnusableAnnotation(
            f"NRRD of type {fields.get('type')!r}, sizes {sizes}: allowed are numbers on three axes of space")
    beside = fields.get("data file") or fields.get("datafile")
    if beside:
        if Path(beside).name != beside or not (path.parent / beside).is_file():
            raise UnusableAnnotation("NRRD: the data file that it names is not in the same folder, as it must be")
        data = (path.parent / beside).read_bytes()
    dtype = np.dtype(kind).newbyteorder(">" if fields.get("endian") == "big" else "<")
    raw = _decoded(data, fields)
    count = int(np.prod(sizes))
    if count * dtype.itemsize > MOST_BYTES:
        raise UnusableAnnotation(f"NRRD of {count} values: allowed are {MOST_BYTES} bytes")
    values = _text_values(raw, dtype) if fields.get("encoding") in {"ascii", "text", "txt"} \
        else np.frombuffer(raw[:count * dtype.itemsize], dtype)
    if len(values) < count:
        raise UnusableAnnotation(f"NRRD says {count} values and holds {len(values)}: it is cut off")
    return Nrrd(values=values[:count].reshape(sizes, order="F"), affine_lps_mm=_affine(fields, sizes), fields=fields)


def _fields(head: str) -> dict[str, str]:
    first, *lines = head.splitlines()
    if not first.startswith("NRRD000"):
        raise UnusableAnnotation("no NRRD file: it does not begin with NRRD000")
    fields = {}
    for line in lines:
        key, separator, value = line.partition(":=") if ":=" in line else line.partition(":")
        if separator and not line.startswith("#"):
            fields[key.strip()] = value.strip()
    return fields


def _decoded(data: bytes, fields: Mapping[str, str]) -> bytes:
    encoding, skip = fields.get("encoding", "raw"), int(fields.get("line skip", 0))
    for _ in range(skip):
        data = data.partition(b"\n")[2]
    try:
        if encoding in {"gzip", "gz"}:
            data = gzip.decompress(data)
        elif encoding in {"bzip2", "bz2"}:
            data = bz2.decompress(data)
        elif encoding not in {"raw", "ascii", "text", "txt"}:
            raise UnusableAnnotation(f"NRRD encoding {encoding!r}: allowed are raw, gzip, bzip2, ascii")
    except (OSError, EOFError, ValueError) as error:
        raise UnusableAnnotation(f"NRRD: its {encoding} data are damaged") from error
    return data[max(0, int(fields.get("byte skip", 0))):]


def _text_values(raw: bytes, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    return np.array(raw.split(), dtype=float).astype(dtype)


def _affine(fields: Mapping[str, str], sizes: list[int]) -> NDArray[np.float64]:
    signs = TO_LPS.get(fields.get("space", ""))
    vectors = [[float(value) for value in found.split(",")] if found else None
               for found in VECTOR.findall(fields.get("space directions", ""))]
    directions = [vector for vector in vectors if vector is not None]
    origin = VECTOR.findall(fields.get("space origin", ""))
    if signs is None or len(directions) != 3 or not origin or len(vectors) != len(sizes):  # noqa: PLR2004
        raise UnusableAnnotation(
            f"NRRD does not say where it lies in the patient: space {fields.get('space')!r}, space directions "
            f"{fields.get('space directions')!r}, space origin {fields.get('space origin')!r}")
    affine = np.eye(4)
    affine[:3, :3] = np.array(directions).T
    affine[:3, 3] = [float(value) for value in origin[0].split(",")]
    return np.asarray(np.diag((*signs, 1.0)) @ affine)
