"""The web page of a model, in Chromium."""

import re
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import open_browser, open_page

from wavemix_mm.apis import init_model, predict
from wavemix_mm.errors import UserInputError
from wavemix_mm.web.page import EXAMPLES, explain_prediction, launch_page, make_page

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "wavemix"


@pytest.fixture(scope="module")
def segmentor():
    return init_model(CONFIGS / "camvid_64-6.py", "wavemix_mm://camvid_64-6", "cpu")


@pytest.fixture(scope="module")
def classifier():
    return init_model(CONFIGS / "mnist_8-10.py", "wavemix_mm://mnist_8-10", "cpu")


@pytest.fixture(scope="module")
def browser():
    with open_browser() as started:
        yield started


@pytest.fixture(scope="module")
def serve():
    """A function that serves a model's page and returns its address.

    A server that still has a visitor takes 5 seconds to end: tests ask for it before the browser.
    """
    pages = []

    def start(model):
        pages.append(make_page(model, "a_model", max_megapixels=0.5))
        return launch_page(pages[-1], "127.0.0.1", 0, wait=False)

    yield start
    for page in pages:
        page.close()


def drop(page, path):
    with page.expect_file_chooser() as chooser:
        page.locator("#file button").first.click()
    chooser.value.set_files(path)


def legend(page):
    """The classes and rounded shares on the page."""
    page.wait_for_selector("#result .legend")
    return dict(
        line.strip().split("\t") for line in page.inner_text("#result .legend").splitlines()
    )


def expected_legend(model, path):
    (result,) = predict(model, str(path))
    return {name: f"{share:.1%}" for name, share in result.shares().items()}


def test_segmentation_for_two_visitors(segmentor, serve, browser, tmp_path):
    """Upload, example, opacity, occlusion map, bad files; and no request to the outside."""
    address, requests = serve(segmentor), []
    first, second = (open_page(browser, address, requests) for _ in range(2))
    examples = sorted(EXAMPLES.glob("street_*"))
    drop(first, examples[1])
    second.locator("#examples button").first.click()
    assert legend(first) == expected_legend(segmentor, examples[1])
    assert legend(second) == expected_legend(segmentor, examples[0])
    message = first.inner_text("#message")
    assert re.fullmatch(r"480 x 352 pixels, predicted in \d+\.\d{3} s", message.strip())

    def source():
        return first.get_attribute("#picture img", "src")

    before = source()
    first.locator("#opacity input[type=number]").fill("1")
    first.locator("#opacity input[type=number]").press("Enter")
    first.wait_for_function(
        "before => document.querySelector('#picture img').src != before", arg=before
    )
    blended = cv2.imdecode(
        np.frombuffer(first.request.get(source()).body(), np.uint8), cv2.IMREAD_COLOR
    )
    assert len(np.unique(blended.reshape(-1, 3), axis=0)) <= 11

    text, large = tmp_path / "notes.png", tmp_path / "large.png"
    text.write_text("no image")
    cv2.imwrite(str(large), np.zeros((1000, 1000, 3), np.uint8))
    for path, reason in ((text, "notes.png"), (large, "1000 x 1000 pixels: at most 0.5 million")):
        drop(first, path)
        first.wait_for_function(
            "text => document.querySelector('#message').innerText.includes(text)", arg=reason
        )
        assert "cannot be used" in first.inner_text("#message")
    assert str(tmp_path) not in first.content() and not first.locator("#picture img").count()
    assert legend(second) == expected_legend(segmentor, examples[0])  # its own state
    assert len(requests) > 20 and set(requests) == {"127.0.0.1"}


def test_classification(classifier, serve, browser):
    page = open_page(browser, serve(classifier), [])
    for example, name in enumerate(("3 - three", "7 - seven")):
        page.locator("#examples button").nth(example).click()
        page.wait_for_function(
            "name => document.querySelector('#result').innerText.includes(name)", arg=name
        )
    assert len(re.findall(r"\d+%", page.inner_text("#result"))) == 5
    page.click("#explain")
    page.wait_for_selector("#occlusion img")


def test_a_port_that_is_taken(classifier):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserInputError, match=f"127.0.0.1:{port}: the port is taken .* --port"):
            launch_page(make_page(classifier, "tiny"), "127.0.0.1", port, wait=False)


def test_explanation_of_a_digit(classifier):
    """Covering the stroke matters; covering the black border does not."""
    image = cv2.imread(str(EXAMPLES / "digit_7.png"))
    (result,) = predict(classifier, image)
    effects = explain_prediction(classifier, image, result, lambda fraction: None).effects
    assert effects.shape == (7, 7) and effects[2:5, 2:5].max() > 0.1 > abs(effects[:, 0]).max()


def test_explanation_of_a_segmentor(segmentor, monkeypatch):
    """Covering a gray image by its mean color changes nothing."""
    monkeypatch.setattr("wavemix_mm.web.page.CELLS", 2)
    image = np.full((8, 12, 3), 128, np.uint8)
    (result,) = predict(segmentor, image)
    effects = explain_prediction(segmentor, image, result, lambda fraction: None).effects
    assert effects.shape == (2, 2) and not effects.any()
