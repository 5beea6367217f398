"""Failing uploads: clear messages, no visible partial deliveries, and files that stay chosen."""

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

from .campus import Campus, choose, deliver, drop, errors, running, slow_line, windows, written

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

    from .campus import Open
    from .window import Window

pytest_plugins = ["tests.browser.campus_fixtures"]

GROUP = "/groups/1/"
MiB = 1024**2
TOO_LARGE = 20 * MiB + 1


@pytest.fixture(autouse=True)
def nothing_unfinished(campus: Campus) -> Iterator[None]:
    """Check that no test leaves an unfinished delivery."""
    yield
    unfinished = "SELECT id FROM devilry_deliveries_delivery WHERE NOT successful"
    assert campus.shown.rows(unfinished) == []


def listed(window: Window) -> int:
    """Return the number of deliveries on the page of the group."""
    other = window.context.new_page()
    other.goto(f"{window.url}{GROUP}")
    count = other.locator("#deliveries ~ .files li").count()
    other.close()
    return count


def press(window: Window) -> None:
    window.page.click("[data-deliver]")


def test_too_large_file_is_reported_before_upload(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """The other files can be delivered once it is removed."""
    sent = written(tmp_path / "sent", {"small.txt": b"s", "large.bin": bytes(TOO_LARGE)})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    requests: list[str] = []
    window.page.on("request", lambda request: requests.append(request.method))
    choose(window, sent)
    press(window)
    assert errors(window) == [
        "“large.bin”: the file is too large: it is 20.0 MB, the maximum is 20.0 MB."
    ]
    assert "POST" not in requests
    assert campus.deliveries() == before
    assert window.page.evaluate("document.activeElement.getAttribute('role')") == "alert"
    window.page.click("[aria-label='Remove large.bin']")
    assert window.page.locator("[role=alert] li").count() == 0
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["small.txt"]
    window.assert_sound()


def test_error_of_the_server_is_shown(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """The script shows the server's message and keeps the chosen files."""
    sent = written(tmp_path / "sent", {"small.txt": b"s", "large.bin": bytes(TOO_LARGE)})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    window.page.evaluate("document.querySelector('[data-upload]').dataset.maxBytes = 1e12")
    choose(window, sent)
    press(window)
    message = (
        "“large.bin”: the file is too large: it is 20971521 bytes, the maximum is 20971520 bytes."
    )
    assert errors(window) == [message]
    assert window.faults == [f"422: {window.url}{GROUP}"]
    assert campus.deliveries() == before
    window.page.click("[aria-label='Remove large.bin']")
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["small.txt"]


def test_too_large_file_is_reported_without_script(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """Nothing is delivered."""
    sent = written(tmp_path / "sent", {"large.bin": bytes(TOO_LARGE)})
    before = campus.deliveries()
    window = opened("anna", script=False)
    window.go(GROUP)
    drop(window, [file.path for file in sent])
    press(window)
    message = (
        "“large.bin”: the file is too large: it is 20971521 bytes, the maximum is 20971520 bytes."
    )
    assert errors(window) == [message]
    assert "Nothing was delivered." in window.page.locator("[role=alert]").inner_text()
    assert campus.deliveries() == before
    window.assert_sound()


@pytest.mark.parametrize("script", [True, False])
def test_full_disk_is_reported(campus: Campus, opened: Open, tmp_path: Path, script: bool) -> None:
    """The message names the file. With the script it stays chosen and can be sent again."""
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
        (own / "store.json").write_bytes(mark)  # the mark of the store
        drop(window, [file.path for file in sent])
        press(window)
        (message,) = errors(window)
        assert "“essay.pdf” was not stored, because the server has no space left" in message
        assert campus.deliveries() == before
        assert listed(window) == shown
    if script:
        assert window.page.locator("[data-state]").inner_text() == ""
        deliver(window)
        assert window.page.locator("main .files .name").all_inner_texts() == ["essay.pdf"]
        assert listed(window) == shown + 1


@pytest.mark.servers
def test_unreachable_s3_is_reported(browser: Browser, tmp_path: Path) -> None:
    """The message names the file and no server."""
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
            alive.close()  # stops the proxy
            choose(window, sent)
            press(window)
            (message,) = errors(window)
            assert message == (
                "Nothing was delivered: “essay.pdf” was not stored, because the file storage does "
                "not respond; try again later."
            )
            assert site.deliveries() == before
            assert listed(window) == shown >= 1


def test_cancelled_upload_delivers_nothing(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """The files can be sent again."""
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
        assert errors(window) == ["You cancelled the upload. Your files are still selected."]
        assert window.page.locator("[data-sending]").is_hidden()
    deliver(window)
    assert window.page.locator("main .files li").count() == 5
    assert campus.deliveries() == before + 1


def test_late_response_to_cancelled_upload_is_ignored(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """Such as that to the request which precedes the upload."""
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
    assert errors(window) == ["You cancelled the upload. Your files are still selected."]
    (request,) = held
    with window.page.expect_event("requestfailed"):
        request.abort()
    assert errors(window) == ["You cancelled the upload. Your files are still selected."]
    window.page.unroute(f"**{GROUP}")
    assert campus.deliveries() == before
    deliver(window)
    assert campus.deliveries() == before + 1


def test_failing_server_is_reported_before_upload(
    campus: Campus, opened: Open, tmp_path: Path
) -> None:
    """The message does not ask users to log in."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    window.page.route(f"**{GROUP}", lambda route: route.fulfill(status=503))
    press(window)
    assert errors(window) == [
        "The server reported an error (503). Try again later, or contact the administrators."
    ]
    assert "Nothing was delivered." in window.page.locator("[role=alert]").inner_text()


def test_broken_connection_is_reported(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """The files stay chosen and can be sent again."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    window.context.set_offline(True)
    press(window)
    assert errors(window) == [
        "The connection was lost. Your files are still selected. Please try again."
    ]
    window.context.set_offline(False)
    assert campus.deliveries() == before
    deliver(window)
    assert window.page.locator("main .files .name").all_inner_texts() == ["essay.pdf"]


def test_complete_upload_cannot_be_cancelled(
    browser: Browser, campus: Campus, tmp_path: Path
) -> None:
    """The server delivers it, and the page does not report a failure."""
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
            (message,) = errors(window)
        assert message.startswith(
            "The connection was lost after all files were sent. Check in another tab"
        )
        assert "Nothing was delivered." not in window.page.locator("[role=alert]").inner_text()
    assert eventually(lambda: len(campus.finished()) == before + 1)


def test_ended_session_is_reported(campus: Campus, opened: Open, tmp_path: Path) -> None:
    """After a login in another tab the same files can be delivered."""
    sent = written(tmp_path / "sent", {"essay.pdf": b"An essay."})
    before = campus.deliveries()
    window = opened("anna")
    window.go(GROUP)
    choose(window, sent)
    window.context.clear_cookies(name="sessionid")
    press(window)
    assert errors(window) == [
        "You are no longer logged in. Use another tab to log in again, then press Deliver here."
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
