"""Pictures of more than 8 bits a channel are refused; those of fewer are read as they look."""

import struct
import zlib

import numpy as np
import pytest
from conftest_shown import KEY, STORED, refused, shown
from PIL import Image

from moe_distill.data.pictures import header


def png(path, bits, kind, channels):
    """Write a PNG of 4×4 zeros with so many bits a channel, of a colour type."""
    rows = zlib.compress(bytes(4 * (1 + 4 * bits * channels // 8)))
    parts = (b"IHDR" + struct.pack(">IIBBBBB", 4, 4, bits, kind, 0, 0, 0), b"IDAT" + rows, b"IEND")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    return path


def tiff(path, bits, channels, compression=1):
    """Write a TIFF of 2×2 zeros with so many bits in each channel."""
    data = bytes(4 * channels * bits // 8)
    data = data if compression == 1 else zlib.compress(data)
    entries = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, channels, 122), (259, 3, 1, compression)]
    entries += [
        (262, 3, 1, 2 if channels == 3 else 1),
        (273, 4, 1, 200),
        (277, 3, 1, channels),
        (278, 3, 1, 2),
    ]
    entries += [(279, 4, 1, len(data))]
    entries[2] = (258, 3, channels, bits if channels == 1 else 122)
    table = (
        b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    )
    path.write_bytes(
        table.ljust(122, b"\0") + struct.pack(f"<{channels}H", *[bits] * channels).ljust(78, b"\0") + data
    )
    return path


def ppm(path, head):
    path.write_bytes(head + bytes(24 * 4))
    return path


def avif(path, flags):
    """Write an AVIF that says of itself what the flags say; its pixels have 8 bits."""
    Image.new("RGB", (16, 16)).save(path)
    bits = bytes([{0x40: 10, 0x60: 12}.get(flags, 8)]) * 3
    data = bytearray(path.read_bytes())
    data[data.index(b"av1C") + 6] |= flags
    path.write_bytes(bytes(data).replace(b"pixi\0\0\0\0\3\x08\x08\x08", b"pixi\0\0\0\0\3" + bits))
    return path


DEEP = {
    "PNG, gray": (16, lambda p: png(p, 16, 0, 1)),
    "PNG, colours": (16, lambda p: png(p, 16, 2, 3)),
    "PNG, gray and clear": (16, lambda p: png(p, 16, 4, 2)),
    "PNG, colours and clear": (16, lambda p: png(p, 16, 6, 4)),
    "TIFF, gray": (16, lambda p: tiff(p, 16, 1)),
    "TIFF, colours": (16, lambda p: tiff(p, 16, 3)),
    "TIFF, packed": (16, lambda p: tiff(p, 16, 3, 8)),
    "PGM": (16, lambda p: ppm(p, b"P5 4 4 65535\n")),
    "PGM of ten bits": (16, lambda p: ppm(p, b"P5 4 4 1023\n")),
    "PPM": (16, lambda p: ppm(p, b"P6 4 4 65535\n")),
    "PPM as text": (16, lambda p: ppm(p, b"P3 4 4 1023\n")),
    "PFM": (32, lambda p: ppm(p, b"Pf 4 4 1.0\n")),
    "AVIF of ten bits": (10, lambda p: avif(p.with_suffix(".avif"), 0x40)),
    "AVIF of twelve bits": (12, lambda p: avif(p.with_suffix(".avif"), 0x60)),
}


@pytest.mark.parametrize(("bits", "put"), DEEP.values(), ids=DEEP)
def test_more_than_8_bits_a_channel_are_refused_whatever_the_kind(tmp_path, bits, put):
    path = put(tmp_path / "x.png")
    refused(rf"x\.(png|avif): images of 8 bits a channel; this one has {bits}$", header, path, KEY)
    refused(f"8 bits a channel; this one has {bits}$", shown, path)


SHALLOW = {f"PNG, gray of {bits} bits": lambda p, bits=bits: png(p, bits, 0, 1) for bits in (1, 2, 4, 8)}
SHALLOW |= {
    f"PNG of {n} channels": lambda p, n=n, kind=kind: png(p, 8, kind, n)
    for n, kind in ((2, 4), (3, 2), (4, 6))
}
SHALLOW |= {
    f"PBM, PGM or PPM, {head}": lambda p, head=head: ppm(p, head) for head in (b"P4 4 4\n", b"P5 4 4 15\n")
}
SHALLOW |= {
    "PPM": lambda p: ppm(p, b"P6 4 4 255\n"),
    "TIFF": lambda p: tiff(p, 8, 3),
    "packed": lambda p: tiff(p, 8, 3, 8),
}
SHALLOW |= {"AVIF": lambda p: avif(p.with_suffix(".avif"), 0)}


@pytest.mark.parametrize("put", SHALLOW.values(), ids=SHALLOW)
def test_up_to_8_bits_a_channel_are_read(tmp_path, put):
    assert shown(put(tmp_path / "x.png")).mode == "RGB"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_any_size_are_read(tmp_path, bits):
    image = STORED.quantize(2**bits)
    image.save(tmp_path / "x.png", bits=bits)
    assert np.array_equal(np.asarray(shown(tmp_path / "x.png")), np.asarray(image.convert("RGB")))
