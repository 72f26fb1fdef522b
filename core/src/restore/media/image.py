"""Still images at their full depth: read upright, written whole."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, Literal

import attrs
import av
import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from restore.errors import MediaError, RequestError
from restore.media.files import write_whole
from restore.media.frame import PixelLayout, Plane
from restore.media.pixels import frame_to_planes, planes_to_frame
from restore.media.probe import check_file, is_deep, open_pillow

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
_ORIENTATION = 0x0112
# TIFF's own directory is full of layout; only these tags are words about the picture.
_TIFF_WORDS = (270, 271, 272, 305, 306, 315, 33432)
_ICC, _EXIF, _GPS = 34675, 34665, 34853


@attrs.frozen(eq=False)
class ImageFile:
    """One image.

    Attributes:
        pixels: ``(H, W, C)`` uint8 or uint16, C = 1 for ``gray`` and 3 for ``rgb``, full range, upright.
        kind: ``gray`` or ``rgb``.
        alpha: ``(H, W)`` of the same type, or None.
        bit_depth: 8 or 16.
        exif: the EXIF block, orientation reset to 1 because it was applied; None if there is none.
        icc: the colour profile, or None.
        dpi: horizontal and vertical dots per inch, or None.
        format: ``PNG``, ``JPEG``, ``WEBP``, ``TIFF`` or ``BMP``.
    """

    pixels: Plane
    kind: Literal["gray", "rgb"]
    alpha: Plane | None = None
    bit_depth: int = 8
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"


def read_image(path: str | Path) -> ImageFile:
    """Reads PNG, JPEG, WebP, TIFF or BMP upright: palettes and CMYK become RGB, one bit becomes gray.

    Raises:
        RequestError: missing, empty, no image, animated, too large to be safe, or floating point.
        MediaError: damaged or cut off.
    """
    path = check_file(path)
    image = open_pillow(path)
    if image is None:
        raise RequestError(f"{path} is not an image that can be read; PNG, JPEG, WebP, TIFF and BMP can")
    with image:
        if image.format == "GIF" or (getattr(image, "n_frames", 1) > 1 and image.format != "MPO"):
            raise RequestError(f"{path} holds several pictures; convert it to single images or to a video first")
        if image.mode in ("F", "I;32") or (image.mode == "I" and not is_deep(image, path)):
            raise RequestError(f"{path} has floating-point or 32-bit pixels; convert it to 16 bits first")
        try:
            return _read(image, path)
        except (OSError, SyntaxError, ValueError, EOFError, zlib.error, IndexError) as error:
            raise MediaError(f"{path} is damaged or cut off: {error}; copy or download it again") from error


def _read(image: Image.Image, path: Path) -> ImageFile:
    deep = is_deep(image, path)
    exif = image.getexif()
    orientation = int(exif.get(_ORIENTATION, 1))
    words = _exif_bytes(image, exif)
    icc = image.info.get("icc_profile")
    dpi = image.info.get("dpi")
    if deep and not image.mode.startswith("I"):
        kind, pixels, alpha = _read_deep(path, str(image.format))
        pixels = _upright(pixels, orientation)
        alpha = None if alpha is None else _upright(alpha, orientation)
    else:
        cmyk = image.mode == "CMYK"
        image.load()
        kind, pixels, alpha = _pixels(ImageOps.exif_transpose(image))
        icc = None if cmyk else icc  # a CMYK profile would not describe RGB
    name = "JPEG" if image.format == "MPO" else str(image.format)
    size = (float(dpi[0]), float(dpi[1])) if dpi else None
    return ImageFile(pixels, kind, alpha, 16 if deep else 8, words, icc or None, size, name)


def _exif_bytes(image: Image.Image, exif: Image.Exif) -> bytes | None:
    kept = Image.Exif()
    for tag, value in dict(exif).items():
        if (image.format != "TIFF" or tag in _TIFF_WORDS) and tag not in (_EXIF, _GPS):
            kept[tag] = value
    for block in (_EXIF, _GPS):
        inner = exif.get_ifd(block)
        if inner:
            kept[block] = dict(inner)
    if not dict(kept):
        return None
    kept[_ORIENTATION] = 1
    return kept.tobytes()


def _pixels(image: Image.Image) -> tuple[Literal["gray", "rgb"], Plane, Plane | None]:
    if image.mode.startswith("I"):
        return "gray", np.asarray(image).astype(np.uint16)[..., None], None
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "La" or (image.mode == "L" and "transparency" in image.info):
        image = image.convert("LA")
    elif image.mode in ("PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    count = 1 if image.mode in ("L", "LA") else 3
    alpha = np.ascontiguousarray(array[..., count]) if array.shape[2] > count else None
    return ("gray" if count == 1 else "rgb"), np.ascontiguousarray(array[..., :count]), alpha


def _upright(array: Plane, orientation: int) -> Plane:
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _read_deep(path: Path, name: str) -> tuple[Literal["gray", "rgb"], Plane, Plane | None]:
    """16 bits in several channels: Pillow would cut them to 8, libav's codecs do not."""
    data = path.read_bytes()
    if name == "PNG" and b"IEND" not in data[-64:]:
        raise ValueError("the file ends early")
    decoder: Any = av.CodecContext.create(name.lower(), "r")
    frames = decoder.decode(av.Packet(data)) + decoder.decode(None)
    if not frames or frames[0].is_corrupt:
        raise ValueError("the pixels cannot be decoded")
    layout, planes = frame_to_planes(frames[0])
    count = 3 if layout.kind == "rgb" else 1
    alpha = planes[count] if layout.alpha else None
    return ("rgb" if count == 3 else "gray"), np.stack(planes[:count], axis=-1), alpha


