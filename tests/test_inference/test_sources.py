"""Inputs of a command: what words name, and names of the outputs."""

import io

import cv2
import numpy as np
import pytest

from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.inference.outputs import check_outputs
from wavemix_mm.inference.sources import Video, find_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("a/x.png", "a/x.JPG", "b/x.png", "b/deep/y.jpg", "b/note.txt", "clip.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*words, lines=""):
    return {
        source.path.as_posix(): source.name for source in find_sources(words, io.StringIO(lines))
    }


def test_files_folders_patterns_and_lists(folder):
    assert names("a/x.png", "no.png") == {"a/x.png": "x", "no.png": "no"}
    assert names("b") == {"b/x.png": "x", "b/deep/y.jpg": "deep/y"}
    assert names("l" * 300) == {"l" * 300: "l" * 300}
    assert names("*/*.png") == {"a/x.png": "x", "b/x.png": "x_2"}
    assert names("**/y.jpg") == {"b/deep/y.jpg": "y"}
    assert names("-", lines="a/x.png\n\n  b/deep \n") == {"a/x.png": "x", "b/deep/y.jpg": "y"}
    (video,) = find_sources(["clip.mp4"], [])
    assert video.is_video


def test_each_file_is_taken_once_and_each_name_is_given_once(folder):
    (folder / "link").symlink_to("a")
    assert names("a/x.png", "a", "link", "b") == {
        "a/x.png": "x", "a/x.JPG": "x_2", "b/x.png": "x_3", "b/deep/y.jpg": "deep/y",
    }  # fmt: skip
    (folder / "X_2.png").touch()
    assert names("a/x.png", "b/x.png", "X_2.png")["X_2.png"] == "X_2_2"


def test_odd_entries_of_a_folder(folder):
    (folder / "odd/folder.png").mkdir(parents=True)
    (folder / "odd/loop.png").symlink_to("loop.png")
    assert names("odd") == {"odd/loop.png": "loop"}
    check_outputs(folder / "out", find_sources(["odd"], []))


def test_images_among_the_frames_of_a_video(folder):
    (folder / "clip").mkdir()
    (folder / "clip/000000.png").touch()
    check_outputs(folder / "out", find_sources(["clip", "clip.mp4"], []))
    with pytest.raises(UserInputError, match="clip/000000.png would be among the frames"):
        check_outputs(folder / "out", find_sources(["."], []))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("empty", "folder empty holds no image and no video"),
        ("*.gif", r"pattern \*.gif matches no file"),
        ("-", "there is no input"),
        ("a\0b", "null byte: list one name a line"),
    ],
)
def test_words_that_name_nothing(folder, word, message):
    (folder / "empty").mkdir()
    with pytest.raises(UserInputError, match=message):
        names(word)


def test_a_name_with_brackets_is_a_file_if_it_exists(folder):
    (folder / "a[1].png").touch()
    assert names("a[1].png") == {"a[1].png": "a[1]"}


def test_video(tmp_path):
    file = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 10, (32, 16))
    for i in range(3):
        writer.write(np.full((16, 32, 3), 80 * i, np.uint8))
    writer.release()
    video = Video(file)
    frames = list(video)
    assert (video.fps, video.length, len(frames)) == (10, 3, 3)
    assert [round(frame.mean() / 80) for frame in frames] == [0, 1, 2]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    for name, message in (("bad.mp4", "cannot be read by OpenCV"), ("no.mp4", "does not exist")):
        with pytest.raises(BadSampleError, match=message):
            Video(tmp_path / name)
