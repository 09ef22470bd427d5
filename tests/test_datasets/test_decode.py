import io
import zlib

import cv2
import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from wavemix_mm.datasets.decode import decode_image, decode_label, label_table, read_bytes
from wavemix_mm.errors import BadSampleError


def picture(height=40, width=56):
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(pixels, suffix=".jpg", *options):
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def cause(decode, data):
    with pytest.raises(BadSampleError) as error:
        decode(data, "a/b.file")
    message = str(error.value)
    assert "a/b.file" in message and "\n" not in message and message.endswith(".")
    return message


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_an_image_is_what_opencv_decodes(suffix):
    data = encoded(picture(), suffix)
    image = decode_image(data, "a")
    assert np.array_equal(image, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def with_thumbnail(data):
    """A JPEG whose metadata hold a JPEG with its own end mark."""
    thumbnail = encoded(picture(8, 8))
    segment = b"Exif\0\0" + thumbnail
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]


def several_images(data):
    """The JPEG of a phone: a list of its images follows the thumbnail."""
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(data))
    image.save(buffer, "MPO", save_all=True, append_images=[image])
    return with_thumbnail(buffer.getvalue())


def test_valid_files_of_unusual_make():
    jpeg = encoded(picture())
    for data in (
        several_images(jpeg),
        with_thumbnail(jpeg),
        jpeg + b"\0" * 1000,  # filled up to a block
        jpeg[:2] + b"\xff" * 3 + jpeg[2:],  # filling between segments
        encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        encoded(picture(), ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    ):
        assert decode_image(data, "a").shape == (40, 56, 3)
    assert decode_image(encoded(picture()[..., 0]), "a").shape == (40, 56, 3)  # gray


@pytest.mark.parametrize("make", [lambda data: data, with_thumbnail, several_images])
def test_a_truncated_jpeg(make):
    data = make(encoded(picture()))
    # the first of several images is complete if the file lacks a few bytes
    ends = (len(data) // 2,) if make is several_images else (-1, -2, -100, -400)
    for end in ends:
        assert "is truncated: the mark of its end" in cause(decode_image, data[:end])


@pytest.mark.parametrize("decode", [decode_image, decode_label])
def test_a_damaged_png(decode):
    data = bytearray(encoded(picture()[..., 0], ".png"))
    for cut in (10, 20, 100):
        assert "is truncated: the mark of its end" in cause(decode, bytes(data[:-cut]))
    data[len(data) // 2] ^= 255
    assert "cannot be decoded" in cause(decode, bytes(data))
    assert "it is no image" in cause(decode, b"neither a JPEG nor a PNG")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_a_header_that_claims_a_giant_image(suffix):
    data = bytearray(encoded(picture(), suffix))
    if suffix == ".jpg":
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = b"\xf0\0\xf0\0"
    elif suffix == ".png":
        data[16:24] = bytes([0, 0, 240, 0] * 2)
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        data[18:26] = bytes([0, 240, 0, 0] * 2)
    message = cause(decode_image, bytes(data))
    assert "claims too many pixels: Image size (3774873600 pixels) exceeds limit of" in message


def png(array, mode=None):
    """A PNG; in the mode P its pixels are indices of a palette."""
    buffer = io.BytesIO()
    image = Image.fromarray(array).convert(mode)
    if mode == "P":
        image.putpalette([255, 0, 7] * 256)
    image.save(buffer, "png")
    return buffer.getvalue()


def test_labels_that_are_right():
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for mode in ("L", "P"):
        assert np.array_equal(decode_label(png(label, mode), "a"), label)
    binary = decode_label(png(label > 5), "a")
    assert binary.dtype == np.uint8 and np.array_equal(binary, label > 5)
    for shape in ((1, 1), (1, 5), (5, 1)):  # which mmseg's own squeezes
        assert decode_label(png(np.ones(shape, np.uint8)), "a").shape == shape


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("LA", 2)])
def test_a_label_with_several_channels(mode, channels):
    data = png(np.zeros((3, 4), np.uint8), mode)
    assert f"has {channels} channels" in cause(decode_label, data)


def test_a_label_of_16_bits():
    label = np.array([[0, 256], [7, 511]], np.uint16)
    assert "type uint16, values 0 to 511" in cause(decode_label, png(label))


def test_files_that_cannot_be_read(tmp_path):
    def message(path):
        with pytest.raises(BadSampleError) as error:
            read_bytes(str(path), "label")
        return str(error.value)

    empty = tmp_path / "empty.png"
    empty.touch()
    assert message(empty) == f"label {empty} is empty: it has 0 bytes."
    missing = tmp_path / "missing.png"
    assert message(missing) == f"label {missing} does not exist."
    assert message(tmp_path) == f"label {tmp_path} cannot be read: Is a directory."


@pytest.mark.parametrize("reduce_zero_label", [False, True])
@pytest.mark.parametrize("label_map", [None, {0: 255, 1: 0, 254: 1, 255: 3}])
def test_the_mapping_is_that_of_mmseg(tmp_path, reduce_zero_label, label_map):
    raw = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = tmp_path / "label.png"
    path.write_bytes(png(raw))
    results = LoadAnnotations()(
        dict(
            seg_map_path=str(path),
            reduce_zero_label=reduce_zero_label,
            label_map=label_map,
            seg_fields=[],
        )
    )
    table = label_table(reduce_zero_label, label_map)
    ours = raw if table is None else table[raw]
    assert np.array_equal(results["gt_seg_map"], ours)