def write_image(path: str | Path, image: ImageFile, quality: int | None = None) -> list[str]:
    """Writes ``image`` to ``path``, whole or not at all; the ending chooses the format.

    Args:
        path: ends in .png, .jpg, .jpeg, .webp, .tif, .tiff or .bmp.
        image: 16 bits stay in PNG and TIFF and are rounded to 8 in the others.
        quality: 1 to 100 for JPEG (default 95) and WebP (default: lossless).

    Returns:
        Warnings, one line for each thing that the format cannot hold.

    Raises:
        RequestError: an unknown ending.
        MediaError: the file cannot be written.
    """
    path = Path(path)
    name = FORMATS.get(path.suffix.lower())
    if name is None:
        known = ", ".join(FORMATS)
        raise RequestError(f"{path}: cannot write an image that ends in {path.suffix or 'nothing'}; use {known}")
    said = []
    if image.bit_depth > 8 and name not in ("PNG", "TIFF"):
        said.append(f"{path.name}: {name} holds 8 bits, {image.bit_depth} are rounded; write PNG or TIFF to keep them")
        image = to_8_bit(image)
    if image.alpha is not None and name in ("JPEG", "BMP"):
        said.append(f"{path.name}: {name} holds no transparency; write PNG to keep it")
        image = attrs.evolve(image, alpha=None)
    if name == "BMP" and (image.icc or image.exif):
        said.append(f"{path.name}: BMP holds no colour profile and no EXIF; write PNG to keep them")
    if name == "TIFF":
        data = _tiff(image)
    elif image.bit_depth > 8 and (image.kind == "rgb" or image.alpha is not None):
        data = _deep_png(image)
    else:
        data = _with_pillow(image, name, quality, path)
    write_whole(path, data)
    return said


def to_8_bit(image: ImageFile) -> ImageFile:
    """16-bit codes rounded to 8 bits; 0 and the top stay 0 and the top."""

    def less(x: Plane) -> Plane:
        return ((x.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)

    alpha = None if image.alpha is None else less(image.alpha)
    return attrs.evolve(image, pixels=less(image.pixels), alpha=alpha, bit_depth=8)


def _with_pillow(image: ImageFile, name: str, quality: int | None, path: Path) -> bytes:
    pixels = image.pixels if image.kind == "rgb" else image.pixels[..., 0]
    if image.alpha is not None:
        pixels = np.concatenate([image.pixels, image.alpha[..., None]], axis=-1)
    options: dict[str, Any] = {"icc_profile": image.icc, "exif": image.exif, "dpi": image.dpi}
    if name == "JPEG":
        options |= {"quality": quality or 95, "subsampling": 0}
    elif name == "WEBP":
        options |= {"lossless": True, "exact": True} if quality is None else {"quality": quality}
    options = {k: v for k, v in options.items() if v is not None}
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, format=name, **options)
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} could not be written as {name}: {error}") from error
    return buffer.getvalue()


def _deep_png(image: ImageFile) -> bytes:
    planes = [image.pixels[..., k] for k in range(image.pixels.shape[2])]
    layout = PixelLayout(image.kind, 16, alpha=image.alpha is not None)
    name = ("rgba64" if layout.alpha else "rgb48") if image.kind == "rgb" else "ya16"
    frame = planes_to_frame(tuple(planes + ([] if image.alpha is None else [image.alpha])), layout, name + "le")
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.time_base = name + "be", 1
    frame = frame.reformat(format=name + "be")  # a swap of bytes
    data = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    head = 8 + 25  # signature and IHDR
    return data[:head] + _png_words(image) + data[head:]


def _png_words(image: ImageFile) -> bytes:
    out = b""
    if image.icc:
        out += _chunk(b"iCCP", b"icc\0\0" + zlib.compress(image.icc))
    if image.dpi:
        density = b"".join(round(d / 0.0254).to_bytes(4, "big") for d in image.dpi)
        out += _chunk(b"pHYs", density + b"\1")
    if image.exif:
        out += _chunk(b"eXIf", image.exif.removeprefix(b"Exif\0\0"))
    return out


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def _tiff(image: ImageFile) -> bytes:
    """One deflated strip. Pillow cuts colour to 8 bits and trips over EXIF, libav keeps no profile."""
    color = image.pixels
    if image.alpha is not None and image.kind == "gray" and image.bit_depth > 8:
        color = np.repeat(color, 3, axis=-1)  # Pillow and others read no 16-bit gray with alpha
    parts = [color] + ([] if image.alpha is None else [image.alpha[..., None]])
    pixels = np.concatenate(parts, axis=-1).astype("<u2" if image.bit_depth > 8 else "u1")
    height, width, count = pixels.shape
    strip = zlib.compress(pixels.tobytes())
    ifd = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    ifd[256], ifd[257], ifd[258], ifd[277] = width, height, (image.bit_depth,) * count, count
    ifd[259], ifd[262], ifd[284] = 8, 2 if count > 2 else 1, 1  # deflate, RGB or black is zero, one plane
    ifd[273], ifd[278], ifd[279] = 0, height, len(strip)
    ifd[_ORIENTATION] = 1
    if image.alpha is not None:
        ifd[338] = 2  # unassociated alpha
    if image.dpi:
        ifd[282], ifd[283], ifd[296] = image.dpi[0], image.dpi[1], 2
    if image.icc:
        ifd.tagtype[_ICC] = 7
        ifd[_ICC] = image.icc
    if image.exif:
        exif = Image.Exif()
        exif.load(image.exif)
        for tag in _TIFF_WORDS:
            if tag in exif:
                ifd[tag] = exif[tag]
        for block in (_EXIF, _GPS):
            if exif.get_ifd(block):
                ifd[block] = dict(exif.get_ifd(block))
    buffer = io.BytesIO()
    ifd.save(buffer)
    return buffer.getvalue() + strip
