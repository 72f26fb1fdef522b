"""Images at full depth, upright, whole."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms
from restore.errors import MediaError, RequestError
from restore.media.image import ImageFile, read_image, write_image
from restore.media.probe import probe

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = Image.Exif()
EXIF[0x010F] = "Maker"
EXIF[0x0112] = 1
EXIF.get_ifd(0x8769)[0x829A] = 0.5


def random_image(kind, depth, alpha, size=(13, 17)):
    rng = np.random.default_rng(0)
    dtype = np.uint8 if depth == 8 else np.uint16
    pixels = rng.integers(0, 2**depth, (*size, 1 if kind == "gray" else 3)).astype(dtype)
    mask = rng.integers(0, 2**depth, size).astype(dtype) if alpha else None
    return ImageFile(pixels, kind, mask, depth, EXIF.tobytes(), ICC, (300.0, 300.0))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["gray", "rgb"])
@pytest.mark.parametrize("alpha", [False, True])
def test_lossless_formats_keep_every_bit_and_every_word(tmp_path, suffix, depth, kind, alpha):
    image = random_image(kind, depth, alpha)
    path = tmp_path / f"Bild ü{suffix}"
    assert write_image(path, image) == []
    back = read_image(path)
    as_rgb = suffix == ".tif" and kind == "gray" and depth == 16 and alpha  # few can read it as gray
    assert (back.kind, back.bit_depth) == ("rgb" if as_rgb else kind, depth)
    assert back.pixels.dtype == image.pixels.dtype
    np.testing.assert_array_equal(back.pixels, np.repeat(image.pixels, 3, -1) if as_rgb else image.pixels)
    assert (back.alpha is None) == (not alpha)
    if alpha:
        np.testing.assert_array_equal(back.alpha, image.alpha)
    assert back.icc == ICC
    exif = Image.Exif()
    exif.load(back.exif)
    assert exif[0x010F] == "Maker"
    assert float(exif.get_ifd(0x8769)[0x829A]) == 0.5
    assert back.dpi == pytest.approx((300, 300), abs=0.1)
    info = probe(path)
    assert (info.kind, info.width, info.height, info.layout.bit_depth) == ("image", 17, 13, depth)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing unfinished is left


def test_a_16_bit_rgb_file_is_16_bits_for_other_readers_too(tmp_path):
    import av

    image = random_image("rgb", 16, False)
    for suffix, codec in ((".png", "png"), (".tif", "tiff")):
        write_image(tmp_path / f"a{suffix}", image)
        decoder = av.CodecContext.create(codec, "r")
        data = av.Packet((tmp_path / f"a{suffix}").read_bytes())
        frame = (decoder.decode(data) + decoder.decode(None))[0]
        np.testing.assert_array_equal(frame.to_ndarray(format="rgb48le"), image.pixels)
        with Image.open(tmp_path / f"a{suffix}") as pillow:
            assert pillow.size == (17, 13)
            assert pillow.info["icc_profile"] == ICC


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "deep.png"])
def test_orientation_is_applied_once(tmp_path, orientation, name):
    upright = np.zeros((12, 20, 3), np.uint8)
    upright[:4, :6] = 255  # a bright corner, top left
    upright[:4, -6:, 0] = 128
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: a[::-1, ::-1],
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(undo[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / name
    if name == "deep.png":
        write_image(path, ImageFile(stored.astype(np.uint16) * 257, "rgb", bit_depth=16, exif=exif.tobytes()))
    else:
        Image.fromarray(stored).save(path, exif=exif, **({"quality": 100, "subsampling": 0} if name == "a.jpg" else {}))
    image = read_image(path)
    pixels = image.pixels // 257 if image.bit_depth == 16 else image.pixels
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() < 30
    assert (probe(path).width, probe(path).height) == (20, 12)
    if image.exif:
        again = Image.Exif()
        again.load(image.exif)
        assert again[0x0112] == 1
    write_image(tmp_path / f"out{path.suffix}", image)
    np.testing.assert_array_equal(read_image(tmp_path / f"out{path.suffix}").pixels.shape, upright.shape)


def test_palettes_bits_and_inks(tmp_path):
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 2, (8, 8, 3)).astype(np.uint8) * 255)
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    back = read_image(tmp_path / "p.png")
    assert (back.kind, back.alpha) == ("rgb", None)
    np.testing.assert_array_equal(back.pixels, np.asarray(rgb))
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "t.png", transparency=0)
    assert set(np.unique(read_image(tmp_path / "t.png").alpha)) == {0, 255}
    rgb.convert("1").save(tmp_path / "b.png")
    bits = read_image(tmp_path / "b.png")
    assert (bits.kind, set(np.unique(bits.pixels))) == ("gray", {0, 255})
    rgb.convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    assert read_image(tmp_path / "c.jpg").pixels.shape == (8, 8, 3)
    rgb.convert("LA").save(tmp_path / "la.png")
    assert (read_image(tmp_path / "la.png").kind, read_image(tmp_path / "la.png").alpha is not None) == ("gray", True)


@pytest.mark.parametrize("size", [(1, 1), (287, 353)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp"])
def test_any_size_in_any_format(tmp_path, size, suffix):
    image = ImageFile(np.full((*size, 3), 90, np.uint8), "rgb")
    assert write_image(tmp_path / f"a{suffix}", image) == []
    back = read_image(tmp_path / f"a{suffix}")
    assert back.pixels.shape == (*size, 3)
    assert np.abs(back.pixels.astype(int) - 90).max() <= 1


def test_what_a_format_cannot_hold_is_said(tmp_path):
    image = random_image("rgb", 16, True)
    said = write_image(tmp_path / "a.jpg", image)
    assert len(said) == 2
    assert "8 bits" in said[0]
    assert "transparency" in said[1]
    assert len(write_image(tmp_path / "a.webp", image)) == 1
    back = read_image(tmp_path / "a.webp")
    np.testing.assert_array_equal(back.alpha, np.floor(image.alpha / 257 + 0.5))
    with pytest.raises(RequestError, match="cannot write an image"):
        write_image(tmp_path / "a.xyz", image)


@pytest.mark.parametrize(
    ("name", "depth"), [("a.png", 8), ("a.png", 16), ("a.jpg", 8), ("a.webp", 8), ("a.tif", 8), ("a.tif", 16)]
)
def test_damage_is_a_media_error(tmp_path, name, depth):
    write_image(tmp_path / name, random_image("rgb", depth, False, (80, 90)))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises((MediaError, RequestError)) as caught:
        read_image(tmp_path / name)
    assert name in str(caught.value)
    assert isinstance(caught.value, MediaError) or name.endswith(("tif", "webp"))


def test_wrong_requests(tmp_path, monkeypatch):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    for name, words in {"empty.png": "zero bytes", "text.png": "not an image", "none.png": "does not exist"}.items():
        with pytest.raises(RequestError, match=words):
            read_image(tmp_path / name)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(RequestError, match="16 bits first"):
        read_image(tmp_path / "f.tif")
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(RequestError, match="more pixels than is safe"):
        read_image(tmp_path / "bomb.png")
