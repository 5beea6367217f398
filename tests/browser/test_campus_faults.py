"""Uploads that cannot be: clear words, nothing half-stored to be seen, nothing to choose again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.harness import s3servers
from tests.harness.http_proxy import HttpProxy
from tests.harness.machine import MOUNTS, need
from tests.harness.mounting import tmpfs
from tests.harness.tcp_proxy import Proxy
from tests.harness.waiting import eventually

from .campus import Campus, choose, deliver, drop, faults, running, slow_line, windows, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

    from .campus import Open
    from .window import Window

pytest_plugins = ["tests.browser.campus_fixtures"]

GROUP = "/groups/1/"
MiB = 1024**2
TOO_LARGE = 20 * MiB + 1


@pytest.fixture(autouse=True)
def untouched(campus: Campus) -> Iterator[None]:
    """Whatever a test delivers in the end, nothing unfinished is left."""
    yield
    unfinished = "SELECT id FROM devilry_deliveries_delivery WHERE NOT successful"
    assert campus.shown.rows(unfinished) == []


def listed(window: Window) -> int:
    """Return how many deliveries the page of the group shows."""
    other = window.context.new_page()
    other.goto(f"{window.url}{GROUP}")
    count = other.locator("#deliveries ~ .files li").count()
    other.close()
    return count


def press(window: Window) -> None:
    window.page.click("[data-deliver]")


def test_too_large_file_is_told_before_anything_is_sent(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """Nobody waits for a refusal; once the file is removed the others are delivered."""
    sent = written(tmp_path / "sent", {"small.txt": b"s", "large.bin": bytes(TOO_LARGE)})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    requests: list[str] = []
    window.page.on("request", lambda request: requests.append(request.method))
    choose(window, sent)
    press(window)
    assert faults(window) == [
        "“large.bin”: the file is too large: it has 20.0 MB, the maximum is 20.0 MB."
    ]
    assert "POST" not in requests
    assert campus.deliveries() == before
    assert window.page.evaluate("document.activeElement.getAttribute('role')") == "alert"
    window.page.click("[aria-label='Remove large.bin']")
    assert window.page.locator("[role=alert] li").count() == 0
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["small.txt"]
    window.assert_sound()


def test_server_refuses_what_the_script_did_not_foresee(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """The script only saves time; the server's words are shown in the page, the files kept."""
    sent = written(tmp_path / "sent", {"small.txt": b"s", "large.bin": bytes(TOO_LARGE)})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    window.page.evaluate("document.querySelector('[data-upload]').dataset.maxBytes = 1e12")
    choose(window, sent)
    press(window)
    told = (
        "“large.bin”: the file is too large: it has 20971521 bytes, the maximum is 20971520 bytes."
    )
    assert faults(window) == [told]
    assert window.faults == [f"422: {window.url}{GROUP}"]
    assert campus.deliveries() == before
    window.page.click("[aria-label='Remove large.bin']")
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["small.txt"]


