"""Files that claim, nest or grow beyond all measure, each with what the index and the decoder may say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import pack

from tests.builders import dataset
from tests.hostile import (
    DEFLATED,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    element,
    images,
    inflating,
    j2k,
    jpeg,
    nested,
    part10,
    places,
    rle,
    with_pixels,
)
from tests.upper_layer import data_set

QUARANTINED = "CannotUnderstand"


@dataclass(frozen=True)
class Bomb:
    """A file, and the class of the error at the index and at the decoder; ``ok`` where it may pass the index."""

    content: bytes
    index: str = QUARANTINED
    decode: str = QUARANTINED


def bombs() -> dict[str, Bomb]:
    """Every bomb by name."""
    return {**headers(), **streams()}


def write(folder: Path, made: dict[str, Bomb]) -> Path:
    """Write each into a file that has its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, bomb in made.items():
        (folder / name).write_bytes(bomb.content)
    return folder


def headers() -> dict[str, Bomb]:
    """What the header alone does."""
    plain = data_set(images(2)[0])
    item = pack("<HHI", 0xFFFE, 0xE000, 0)
    tiny = b"".join(element(0x00090000 + (number >> 15 << 17) + (number & 0x7FFF), b"UN", b"")
                    for number in range(150_000))
    return {
        "two-billion-frames": Bomb(part10(_with(NumberOfFrames=str(2**31 - 1), SharedFunctionalGroupsSequence=[
            dataset()]))),
        "thousands-of-tiny-elements": Bomb(part10(tiny + plain)),
        "two-million-items": Bomb(part10(plain_with(element(0x52009230, b"SQ", item * 2_100_000)))),
        "a-million-values": Bomb(part10(plain_with(element(0x00080008, b"UT", b"A\\" * 1_000_000)))),
        "a-million-values-unknown-vr": Bomb(part10(plain_with(element(0x00181210, b"UN", b"A\\" * 1_000_000)))),
        "nested-10000-undefined": Bomb(part10(plain_with(nested(10_000, undefined=True)))),
        "nested-10000-defined": Bomb(part10(plain_with(nested(10_000, undefined=False)))),
        "four-gigabytes-claimed": Bomb(part10(plain_with(element(0x00091001, b"OB", b"x", length=0xFFFFFFFE)))),
        "deflated-600-mb": Bomb(part10(inflating(600), DEFLATED)),
        "implicit-nested-10000": Bomb(part10(b"\x08\0\x40\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 10_000,
                                             IMPLICIT)),
    }


def streams() -> dict[str, Bomb]:
    """What the pixel data do."""
    wrong = {"index": "ok", "decode": "UndecodablePixels"}
    large = {"Rows": 65535, "Columns": 65535}
    return {
        "native-17-gb": Bomb(part10(_with(**large, NumberOfFrames="10000")), **wrong),
        "jpeg-65500": Bomb(with_pixels(JPEG, jpeg(65500, 65500), BitsAllocated=8, BitsStored=8, HighBit=7), **wrong),
        "jpeg-lossless-65500": Bomb(with_pixels(JPEG_LOSSLESS, jpeg(65500, 65500, start_of_frame=0xC3)), **wrong),
        "jpeg-ls-65500": Bomb(with_pixels(JPEG_LS, jpeg(65500, 65500, start_of_frame=0xF7)), **wrong),
        "jpeg-2000-60000": Bomb(with_pixels(J2K, j2k(60000, 60000)), **wrong),
        "jpeg-2000-four-billion": Bomb(with_pixels(J2K, j2k(0xFFFFFFFF, 0xFFFFFFFF)), **wrong),
        "jpeg-2000-tiles": Bomb(with_pixels(J2K, j2k(1024, 1024, tile=1), Rows=1024, Columns=1024), **wrong),
        "jpeg-2000-16000-samples": Bomb(with_pixels(J2K, j2k(8, 8, samples=16000)), **wrong),
        "jpeg-2000-both-lie": Bomb(with_pixels(J2K, j2k(65535, 65535), **large), **wrong),
        "rle-1-gb": Bomb(with_pixels(RLE, rle(1 << 30)), **wrong),
        "rle-no-segments": Bomb(with_pixels(RLE, b"\xff" * 64), **wrong),
    }


def plain_with(extra: bytes) -> bytes:
    """An image's header with an element more, in its order, and its pixels after."""
    whole = data_set(images(2)[0])
    tag = _tag(extra)
    before = b"".join(whole[start:end] for start, _, end in places(whole) if _tag(whole[start:]) < tag)
    after = b"".join(whole[start:end] for start, _, end in places(whole) if _tag(whole[start:]) > tag)
    return before + extra + after


def _tag(head: bytes) -> int:
    return int.from_bytes(head[0:2], "little") << 16 | int.from_bytes(head[2:4], "little")


def _with(**attributes: object) -> bytes:
    built = images(2)[0]
    for keyword, value in attributes.items():
        setattr(built, keyword, value)
    return data_set(built)
