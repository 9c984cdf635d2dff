"""What any viewer shows is used, whatever stands around the pixels; what cannot be used says why; nothing is blank in silence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from data.images import files, foreign, metadata
from data.images.files import Item, Rules, encode

RULES = Rules(statistics=True)
BYTES = st.binary(max_size=60)


def picture(seed=0, width=24, height=16):
    generator = np.random.default_rng(seed)
    small = generator.integers(60, 200, (2, 3, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(form, image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, form, **options)
    return file.getvalue()


def decoded(content):
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


# --- metadata -------------------------------------------------------------------------------------------------------


def chunk(kind, data, crc=None):
    return (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
    )


PNG_KINDS = st.sampled_from(
    [
        b"tEXt",
        b"zTXt",
        b"iTXt",
        b"iCCP",
        b"eXIf",
        b"pHYs",
        b"gAMA",
        b"cHRM",
        b"sRGB",
        b"sBIT",
        b"bKGD",
        b"hIST",
        b"tIME",
        b"sPLT",
        b"acTL",
        b"fcTL",
        b"fdAT",
        b"oFFs",
        b"vpAg",
        b"prVt",
    ]
)
PNG_STARTS = st.sampled_from(
    [b"", b"Comment\0\0", b"Raw profile type exif\0", b"XML:com.adobe.xmp\0\1\0\0\0", b"icc\0\0", b"II*\0\x08\0\0\0"]
)
PNG_CHUNKS = st.builds(
    lambda kind, start, rest, crc: chunk(kind, start + rest, crc),
    PNG_KINDS,
    PNG_STARTS,
    st.one_of(BYTES, st.just(zlib.compress(b"a" * 2_000_000))),
    st.one_of(st.none(), st.integers(0, 2**32 - 1)),
)


@given(
    before=st.lists(PNG_CHUNKS, max_size=3),
    after=st.lists(PNG_CHUNKS, max_size=2),
    ending=st.sampled_from([0, 1, 4, 12]),
)
def test_nothing_around_the_pixels_of_a_png_costs_the_picture(before, after, ending):
    png = encoded("PNG")
    end = len(png) - 12
    content = png[:33] + b"".join(before) + png[33:end] + b"".join(after) + png[end : len(png) - ending]
    loaded = encode(content, RULES)
    assert (loaded.problem, loaded.remark) == ("", "")
    np.testing.assert_array_equal(decoded(loaded.encoded), np.asarray(picture()))


JPEG_STARTS = st.sampled_from(
    [
        b"",
        b"Exif\x00\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00",
        b"ICC_PROFILE\x00\x01\x01",
        b"Photoshop 3.0\x008BIM",
        b"MPF\x00II*\x00",
        b"JFXX\x00\x13",
        b"http://ns.adobe.com/xap/1.0/\x00",
        b"FPXR\x00",
        b"Ducky\x00",
    ]
)
JPEG_SEGMENTS = st.builds(
    lambda marker, start, rest: bytes((0xFF, marker)) + struct.pack(">H", len(start + rest) + 2) + start + rest,
    st.sampled_from([*range(0xE0, 0xF0), 0xFE]),
    JPEG_STARTS,
    st.one_of(BYTES, st.just(b"x" * 65_000)),
)


@given(
    segments=st.lists(JPEG_SEGMENTS, max_size=3),
    progressive=st.booleans(),
    ending=st.sampled_from([b"", b"\0" * 9, b"\xff\xd8\xff"]),
)
def test_nothing_around_the_pixels_of_a_jpeg_costs_the_picture(segments, progressive, ending):
    jpeg = encoded("JPEG", progressive=progressive)
    content = jpeg[:2] + b"".join(segments) + jpeg[2:] + ending
    assume(metadata.orientation(metadata.plain(content).exif) == 1)
    loaded = encode(content, RULES)
    assert (loaded.problem, loaded.remark) == ("", "")
    assert loaded.encoded == content
    np.testing.assert_array_equal(decoded(loaded.encoded), decoded(jpeg))


WEBP_CHUNKS = st.builds(
    lambda kind, data: kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2),
    st.sampled_from([b"EXIF", b"XMP ", b"ICCP", b"junk"]),
    st.one_of(BYTES, BYTES.map(lambda rest: b"Exif\0\0" + rest)),
)


@given(
    before=st.lists(WEBP_CHUNKS, max_size=2),
    after=st.lists(WEBP_CHUNKS, max_size=2),
    cut=st.integers(0, 7),
    flags=st.integers(0, 255),
)
def test_nothing_around_the_pixels_of_a_webp_costs_the_picture(before, after, cut, flags):
    webp = encoded("WEBP", lossless=True, exact=True)
    extended = b"VP8X" + struct.pack("<I", 10) + bytes((flags & 0x2C, 0, 0, 0)) + struct.pack("<HBHB", 23, 0, 15, 0)
    body = b"WEBP" + extended + b"".join(before) + webp[12:] + b"".join(after)
    content = b"RIFF" + struct.pack("<I", len(body)) + body
    content = content[: len(content) - cut] if after else content
    assume(metadata.orientation(metadata.plain(content).exif) == 1)
    loaded = encode(content, RULES)
    assert loaded.problem == ""
    np.testing.assert_allclose(decoded(loaded.encoded), np.asarray(picture()), atol=8)


@pytest.mark.parametrize("exif", [b"Exif\0\0" + b"\0" * 20, b"\0" * 30])
def test_damaged_exif_does_not_cost_an_avif(exif):
    good = Image.Exif()
    good[0x0132] = "2020:01:01 00:00:00"
    content = encoded("AVIF", exif=good.tobytes())
    damaged = content.replace(good.tobytes()[6:36], (exif * 2)[:30])
    assert damaged != content
    assert encode(damaged, RULES).encoded == encode(content, RULES).encoded


def turned(form, value, **options):
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(form, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_of_any_format_is_turned_upright(form, value):
    upright = {
        1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False),
    }  # fmt: skip
    quarters, mirrored = upright[value]
    expected = np.asarray(picture())
    if value == 5:
        expected = expected.transpose(1, 0, 2)
    elif value == 7:
        expected = expected[::-1, ::-1].transpose(1, 0, 2)
    else:
        expected = np.rot90(expected[:, ::-1] if mirrored else expected, quarters)
    found = decoded(encode(turned(form, value), RULES).encoded)
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=0 if form in ("PNG", "TIFF") else 20)
    assert found.shape == expected.shape


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_unknown_orientation_is_upright(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert metadata.orientation(exif.tobytes()) == 1


@given(BYTES, BYTES)
def test_no_exif_is_too_damaged_for_an_orientation(one, other):
    for exif in (one, b"Exif\0\0" + one, b"II*\0\x08\0\0\0" + one, b"MM\0*\0\0\0\x08\0\1\x01\x12" + other):
        assert metadata.orientation(exif) in range(1, 9)


# --- formats --------------------------------------------------------------------------------------------------------

FORMATS = {
    "x.ppm": ("PPM", "RGB"), "x.pgm": ("PPM", "L"), "x.pbm": ("PPM", "1"), "x.pnm": ("PPM", "RGB"),
    "x.jp2": ("JPEG2000", "RGB"), "x.avif": ("AVIF", "RGB"), "x.tga": ("TGA", "RGB"), "X.TGA": ("TGA", "RGBA"),
    "x.ico": ("ICO", "RGBA"), "x.icns": ("ICNS", "RGBA"), "x.dds": ("DDS", "RGB"), "x.sgi": ("SGI", "RGB"),
    "x.pcx": ("PCX", "RGB"), "x.qoi": ("QOI", "RGB"), "x.xbm": ("XBM", "1"),
    "x.gif": ("GIF", "P"), "x.bmp": ("BMP", "RGB"), "x.tif": ("TIFF", "CMYK"),
}  # fmt: skip


KNOWN_BY_NAME = [(name, name) for name, (form, _) in FORMATS.items() if form == "TGA"]
KNOWN_BY_CONTENT = [(name, called) for name in FORMATS for called in (name, "picture.jpg") if "tga" not in name.lower()]


@pytest.mark.parametrize(("name", "called"), KNOWN_BY_NAME + KNOWN_BY_CONTENT)
def test_what_pillow_reads_is_read_whatever_its_name(tmp_path, name, called):
    form, mode = FORMATS[name]
    image = picture(width=32, height=32).convert(mode)
    path = tmp_path / called
    path.write_bytes(encoded(form, image))
    loaded = files.load(Item(str(path), path.stat().st_size), RULES)
    assert loaded.problem == ""
    expected = Image.open(io.BytesIO(encoded(form, image)), formats=[form]).convert("RGB")
    np.testing.assert_allclose(decoded(loaded.encoded).astype(int), np.asarray(expected).astype(int), atol=24)


def tiff(*rows, body=b"\0" * 64):
    entries = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8) + entries + body


OTHERS = {
    "IMG_1.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "HEIC, which is not read here; save it as JPEG"),
    "web.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + b"\0" * 99, "HEIC, which is not read here"),
    "x.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + b"\0" * 99, "a camera's raw file, which is not read here; develop it"),
    "x.nef": (encoded("TIFF"), "a camera's raw file"),
    "x.dng": (encoded("TIFF", tiffinfo={50706: b"\1\4\0\0"}), "a camera's raw file"),
    "thumbnail.tif": (encoded("TIFF", tiffinfo={254: 1}), "a camera's raw file"),
    "x.raf": (b"FUJIFILMCCD-RAW 0201" + b"\0" * 99, "a camera's raw file"),
    "x.orf": (b"IIRO\x08\0\0\0" + b"\0" * 99, "a camera's raw file"),
    "x.jxl": (b"\xff\x0a" + b"\0" * 99, "JPEG XL, which is not read here"),
    "x.mp4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2" + b"\0" * 99, "a film, not a picture"),
    "x.svg": (b'<?xml version="1.0"?>\n<svg width="9">', "a drawing (SVG), which has no pixels; save it as PNG"),
    "x.pdf": (b"%PDF-1.7\n", "a document, not a picture"),
    "x.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a document, not a picture"),
    "x.jpg": (b"\n<!DOCTYPE html><html>", "a web page, not a picture: its download failed"),
    "y.jpg": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS, not the picture itself"),
    "x.zip": (b"PK\3\4" + b"\0" * 99, "an archive; unpack it"),
    "x.txt": (b"notes", "not an image of a known format (JPEG, PNG, WEBP"),
    "no name for it": (encoded("TGA", compression="tga_rle"), "not an image of a known format (JPEG, PNG, WEBP"),
    "bands.tif": (
        tiff((256, 4, 1, 2), (257, 4, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 150), (277, 3, 1, 5)),
        "TIFF, but damaged or of a kind that is not read (unknown pixel mode); write it with 8 bits and three bands (RGB)",
    ),
    "half.png": (encoded("PNG")[:20], "Truncated IHDR chunk"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_used_says_what_it_is_and_what_to_do(tmp_path, name):
    content, reason = OTHERS[name]
    path = tmp_path / name
    path.write_bytes(content)
    loaded = files.load(Item(str(path), len(content)), RULES)
    assert loaded.problem.startswith(reason)
    assert "\n" not in loaded.problem
    assert loaded.encoded == b""


# --- endings, damage and size ---------------------------------------------------------------------------------------

ROW_BY_ROW = {
    "JPEG": {}, "PNG": {}, "GIF": {"interlace": 0}, "BMP": {}, "PPM": {}, "TGA": {},
}  # fmt: skip


@pytest.mark.parametrize("form", ROW_BY_ROW)
def test_a_file_that_ends_a_little_early_is_used_and_said(form):
    grainy = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 64, 3)).astype(np.uint8))
    content = encoded(form, grainy, **ROW_BY_ROW[form])
    whole = decoded(encode(content, RULES, "x.tga").encoded)
    end = content.rindex(b"\0\0\0\0\0\0\0\0TRUEVISION") if form == "TGA" else len(content)
    loaded = encode(content[: end * 99 // 100], RULES, "x.tga")
    assert loaded.remark.startswith("the file is truncated or damaged")
    same = (abs(decoded(loaded.encoded).astype(int) - whole.astype(int)) < 24).all(axis=(1, 2))
    assert same.sum() >= len(whole) * (1 - files.MAX_MISSING) - 16  # a row of blocks
    with pytest.raises(files.Unusable, match=r"^the file is truncated or damaged: \d\d% of the picture is missing$"):
        encode(content[: end // 2], RULES, "x.tga")


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_an_interlaced_file_that_ends_early_is_striped_and_so_left_out(form):
    image = picture(width=64, height=96)
    content = encoded(form, image, **({"interlace": 1} if form == "GIF" else {}))
    if form == "PNG":  # Pillow writes none: said of one in the usual order, which the decoder then finds too short
        head = content[16:28] + b"\1"
        content = content[:8] + chunk(b"IHDR", head) + content[33:]
    with pytest.raises((files.Unusable, OSError), match=r"truncated|broken|unrecognized"):
        encode(content[: len(content) * 98 // 100], RULES)


@pytest.mark.parametrize(
    "form", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO", "DDS", "SGI", "PCX", "QOI"]
)
@given(
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    kept=st.floats(0.3, 1),
)
def test_damage_is_a_reason_or_a_picture_that_tensorflow_decodes(form, damage, kept):
    content = bytearray(encoded(form))
    for place, value in damage:
        content[int(place * len(content))] = value
    damaged = bytes(content[: int(kept * len(content))])
    loaded = load_bytes(damaged)
    if not loaded.problem:
        assert decoded(loaded.encoded).shape[2] == 3
    assert "\n" not in loaded.problem + loaded.remark


def load_bytes(content):
    original, files.read_bytes = files.read_bytes, lambda item: content
    try:
        return files.load(Item("x", len(content)), RULES)
    finally:
        files.read_bytes = original


def large_icon():
    png = encoded("PNG")
    large = png[:8] + chunk(b"IHDR", struct.pack(">II", 30_000, 30_000) + png[24:29]) + png[33:]
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(large), 22) + large


def large_header(form):
    width, height = 40_000, 40_000
    return {
        "PPM": b"P6 %d %d 255\n" % (width, height) + b"\0" * 99,
        "BMP": encoded("BMP")[:18] + struct.pack("<ii", width, height) + encoded("BMP")[26:],
        "GIF": encoded("GIF")[:6] + struct.pack("<HH", width, height) + encoded("GIF")[10:],
        "QOI": encoded("QOI")[:4] + struct.pack(">II", width, height) + encoded("QOI")[12:],
        "TIFF": tiff((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 99)),
        "ICO": large_icon(),
    }[form]  # fmt: skip


@pytest.mark.parametrize("form", ["PPM", "BMP", "GIF", "QOI", "TIFF", "ICO"])
def test_a_picture_that_would_fill_the_memory_is_never_decoded(form):
    with pytest.raises(files.Unusable, match=r"more than the 100,000,000 (pixels )?that are decoded; shrink it$"):
        encode(large_header(form), RULES)


def test_a_jpeg_of_endless_scans_is_never_decoded():
    jpeg = encoded("JPEG", progressive=True)
    start = jpeg.rindex(b"\xff\xda")
    with pytest.raises(
        files.Unusable, match=r"^a JPEG of 5,\d+ scans, more than the 100 that are decoded; save it again$"
    ):
        encode(jpeg[:start] + jpeg[start:-2] * 5000 + jpeg[-2:], RULES)


# --- what is to be seen ---------------------------------------------------------------------------------------------


@given(low=st.integers(0, 255), high=st.integers(0, 255), scale=st.sampled_from([0, 4, 8]))
@example(low=0, high=255, scale=0)
@example(low=0, high=255, scale=4)
def test_a_picture_of_which_hardly_anything_is_seen_is_said(low, high, scale):
    """16-bit pixels, of which the upper 8, 12 or all bits are used."""
    pixels = np.where(np.arange(400).reshape(20, 20) % 2, low, high).astype(np.uint16) << scale
    loaded = encode(encoded("PNG", Image.fromarray(pixels)), RULES)
    seen = sorted({int(value) for value in pixels.ravel() >> 8})
    if len(seen) == 1:
        assert loaded.remark == f"every pixel has the one colour ({seen[0]}, {seen[0]}, {seen[0]})"
    elif seen[1] - seen[0] < files.SMALL_RANGE:
        assert (
            loaded.remark == f"hardly anything to be seen: nearly all values lie between {seen[0]} and {seen[1]} of 255"
        )
    else:
        assert loaded.remark == ""


def test_a_few_hot_pixels_do_not_make_a_range():
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    pixels[3, 3] = 65535
    assert "between 0 and 15 of 255" in encode(encoded("PNG", Image.fromarray(pixels)), RULES).remark


@pytest.mark.parametrize(("place", "said"), [("alpha", "(255, 255, 255)"), ("colour", "(9, 8, 7)")])
def test_what_is_transparent_or_one_colour_is_said(place, said):
    image = Image.new("RGBA", (8, 8), (9, 8, 7, 0 if place == "alpha" else 255))
    assert encode(encoded("PNG", image), RULES).remark == f"every pixel has the one colour {said}"


def test_a_tiff_of_twelve_bits_uses_the_whole_range():
    packed = np.repeat(np.array([[0xFF, 0xF0, 0x00]], np.uint8), 32, axis=0).tobytes()  # 4095, 0, 4095, 0, ...
    rows = [
        (256, 4, 1, 8),
        (257, 4, 1, 8),
        (258, 3, 1, 12),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 122),
        (277, 3, 1, 1),
    ]
    rows += [(278, 4, 1, 8), (279, 4, 1, 96)]
    content = tiff(*rows, body=packed)
    assert len(content) == 122 + len(packed)
    loaded = encode(content, RULES)
    assert (loaded.problem, loaded.remark) == ("", "")
    assert set(decoded(loaded.encoded)[..., 0].ravel().tolist()) == {0, 255}


@pytest.mark.parametrize(
    ("values", "said"), [([0, 70_000], "pixels from 0 to 70000"), ([-5, 9], "pixels from -5 to 9")]
)
def test_numbers_of_an_unknown_range_are_never_cut_off(values, said):
    image = Image.fromarray(np.tile(np.array(values, np.int32), (4, 2)))
    with pytest.raises(files.Unusable, match=f"^{said}, whole numbers of an unknown range; write it with 8 bits$"):
        encode(encoded("TIFF", image), RULES)
    with pytest.raises(files.Unusable, match=r"floating-point numbers of an unknown range; write it with 8 bits$"):
        encode(encoded("TIFF", Image.fromarray(np.array([[0.0, 1.0]] * 2, np.float32))), RULES)


@given(form=st.sampled_from(["BMP", "TIFF", "TGA", "PPM"]), seed=st.integers(0, 3), other=st.integers(0, 3))
def test_pictures_are_the_same_if_their_pixels_are(form, seed, other):
    one = encode(encoded("PNG", picture(seed), compress_level=1), RULES)
    same = encode(encoded(form, picture(other)), RULES, "x.tga")
    assert (one.digest == same.digest) == (seed == other)
    assert one.digest != encode(encoded("PNG", picture(seed).resize((16, 24))), RULES).digest


def test_the_digest_of_a_jpeg_is_not_that_of_its_metadata():
    jpeg = encoded("JPEG", quality=90)
    noted = jpeg[:2] + b"\xff\xfe\0\x09comment" + jpeg[2:]
    assert encode(noted, RULES).digest == encode(jpeg, RULES).digest


def test_signatures_do_not_hide_a_format_that_is_read():
    for name, (form, mode) in FORMATS.items():
        content = encoded(form, picture(width=32, height=32).convert(mode))
        assert "not an image" in foreign.why_not(content, name, []), name