def test_too_large_file_without_a_script_is_told_on_the_page(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """The page comes back with the words, and the list of deliveries is as it was."""
    sent = written(tmp_path / "sent", {"large.bin": bytes(TOO_LARGE)})
    before = campus.deliveries()
    window = opened("anna", script=False)
    window.go(GROUP)
    drop(window, [each.path for each in sent])
    press(window)
    told = (
        "“large.bin”: the file is too large: it has 20971521 bytes, the maximum is 20971520 bytes."
    )
    assert faults(window) == [told]
    assert "Nothing was delivered." in window.page.locator("[role=alert]").inner_text()
    assert campus.deliveries() == before
    window.assert_sound()


@pytest.mark.parametrize("script", [True, False])
def test_full_disk_is_told_and_nothing_of_it_is_shown(
    campus: Campus, opened: Open, tmp_path: Path, script: bool
) -> None:
    """The file is named; with the script it is still chosen, and arrives once there is room."""
    need(MOUNTS)
    sent = written(tmp_path / "sent", {"essay.pdf": bytes(MiB)})
    before = campus.deliveries()
    window = opened("anna", script=script)
    window.go(GROUP)
    shown = listed(window)
    own = Path(campus.shown.store, ".devilry-storage")
    mark = (own / "store.json").read_bytes()
    with tmpfs(campus.shown.store, "256k"):
        (own / "tmp").mkdir(parents=True, mode=0o700)
        (own / "store.json").write_bytes(mark)  # otherwise it is not the store's disk
        drop(window, [each.path for each in sent])
        press(window)
        (told,) = faults(window)
        assert "“essay.pdf” was not stored, because the server has no space left" in told
        assert campus.deliveries() == before
        assert listed(window) == shown
    if script:
        assert window.page.locator("[data-state]").inner_text() == ""
        deliver(window)
        assert window.page.locator("main .files .name").all_inner_texts() == ["essay.pdf"]
        assert listed(window) == shown + 1


@pytest.mark.servers
def test_dead_s3_is_told_and_nothing_of_it_is_shown(browser: Browser, tmp_path: Path) -> None:
    """The words name the file and no server; the page shows the deliveries that there were."""
    server = s3servers.need("moto")
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    with ExitStack() as alive:
        proxy = alive.enter_context(HttpProxy(server.endpoint_url))
        variables = {
            "DELIVERY_STORE": "s3",
            "AWS_STORAGE_BUCKET_NAME": server.bucket(),
            "AWS_S3_ENDPOINT_URL": proxy.endpoint_url,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_DEFAULT_REGION": server.region,
        }
        with running(tmp_path, **variables) as site, windows(browser, site) as opened:
            window = opened("anna")
            window.go(GROUP)
            choose(window, sent)
            deliver(window)
            window.go(GROUP)
            before, shown = site.deliveries(), listed(window)
            alive.close()  # nobody listens there any more
            choose(window, sent)
            press(window)
            (told,) = faults(window)
            assert told == (
                "Nothing was delivered: “essay.pdf” was not stored, because the file storage does "
                "not respond; try again later."
            )
            assert site.deliveries() == before
            assert listed(window) == shown >= 1


def test_cancelled_upload_delivers_nothing_and_can_be_sent_again(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """What had arrived by then is not taken for all of it."""
    files = {f"{number}.bin": bytes(MiB) for number in range(5)}
    sent = written(tmp_path / "sent", files)
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    with slow_line(window, 2 * MiB):
        press(window)
        window.page.get_by_text(re.compile("^[1-8]0 % sent")).wait_for()
        window.page.click("[data-cancel]")
        assert faults(window) == ["You cancelled the upload. Your files are still selected."]
        assert window.page.locator("[data-sending]").is_hidden()
    deliver(window)
    assert window.page.locator("main .files li").count() == 5
    assert campus.deliveries() == before + 1


def test_cancelled_upload_stays_cancelled_whatever_is_answered_later(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """As what the page asks before it sends anything."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    window.page.route(f"**{GROUP}", hold)
    press(window)
    window.page.click("[data-cancel]")
    assert faults(window) == ["You cancelled the upload. Your files are still selected."]
    (asked,) = held
    with window.page.expect_event("requestfailed"):
        asked.abort()
    assert faults(window) == ["You cancelled the upload. Your files are still selected."]
    window.page.unroute(f"**{GROUP}")
    assert campus.deliveries() == before
    deliver(window)
    assert campus.deliveries() == before + 1


def test_failing_server_is_told_before_anything_is_sent(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """Nothing was delivered, and nobody is told to log in."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    window.page.route(f"**{GROUP}", lambda route: route.fulfill(status=503))
    press(window)
    assert faults(window) == [
        "The server reported an error (503). Try again later, or contact the administrators."
    ]
    assert "Nothing was delivered." in window.page.locator("[role=alert]").inner_text()


def test_broken_connection_is_told_and_the_files_are_still_chosen(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """A student in a train."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    window.context.set_offline(True)
    press(window)
    assert faults(window) == [
        "The connection was lost. Your files are still selected. Please try again."
    ]
    window.context.set_offline(False)
    assert campus.deliveries() == before
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["essay.pdf"]


def test_what_is_all_sent_is_not_called_off_any_more(
    browser: Browser, campus: Campus, tmp_path: Path
) -> None:
    """The server delivers it, whoever has gone: nobody is told that it did not."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    before = len(campus.finished())
    with (
        Proxy("127.0.0.1", urlsplit(campus.url).port or 80) as proxy,
        windows(browser, campus.at(f"http://127.0.0.1:{proxy.port}")) as opened,
    ):
        window = opened("anna")
        window.go(GROUP)
        choose(window, sent)
        with campus.busy():
            press(window)
            window.page.get_by_text("All files were sent and are being stored.").wait_for()
            window.page.click("[data-cancel]", force=True)
            assert window.page.locator("[data-sending]").is_visible()
            proxy.close()
            (told,) = faults(window)
        assert told.startswith(
            "The connection was lost after all files were sent. Check in another tab"
        )
        assert "Nothing was delivered." not in window.page.locator("[role=alert]").inner_text()
    assert eventually(lambda: len(campus.finished()) == before + 1)


def test_ended_session_is_told_in_the_page(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """Logging in again in another tab is enough: the files need not be chosen again."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    window.context.clear_cookies(name="sessionid")
    press(window)
    assert faults(window) == [
        "You are no longer logged in. Log in in another tab, then deliver again here."
    ]
    assert campus.deliveries() == before
    other = window.context.new_page()
    other.goto(f"{window.url}/login/")
    other.fill("[name=username]", "anna")
    other.fill("[name=password]", campus.password())
    other.click("main button")
    other.wait_for_url(f"{window.url}/")
    other.close()
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["essay.pdf"]
