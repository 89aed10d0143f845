"""A running viewer as the tests hold it: a study is opened, a series shown, and the viewer is asked what it has."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, sync_playwright
from playwright.sync_api import TimeoutError as TooLate

from dicomnode.domain.volume import SliceStack
from tests.live import ROOT, need
from tests.viewer_cases import Planes

PROBE = Path(__file__).parent / "viewer" / "probe.js"
SCREENSHOTS = ROOT / "build" / "viewer"
WINDOW = {"width": 1000, "height": 660}
PATIENCE_MS, POLL_MS = 120_000, 100
NO_TOURS = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour', 'basicLongitudinalTour']))"
BROKEN = re.compile(r"something went wrong|error boundary", re.IGNORECASE)
SOFTWARE_GL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
               "--disable-dev-shm-usage"]
TYPES = {"Uint8Array": np.uint8, "Uint16Array": np.uint16, "Int16Array": np.int16, "Float32Array": np.float32}
Rgb = NDArray[np.uint8]


@contextmanager
def viewer_at(url: str) -> Iterator[Viewer]:
    """Start Debian's Chromium once, with a page for the viewer at ``url``."""
    chromium = need("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=SOFTWARE_GL, chromium_sandbox=False)
        try:
            context = browser.new_context(viewport=WINDOW, locale="en-GB", reduced_motion="reduce")
            context.add_init_script(path=PROBE)
            context.add_init_script(NO_TOURS)
            context.set_default_timeout(PATIENCE_MS)
            yield Viewer(context.new_page(), url)
        finally:
            browser.close()


class Viewer:
    """One page of the viewer; what went wrong on it since the last ``open`` is kept."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self._url = page, url
        self.shows = ""
        self._errors: list[str] = []
        self.console: list[str] = []
        page.on("pageerror", lambda error: self._errors.append(f"page error: {error}"))
        page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.console.append(message.text)

    def open(self, name: str, study_uid: str, series_uids: Iterable[str]) -> None:
        """Open a study, wait until the viewer lists these series; its screenshots are named after it."""
        self.shows = ""
        self._errors.clear()
        self.console.clear()
        self.page.goto(f"{self._url}/viewer?StudyInstanceUIDs={study_uid}", wait_until="domcontentloaded")
        wanted = sorted(set(series_uids))
        try:
            self.wait("uids => uids.every(uid => window.probe.series().includes(uid))", wanted)
        except TooLate as late:
            missing = set(wanted) - set(self.ask("series"))
            self.screenshot("not_opened")
            msg = f"the viewer lists {len(wanted) - len(missing)} of {len(wanted)} series, not {sorted(missing)}"
            raise AssertionError(f"{msg}; {self.wrong()}; {self.console[:3]}") from late
        self.wait("() => window.probe.image() !== ''")
        self.shows = name

    def ask(self, what: str, *arguments: object) -> Any:
        return self.page.evaluate(f"given => window.probe.{what}(...given)", list(arguments))

    def wait(self, condition: str, argument: object = None) -> None:
        self.page.wait_for_function(condition, arg=argument, polling=POLL_MS)

    def about(self, series_uid: str) -> dict[str, Any]:
        (about,) = self.ask("about", series_uid)
        return dict(about)

    def show(self, series_uid: str) -> None:
        """Show a series once the one before it is drawn: a viewport taken away while it loads breaks OHIF's page."""
        self.wait("() => window.probe.isSettled()")
        self.page.evaluate("uid => void window.probe.show(uid)", series_uid)

    def show_loaded(self, series_uid: str) -> None:
        self.show(series_uid)
        self.wait("uid => window.probe.isLoaded(uid)", series_uid)

    def look(self, sop_instance_uid: str, frame: int) -> None:
        """Scroll to an image of the series that is shown."""
        self.wait("place => window.probe.look(place)", f"/instances/{sop_instance_uid}/frames/{frame}")

    def segments(self, series_uid: str) -> list[dict[str, Any]]:
        """Return number, label and colour of every segment that the viewer has; not the background of a label map."""
        return [one for one in self.ask("segments", series_uid) if one["number"] > 0]

    def masks(self, series_uid: str) -> dict[str, Planes]:
        """Return the viewer's own label map of a segmentation, per segment label, only planes with voxels."""
        labels = {one["number"]: one["label"] for one in self.segments(series_uid)}
        found: dict[str, Planes] = {label: {} for label in labels.values()}
        for plane in self.ask("planes", series_uid):
            drawn = np.frombuffer(base64.b64decode(plane["data"]), TYPES[plane["type"]]).reshape(plane["shape"])
            for number in np.unique(drawn[drawn != 0]).tolist():
                planes = found[labels[number]]
                place = _place(plane["of"])
                planes[place] = planes[place] | (drawn == number) if place in planes else drawn == number
        return found

    def on_page(self, points_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points of the patient are on the page, n × (x, y) in pixels."""
        return np.asarray(self.ask("onPage", points_lps_mm.tolist()))

    def uncovered(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those points of the page at which the image is on top, not a question or a button."""
        return points[np.asarray(self.ask("uncovered", points.tolist()), dtype=bool)]

    def screenshot(self, name: str = "") -> Rgb:
        """Return the page as rows × columns × RGB; a named one is kept."""
        png = self.page.screenshot()
        if name:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            (SCREENSHOTS / f"{self.shows}_{name}.png").write_bytes(png)
        return np.asarray(Image.open(BytesIO(png)).convert("RGB"))

    def seen(self, name: str, shows: Callable[[Rgb], bool], place: tuple[str, int] | None = None) -> bool:
        """Look at the page, at an image of the series, until it shows what it should; keep the last look.

        The viewer may scroll and fit its viewport late: each look goes to the image again, and ``shows`` asks anew
        where on the page a point is.
        """
        for _ in range(PATIENCE_MS // 3000):
            if place is not None:
                self.look(*place)
            self.ask("render")
            if shows(self.screenshot(name)):
                return True
            self.page.wait_for_timeout(200)
        return False

    def wrong(self) -> list[str]:
        """Return the errors of the page, and whether a part of it gave way to an error message."""
        text = self.page.inner_text("body")
        return [*self._errors, *(["the page shows an error boundary"] if BROKEN.search(text) else [])]


def _place(image_id: str) -> tuple[str, int]:
    """Return SOP Instance UID and frame of an image of the viewer."""
    found = re.search(r"/instances/([0-9.]+)/frames/(\d+)", image_id)
    if found is None:
        msg = f"{image_id}: no instance and frame in it"
        raise AssertionError(msg)
    return found[1], int(found[2])


def differences(wanted: Planes, drawn: Planes) -> list[str]:
    """Return a sentence for each plane on which two masks are not the same, voxel by voxel."""
    found = []
    for place in sorted(wanted.keys() | drawn.keys()):
        one, other = wanted.get(place), drawn.get(place)
        if one is None or other is None:
            found.append(f"{place}: only in {'the viewer' if one is None else 'the mask'}")
        elif one.shape != other.shape or (one != other).any():
            found.append(f"{place}: {int((one != other).sum()) if one.shape == other.shape else 'all'} voxels differ")
    return found


def corners(box_yx: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """Return the corners of a box, on the outer edges of its voxels, as (row, column)."""
    first_row, first_column, last_row, last_column = box_yx
    rows, columns = (first_row - 0.5, last_row + 0.5), (first_column - 0.5, last_column + 0.5)
    return np.array([(rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0])])


def positions_lps_mm(stack: SliceStack, place: tuple[str, int], points: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return where points of a slice, n × (row, column), are in the patient."""
    (plane,) = [one for one in stack.planes if (one.instance.sop_instance_uid, one.frame) == place]
    steps = np.stack([np.asarray(direction) * spacing for direction, spacing in zip(
        (plane.column_lps, plane.row_lps), plane.pixel_spacing_mm, strict=True)])
    return np.asarray(np.asarray(plane.position_lps_mm) + points @ steps)


def along(around: NDArray[np.float64], steps: int = 40) -> NDArray[np.float64]:
    """Return points along a closed line through corners, n × 2."""
    edges = zip(around, np.roll(around, -1, axis=0), strict=True)
    return np.concatenate([np.linspace(first, last, steps, endpoint=False) for first, last in edges])


def share_near(picture: Rgb, points: Sequence[Any] | NDArray[np.float64], colour: Callable[[Rgb], NDArray[np.bool_]],
               reach: int = 2) -> float:
    """Return the share of points that have a pixel of a colour within ``reach`` pixels."""
    met = colour(picture)
    hits = 0
    for x, y in np.rint(np.asarray(points)).astype(int):
        rows, columns = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        hits += bool(met[rows, columns].any())
    return hits / len(points)


def annotation(picture: Rgb) -> NDArray[np.bool_]:
    """Return where OHIF draws annotations: green, or yellow where selected, softened at the edges."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (green > 120) & (green - blue > 60) & ((green - red > 60) | (abs(green - red) < 40))


def near_colour(wanted: Sequence[int], tolerance: int = 24) -> Callable[[Rgb], NDArray[np.bool_]]:
    """Return what tells where a picture has a colour, as a solid line or area."""
    def met(picture: Rgb) -> NDArray[np.bool_]:
        return np.asarray(np.abs(picture.astype(int) - np.asarray(wanted)).max(axis=-1) <= tolerance)
    return met


def tinted(wanted: Sequence[int]) -> Callable[[Rgb], NDArray[np.bool_]]:
    """Return what tells where a picture has a colour however thinly: a line of one pixel, softened."""
    direction = np.asarray(wanted, float) - np.mean(wanted)

    def met(picture: Rgb) -> NDArray[np.bool_]:
        chroma = picture - picture.mean(axis=-1, keepdims=True)
        strength = np.linalg.norm(chroma, axis=-1)
        return np.asarray((strength > 15) & (chroma @ direction > 0.92 * strength * np.linalg.norm(direction)))
    return met
