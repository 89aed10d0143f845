"""Data sets made to do harm: mutations of an image from a seed, and bombs by name."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from struct import pack, unpack_from

import numpy as np
from pydicom import Dataset

from tests.builders import ct_series, dataset, uid_of
from tests.upper_layer import CT, EXPLICIT, data_set

IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG, JPEG_LOSSLESS, JPEG_LS, J2K, RLE = (f"1.2.840.10008.1.2.{end}" for end in ("4.50", "4.70", "4.80", "4.90", "5"))
SYNTAXES = (EXPLICIT, IMPLICIT, DEFLATED, JPEG, JPEG_LOSSLESS, JPEG_LS, J2K, RLE, "1.2.840.10008.1.2.2",
            "1.2.840.10008.1.2.4.100", "1.2.3", "", "../../x")
VRS = (b"AE", b"CS", b"DA", b"DS", b"IS", b"LO", b"OB", b"OW", b"PN", b"SQ", b"UI", b"UL", b"UN", b"US", b"UT", b"  ",
       b"\0\0", b"ZZ", b"\xff\xff")
LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
LENGTHS = (0, 1, 7, 255, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
TAGS = (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010, 0x00080018, 0x00080016, 0x0020000D, 0x00020010, 0x00280008,
        0x52009229, 0x52009230, 0, 0xFFFFFFFF)
ITEM_UNDEFINED, ITEM_END = pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = pack("<HHI", 0xFFFE, 0xE0DD, 0)
TRAVERSALS = ("../../../../etc/harm", "/etc/harm", "1.2.3/../../4", "1.2.3\0/../x", "..", ".", "1.2.3\\..\\..\\x",
              "1." * 40 + "1", "1.2.\u00e4", "CON", "1.2.3\n4", "~", "$HOME", "1.2.3 ; rm x", "01.2", "-1", "1..2")


def element(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """One element, Explicit VR Little Endian; ``length`` where it lies."""
    said = len(value) if length is None else length
    head = pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (pack("<HI", 0, said & 0xFFFFFFFF) if vr in LONG_VRS else pack("<H", said & 0xFFFF)) + value


def nested(depth: int, *, undefined: bool) -> bytes:
    """Sequences within sequences."""
    if undefined:
        head = element(0x00081140, b"SQ", b"", length=0xFFFFFFFF) + ITEM_UNDEFINED
        return head * depth + (ITEM_END + SEQUENCE_END) * depth
    inner = b""
    for _ in range(depth):
        inner = element(0x00081140, b"SQ", pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner)
    return inner


def images(count: int = 4) -> list[Dataset]:
    """Small CT slices that lie in one stack."""
    return ct_series(np.zeros((count, 8, 8), np.int16))


def rich() -> Dataset:
    """One of them with sequences, private and long elements, so that there is something to break."""
    (built, *_) = images(2)
    codes = [dataset(CodeValue=str(number), CodingSchemeDesignator="DCM", CodeMeaning="x") for number in range(3)]
    built.ContrastBolusAgentSequence = codes
    built.ReferencedImageSequence = [dataset(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID="1.2.3")]
    built.private_block(0x0009, "MAKER", create=True).add_new(1, "UN", bytes(range(256)))
    built.PatientComments = "x" * 300
    return built


def part10(data: bytes, syntax: str = EXPLICIT, *, sop_instance_uid: str = "1.2.3", **lies: bytes) -> bytes:
    """A PS3.10 file around a data set; ``extra`` in its File Meta, ``group_length`` as stated."""
    body = lies.get("extra", b"")
    for tag, text in ((0x00020002, CT), (0x00020003, sop_instance_uid), (0x00020010, syntax)):
        value = text.encode()
        body += element(tag, b"UI", value + b"\0" * (len(value) % 2))
    stated = lies.get("group_length", pack("<I", len(body)))
    return bytes(128) + b"DICM" + element(0x00020000, b"UL", stated) + body + data


def places(data: bytes) -> list[tuple[int, int, int]]:
    """Every element of the top level: where it begins, where its value does, where it ends."""
    found, position = [], 0
    while position + 8 <= len(data):
        vr = data[position + 4:position + 6]
        long = vr in LONG_VRS
        value = position + (12 if long else 8)
        length = unpack_from("<I", data, position + 8)[0] if long else unpack_from("<H", data, position + 6)[0]
        found.append((position, value, value + length))
        position = value + length
    return found


@dataclass
class Mangler:
    """Mutates one data set, a little or a lot, and always the same way from the same seed."""

    base: bytes
    random: Random

    def __post_init__(self) -> None:
        self.places = places(self.base)
        self.ways: tuple[Callable[[bytearray], None], ...] = (
            self.lie_of_length, self.lie_of_length, self.lie_of_vr, self.lie_of_tag, self.noise, self.cut, self.repeat,
            self.drop, self.nest, self.stray, self.binary, self.uid)

    def one(self) -> bytes:
        """The next mutation."""
        data = bytearray(self.base)
        for _ in range(self.random.randint(1, 4)):
            self.random.choice(self.ways)(data)
        return bytes(data)

    def _place(self, data: bytearray) -> tuple[int, int, int]:
        start, value, end = self.random.choice(self.places)
        return min(start, len(data)), min(value, len(data)), min(end, len(data))

    def lie_of_length(self, data: bytearray) -> None:
        """Another length than the value has."""
        start, value, end = self._place(data)
        said = self.random.choice((*LENGTHS, end - value + self.random.choice((-1, 1, 2)), self.random.getrandbits(32)))
        if value - start == 12:
            data[start + 8:start + 12] = pack("<I", said & 0xFFFFFFFF)
        elif value - start == 8:
            data[start + 6:start + 8] = pack("<H", said & 0xFFFF)

    def lie_of_vr(self, data: bytearray) -> None:
        """Another VR than the value has."""
        start, *_ = self._place(data)
        data[start + 4:start + 6] = self.random.choice(VRS)

    def lie_of_tag(self, data: bytearray) -> None:
        """Another tag: a delimiter, pixel data, an identity, a counter of frames."""
        start, *_ = self._place(data)
        tag = self.random.choice(TAGS)
        data[start:start + 4] = pack("<HH", tag >> 16, tag & 0xFFFF)

    def noise(self, data: bytearray) -> None:
        """Random bytes somewhere."""
        for _ in range(self.random.randint(1, 16)):
            data[self.random.randrange(len(data))] = self.random.getrandbits(8)

    def cut(self, data: bytearray) -> None:
        """The end is missing."""
        del data[self.random.randrange(1, len(data) + 1):]
        data.extend(b"\0" * (not data))

    def repeat(self, data: bytearray) -> None:
        """An element many times."""
        start, _, end = self._place(data)
        data[start:start] = data[start:end] * self.random.randint(1, 40)

    def drop(self, data: bytearray) -> None:
        """An element less."""
        start, _, end = self._place(data)
        if end - start < len(data):
            del data[start:end]

    def nest(self, data: bytearray) -> None:
        """Sequences within sequences."""
        start, *_ = self._place(data)
        data[start:start] = nested(self.random.choice((1, 5, 63, 64, 65, 200)), undefined=self.random.random() < 0.5)

    def stray(self, data: bytearray) -> None:
        """A delimiter or an item where none belongs."""
        start, *_ = self._place(data)
        data[start:start] = self.random.choice((ITEM_UNDEFINED, ITEM_END, SEQUENCE_END))

    def binary(self, data: bytearray) -> None:
        """A private element full of noise."""
        start, *_ = self._place(data)
        tag = 0x00090000 | self.random.getrandbits(16)
        data[start:start] = element(tag, self.random.choice(VRS), self.random.randbytes(self.random.randint(0, 300)))

    def uid(self, data: bytearray) -> None:
        """A UID that would be a path."""
        tag = self.random.choice((0x00080018, 0x0020000D, 0x0020000E, 0x00080016))
        hostile = self.random.choice(TRAVERSALS).encode()
        data.extend(element(tag, b"UI", hostile + b"\0" * (len(hostile) % 2)))


def mangled_files(seed: int) -> Iterator[bytes]:
    """PS3.10 files without end: mutated data sets under File Meta that may lie too."""
    random = Random(seed)  # noqa: S311  the same seed, the same files
    mangler = Mangler(data_set(rich()), random)
    uid = uid_of("hostile", seed)
    while True:
        data = mangler.one()
        lies: dict[str, bytes] = {}
        syntax = EXPLICIT
        if random.random() < 0.3:
            syntax = random.choice(SYNTAXES)
        if random.random() < 0.1:
            lies["group_length"] = random.randbytes(random.choice((0, 2, 4)))
        if random.random() < 0.1:
            lies["extra"] = element(0x00020100, b"UI", random.randbytes(random.randint(0, 64)))
        if syntax == DEFLATED and random.random() < 0.8:
            engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            data = engine.compress(data) + engine.flush()
        file = part10(data, syntax, sop_instance_uid=uid, **lies)
        yield file[:random.randrange(len(file))] if random.random() < 0.05 else file


def with_pixels(syntax: str, frame: bytes, **claims: object) -> bytes:
    """An image in its place whose one compressed frame is ``frame``."""
    (built, *_) = images(2)
    for keyword, value in claims.items():
        setattr(built, keyword, value)
    del built.PixelData
    frame += b"\0" * (len(frame) % 2)
    pixels = pack("<HHI", 0xFFFE, 0xE000, 0) + pack("<HHI", 0xFFFE, 0xE000, len(frame)) + frame + SEQUENCE_END
    whole = data_set(built) + element(0x7FE00010, b"OB", pixels, length=0xFFFFFFFF)
    return part10(whole, syntax, sop_instance_uid=str(built.SOPInstanceUID))


def jpeg(rows: int, columns: int, *, start_of_frame: int = 0xC0) -> bytes:
    """A JPEG or JPEG-LS stream that claims a size and holds next to nothing."""
    return (b"\xff\xd8\xff" + bytes([start_of_frame]) + pack(">HBHHB", 11, 8, rows, columns, 1) + b"\x01\x11\0"
            + b"\xff\xda" + pack(">HB", 8, 1) + b"\x01\0\0\0\0" + b"\x2a" * 64 + b"\xff\xd9")


def j2k(rows: int, columns: int, *, tile: int = 0, samples: int = 1) -> bytes:
    """A JPEG 2000 stream that claims a size and holds next to nothing."""
    side = tile or max(rows, columns)
    size = pack(">HIIIIIIIIH", 0, columns, rows, 0, 0, side, side, 0, 0, samples) + b"\x0f\x01\x01" * samples
    style = b"\xff\x52" + pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    return (b"\xff\x4f\xff\x51" + pack(">H", len(size) + 2) + size + style + b"\xff\x5c" + pack(">HB", 4, 0x40)
            + b"\x48\xff\x90" + pack(">HHIBB", 10, 0, 0, 0, 1) + b"\xff\x93" + bytes(32) + b"\xff\xd9")


def rle(growth_bytes: int) -> bytes:
    """An RLE frame whose segments decode to ``growth_bytes`` each."""
    segment = b"\x81\x00" * (growth_bytes // 128)
    return pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2


def inflating(megabytes: int) -> bytes:
    """A deflated data set of zeros without end."""
    engine = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    return b"".join([engine.compress(element(0x00091001, b"OB", b"", length=megabytes << 20)),
                     *(engine.compress(zeros) for _ in range(megabytes)), engine.flush()])
