"""The static page in Chromium: the model in the browser equals the model in PyTorch."""

import functools
import http.server
import shutil
import threading

import pytest
from browser import open_browser, open_page
from test_train import ROOT, run_main

from wavemix_mm.apis import init_model, predict
from wavemix_mm.web.page import EXAMPLES

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")


@pytest.fixture
def address(tmp_path):
    run_main("deployment/browser_demo", "camvid_64-6", "--out", tmp_path)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Print nothing."""

    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_page(address, tmp_path):
    requests = []
    with open_browser() as browser:
        page = open_page(browser, address, requests)
        page.wait_for_function("document.querySelector('#message').innerText === 'Ready.'")
        page.click("#example")
        page.wait_for_selector("#classes tr")
        rows = page.inner_text("#classes").splitlines()
        (tmp_path / "notes.png").write_text("no image")
        page.set_input_files("#file", tmp_path / "notes.png")
        page.wait_for_function("document.querySelector('#message').innerText.includes('no image')")
    assert set(requests) == {"127.0.0.1"}
    config = ROOT / "configs" / "wavemix" / "camvid_64-6.py"
    model = init_model(config, "wavemix_mm://camvid_64-6", "cpu")
    (result,) = predict(model, str(EXAMPLES / "street_1.jpg"))
    shares = {name.strip(): float(share[:-1]) for name, share in (row.split("\t") for row in rows)}
    for name, share in result.shares().items():
        # Chromium's resize to 480x352 is none here, and its JPEG decoder is nearly OpenCV's
        assert shares.get(name, 0) == pytest.approx(100 * share, abs=0.3), name
