"""What a person sees: the status page, a study's page, and the words for what went wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from dicomnode.ledger import events
from dicomnode.web.pages import STYLE

UID = "1.3.12.2.1107.5.1.4.66038.3000002603140756{0:05d}000000{0:03d}"
EXTERNAL = re.compile(r"""(?:src|href|action)=["']?(?:https?:)?//|@import|url\(|<script""", re.IGNORECASE)
VOID = {"meta", "link", "br", "img", "input", "hr"}


class _Balance(HTMLParser):
    """Fails where a tag is closed that is not the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def is_well_formed(text: str) -> bool:
    parser = _Balance()
    parser.feed(text)
    return parser.open == []


def outcomes(text: str) -> list[str]:
    table = text.split("Latest studies", 1)[1].split("</table>", 1)[0]
    return re.findall(r'class="pill \w+">([^<]+)<', table)


def test_the_page_shows_every_study_with_its_outcome_newest_first(evening):
    page = evening.get("/")
    assert page.status == 200
    assert outcomes(page.text) == [
        "receiving", "waiting", "analysing", "delivering", "undelivered", "not analysed", "not analysed",
        "not applicable", "analysed",
    ]
    assert "MissingSlices: gap of 7.0 mm after slice 12 where 4.0 mm is the spacing" in page.text
    for number in range(1, 10):
        assert f'href="/study/{UID.format(number)}"' in page.text


def test_each_problem_says_what_why_and_what_to_do(evening):
    text = evening.get("/").text
    assert "1 job of route chest-ct failed" in text
    assert "ModelProcessDied: signal 11 after 41 s" in text
    assert "<code>dicomnode requeue --failed --peer archive</code>" in text
    assert "PeerUnreachable: 127.0.0.1:4242 refuses the connection" in text
    assert "4 things need a person" in text


def test_a_delivery_that_is_retried_says_when(evening):
    assert "try 2 in 1 min 35 s" in evening.get("/").text


def test_a_healthy_node_says_that_nothing_needs_you(ward):
    ward.start("receiver", "keeper", "worker", "sender")
    text = ward.get("/").text
    assert "Nothing needs you." in text
    assert "No study has arrived yet. Send one to DICOMNODE, port 11112." in text


def test_a_role_that_does_not_run_is_named(ward):
    ward.start("receiver", "keeper", "sender")
    text = ward.get("/").text
    assert re.search(r'class="role gone">\s*worker not running', text)
    assert "not running on this machine: worker" in text


def test_a_study_has_its_timeline_with_the_seconds_of_each_stage(evening):
    page = evening.get(f"/study/{UID.format(1)}")
    assert page.status == 200
    kinds = re.findall(r'<div class="what">\s*<p><b>([^<]+)</b>', page.text)
    assert kinds[0] == "study opened"
    assert kinds[-1] == "delivery completed"
    assert "inference <b>3.9 s</b>" in page.text
    assert "status <b>0x0000</b>" in page.text


def test_a_study_that_still_changes_refreshes_itself_and_a_finished_one_rests(evening):
    assert 'http-equiv="refresh"' in evening.get(f"/study/{UID.format(7)}").text
    assert 'http-equiv="refresh"' not in evening.get(f"/study/{UID.format(1)}").text


@pytest.mark.parametrize("path", [
    "/study/1.2.3", "/study/no-uid", "/study/1.2.3/more", "/nothing", "/study/%00", "/study/..", "/static/style.css",
])
def test_what_is_not_there_is_a_404_in_words(evening, path):
    page = evening.get(path)
    assert page.status == 404
    assert "There is no such page, or no such study" in page.text


def test_a_text_from_outside_is_escaped_everywhere(evening):
    hostile = "<script>alert(1)</script>`<b>x</b>`"
    with evening.ledger.write() as c:
        events.record(c, at=evening.now, kind=events.ROUTE_REFUSED, study_uid=UID.format(3), text=hostile,
                      data={"route": hostile})
    evening.job(UID.format(3), evening.now, route=hostile)
    evening.fail(evening.claim(evening.now), evening.now, f"ModelFailed: {hostile}")
    evening.fail(evening.claim(evening.now), evening.now, f"ModelFailed: {hostile}")
    for path in ("/", f"/study/{UID.format(3)}"):
        text = evening.get(path).text
        assert "&lt;script&gt;" in text
        assert "<script" not in text
        assert "<b>x" not in text


@pytest.mark.parametrize("path", ["/", f"/study/{UID.format(1)}", f"/study/{UID.format(3)}", "/study/1.2"])
def test_a_page_is_well_formed_and_loads_nothing_from_elsewhere(evening, path):
    text = evening.get(path).text
    assert is_well_formed(text)
    assert not EXTERNAL.search(text.replace("http://www.w3.org/2000/svg", ""))


def test_the_policy_allows_our_style_and_nothing_else(ward):
    page = ward.get("/")
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert page.text.split("<style>", 1)[1].split("</style>", 1)[0] == STYLE
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed_through_the_web(ward, method):
    assert ward.get("/", method=method).status == 405


def test_no_answer_names_a_patient(evening):
    paths = ["/", "/health", "/metrics", "/nothing", "/study/1.2.3", *(f"/study/{UID.format(n)}" for n in range(1, 10))]
    for path in paths:
        page = evening.get(path)
        assert "unmistakable" not in page.text.lower(), path
        assert "unmistakable" not in json.dumps(page.headers).lower(), path


def test_while_the_database_is_away_the_page_says_so_with_503(evening):
    take_database_away(evening)
    page = evening.get("/")
    assert page.status == 503
    assert "Database away" in page.text
    assert "kept on disk" in page.text
    assert "Traceback" not in page.text
    assert "receiver ×1" in page.text


def test_while_the_database_is_away_a_study_page_says_so_with_503(evening):
    take_database_away(evening)
    page = evening.get(f"/study/{UID.format(1)}")
    assert page.status == 503
    assert "Database away" in page.text
    assert is_well_formed(page.text)


def test_the_database_may_go_away_between_two_questions(evening, monkeypatch):
    state = evening.ledger.read
    calls = []

    def read():
        calls.append(1)
        if len(calls) == 2:
            take_database_away(evening)
        return state()

    monkeypatch.setattr(evening.ledger, "read", read)
    assert evening.get("/").status == 503


def take_database_away(ward) -> None:
    ward.ledger.dispose()
    for file in ward.config.node.data_dir.glob("dicomnode.sqlite*"):
        file.rename(file.with_name("away-" + file.name))
