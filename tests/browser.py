"""A headless Chromium for tests of pages, which notes every request."""

import contextlib
import shutil
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def open_browser():
    """Start Chromium; skip the test if it is missing."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, and containers have little shared memory
        options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


def open_page(browser, address, requests):
    """Open a page as a visitor of its own, and add the host of each request to a list."""
    page = browser.new_context(viewport=dict(width=1200, height=900)).new_page()
    page.set_default_timeout(30000)

    def note(request):
        if not request.url.startswith(("data:", "blob:")):  # which ask nobody
            requests.append(urlsplit(request.url).hostname)

    page.on("request", note)
    page.goto(address)
    return page
