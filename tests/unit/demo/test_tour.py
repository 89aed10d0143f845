"""What the tour may write to, and what it may not remove."""

from __future__ import annotations

from dicomnode.demo import tour
from dicomnode.errors import EXIT_USAGE


def test_a_folder_that_no_tour_made_is_refused_and_nothing_in_it_is_touched(tmp_path, capsys):
    image = tmp_path / "pacs" / "1.dcm"
    image.parent.mkdir()
    image.write_bytes(b"an image")

    assert tour.run(out=tmp_path, study=image.parent, pacs=None) == EXIT_USAGE
    assert image.read_bytes() == b"an image"
    assert "no tour made" in capsys.readouterr().out
