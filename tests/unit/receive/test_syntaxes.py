from __future__ import annotations

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicomnode.receive.syntaxes import DECODERS, decodable_transfer_syntaxes

JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"


def test_only_decodable_little_endian_syntaxes_are_offered_uncompressed_first():
    offered = decodable_transfer_syntaxes()
    assert offered[:3] == ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99")
    assert "1.2.840.10008.1.2.2" not in offered
    assert all(UID(uid).is_little_endian for uid in offered)
    assert len(set(offered)) == len(offered)


def test_jpeg_extended_is_offered_only_with_a_decoder_that_reads_12_bits():
    plugins = get_decoder("1.2.840.10008.1.2.4.51").available_plugins
    assert ("1.2.840.10008.1.2.4.51" in decodable_transfer_syntaxes()) == ("pylibjpeg" in plugins)


def test_with_the_decoders_of_the_distribution_every_listed_family_is_there():
    offered = set(decodable_transfer_syntaxes())
    assert offered >= {
        "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.57",
        "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201"}


def test_the_table_of_decoders_says_what_the_decoders_themselves_say():
    for transfer_syntax, packages in DECODERS.items():
        plugins = set(get_decoder(transfer_syntax).available_plugins) - {"pillow"}
        if transfer_syntax == JPEG_EXTENDED:
            plugins -= {"gdcm"}  # refuses 12 bits
        assert (transfer_syntax in decodable_transfer_syntaxes()) == bool(plugins), (packages, plugins)
