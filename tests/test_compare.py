"""`restore compare`: its numbers against numpy, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import clip_tools
import numpy as np
import pytest
from compare_files import FRAMES, SIZE, make_three, noisy, psnr, read_page
from PIL import Image
from restore.evaluation.compare import compare_versions, labels
from restore.evaluation.report import bytes_words, page, rate_words
from restore.media.probe import probe


@pytest.fixture
def three(clips, tmp_path):
    return make_three(clips, tmp_path)


def ssim(a, b):
    """By definition: weighted means, variances and covariance of every whole window."""
    g = np.exp(-((np.arange(11) - 5.0) ** 2) / 4.5)
    w = np.outer(g, g) / g.sum() ** 2
    p, q = (np.lib.stride_tricks.sliding_window_view(x / 255, (11, 11)) for x in (a, b))

    def mean(x):
        return (x * w).sum(axis=(-1, -2))

    mp, mq = mean(p), mean(q)
    vp, vq = mean((p - mp[..., None, None]) ** 2), mean((q - mq[..., None, None]) ** 2)
    cov = mean((p - mp[..., None, None]) * (q - mq[..., None, None]))
    return ((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))).mean()


def test_numbers_equal_numpy_in_json_and_in_the_page(restore, three):
    (clean, *versions), (x, *lumas) = three
    answer = restore("compare", clean, *versions, "-o", "report.html", "--json")
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert document["protocol"]["name"] == "luma-frames"
    assert {"plane", "psnr", "ssim", "border", "data_range"} <= document["protocol"].keys()
    assert document["reference"]["name"] == "clean.mkv"
    assert [r["name"] for r in document["results"]] == ["a.mkv", "b.mkv"]
    shown = read_page("report.html").blocks["data"]
    assert shown["frames"] == document["frames"] == FRAMES
    assert shown["protocol"] == document["protocol"]
    for i, (result, luma) in enumerate(zip(document["results"], lumas, strict=True), start=1):
        expected = (
            [psnr(a, b) for a, b in zip(luma, x, strict=True)],
            [ssim(a, b) for a, b in zip(luma, x, strict=True)],
        )
        for name, values in zip(("psnr", "ssim"), expected, strict=True):
            assert [f[name] for f in result["frames"]] == pytest.approx(values, abs=1e-9)
            assert result[name] == pytest.approx(np.mean(values), abs=1e-9)
            assert result[f"{name}_min"] == pytest.approx(min(values), abs=1e-9)
            assert shown["versions"][i][name] == pytest.approx(values, abs=1e-6)
        assert result["worst"] == shown["versions"][i]["worst"] == list(np.argsort(expected[0]))
        assert result["worst"][0] == 3


def test_the_table_says_sizes_rates_and_the_worst_frames(restore, three):
    (clean, a, b), (x, luma, _) = three
    answer = restore("compare", clean, a, b)
    assert answer.code == 0, answer.err
    assert f"{np.mean([psnr(p, q) for p, q in zip(luma, x, strict=True)]):.2f} dB" in answer.out
    assert f"worst frames of a.mkv: 3 ({psnr(luma[3], x[3]):.2f} dB)" in answer.out
    for said in ("ffv1", "32x24 4:2:0 8-bit", bytes_words(a.stat().st_size), "kbit/s", "plane: luma as stored"):
        assert said in answer.out
    assert not list(Path().glob("*.html"))


def test_bit_rates_leave_out_the_sound(clips, tmp_path):
    silent = clips.make(tmp_path / "silent.mkv", frames=25, size=(32, 32))
    loud = clips.make(tmp_path / "loud.mkv", frames=25, size=(32, 32), audio=2)
    comparison = compare_versions(silent, [loud], images=False)
    reference, version = comparison.reference, comparison.versions[0]
    assert version.size > 1.2 * reference.size
    assert version.picture_size == reference.picture_size
    assert reference.bit_rate == pytest.approx(reference.picture_size * 8, rel=0.05)  # one second
    assert comparison.kept == {}


def test_equal_files_have_no_finite_psnr(restore, three):
    clean = three[0][0]
    answer = restore("compare", clean, clean, "-o", "report.html", "--json")
    result = json.loads(answer.out)["results"][0]
    assert (result["psnr"], result["ssim"], result["equal_frames"], result["worst"]) == (None, 1, FRAMES, [])
    assert result["name"] == "clean.mkv (2)"
    assert read_page("report.html").blocks["data"]["versions"][1]["psnr"] == [None] * FRAMES
    assert "equal" in restore("compare", clean, clean).out


def test_each_file_is_decoded_once(three, monkeypatch):
    import restore.media.reader as reader

    decoded = []
    real = reader.frame_to_planes
    monkeypatch.setattr(reader, "frame_to_planes", lambda frame: decoded.append(1) or real(frame))
    compare_versions(three[0][0], three[0][1:], limit=2)
    assert len(decoded) == 3 * FRAMES


def test_turned_by_a_tag_is_shown_upright(clips, tmp_path):
    def prepare(out, stream):
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation")
        stream.set_display_rotation(90)

    planes, kept = noisy(1, 3)
    turned = clips.make(tmp_path / "turned.mp4", frames=2, size=(24, 32), codec="libx264", prepare=prepare,
                        planes=planes, options={"qp": "0"})  # fmt: skip
    turns = round(probe(turned).rotation / 90)
    assert turns % 2 == 1

    def upright_planes(layout, height, width, k):
        chroma = [np.full((height // 2, width // 2), value, np.uint8) for value in (110, 150)]
        return (np.ascontiguousarray(np.rot90(kept[k], turns)), *chroma)

    upright = clips.make(tmp_path / "upright.mkv", frames=2, size=(32, 24), codec="ffv1", planes=upright_planes)
    comparison = compare_versions(upright, [turned])
    assert comparison.reference.facts()["width"] == 24
    assert comparison.versions[0].psnr == [np.inf] * 2
    a, b = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in comparison.kept[0])
    assert a.shape == b.shape == (32, 24, 3)
    assert np.abs(a - b).max() <= 2


def test_names_are_short_and_different():
    assert labels([Path("/x/ref.mkv"), Path("/x/a.mkv")]) == ["ref.mkv", "a.mkv"]
    assert labels([Path("/x/c.mkv"), Path("/y/z/c.mkv"), Path("/y/w/c.mkv")]) == ["x/c.mkv", "z/c.mkv", "w/c.mkv"]
    assert labels([Path("c.mkv"), Path("c.mkv")]) == ["c.mkv (1)", "c.mkv (2)"]


def test_notes_say_what_clouds_the_numbers(clips, tmp_path):
    one = clips.make(tmp_path / "one.mkv", frames=2, codes=(1, 1, 1, 1), codec="ffv1")
    two = clips.make(tmp_path / "two.mkv", frames=2, codes=(6, 6, 6, 1), codec="ffv1", pix_fmt="yuv420p10le")
    notes = compare_versions(one, [two]).notes
    assert any("read as bt601, the reference as bt709" in n for n in notes)
    assert any("more than 8 bits" in n for n in notes)
    comparison = compare_versions(one, [two])
    assert all(n in page(comparison) for n in notes)


def test_sizes_and_rates_in_words():
    assert [bytes_words(n) for n in (0, 999, 1000, 13408, 2_500_000, 7_000_000_000)] == [
        "0 B", "999 B", "1 kB", "13.4 kB", "2.5 MB", "7 GB",
    ]  # fmt: skip
    assert [rate_words(r) for r in (None, 47932.0, 1_574_592.0)] == ["-", "47.9 kbit/s", "1.57 Mbit/s"]


def test_bad_requests_say_what_is_wrong(restore, three, clips, tmp_path):
    clean, a, _ = three[0]
    clips.make(tmp_path / "small.mkv", frames=FRAMES, size=(12, 16), codec="ffv1")
    clips.make(tmp_path / "short.mkv", frames=FRAMES - 2, size=SIZE, codec="ffv1")
    Path("broken.mkv").write_bytes(a.read_bytes()[:400])
    Path("here.html").write_text("mine", encoding="utf-8")
    for arguments, code, said in (
        ((clean, "small.mkv"), 2, ("small.mkv", "clean.mkv", "16x12 against 32x24")),
        (("small.mkv", clean), 2, ("differ in size", "32x24 against 16x12")),
        ((clean, a, "short.mkv", "-o", "out.html"), 2, ("short.mkv has 3 frames", "has more")),
        ((clean, "nowhere.mkv"), 2, ("nowhere.mkv does not exist",)),
        ((clean, "broken.mkv"), (1, 2), ("broken.mkv",)),
        ((clean, a, "-o", "here.html"), 2, ("here.html exists",)),
        ((clean, a, "-o", a), 2, ("is the input itself",)),
        ((clean, a, "-o", "no/out.html"), 2, ("not a folder",)),
        ((clean, a, "-o", "out.html", "--frames", "0"), 2, ("--frames",)),
        ((clean,), 2, ("A [B]",)),
    ):  # fmt: skip
        answer = restore("compare", *arguments)
        assert answer.code in np.atleast_1d(code), (arguments, answer.err)
        assert all(s in answer.err for s in said), answer.err
        assert not Path("out.html").exists()
    assert Path("here.html").read_text(encoding="utf-8") == "mine"
    assert restore("compare", clean, a, "-o", "here.html", "--overwrite").code == 0


def test_degrade_then_compare_says_what_numpy_says(restore, tmp_path):
    clip_tools.make_clip(tmp_path / "clip.mkv", frames=6, size=(64, 96))
    degraded = restore("degrade", "clip.mkv", "-o", "lq.mp4", "--use", "codec", "--set", "codec=x265", "--set", "qp=37")
    assert degraded.code == 0, degraded.err
    document = json.loads(restore("compare", "clip.mkv", "lq.mp4", "-o", "page.html", "--json").out)
    clean, low = (decoded_luma(tmp_path / name) for name in ("clip.mkv", "lq.mp4"))
    expected = [psnr(a, b) for a, b in zip(low, clean, strict=True)]
    assert min(expected) > 20
    assert max(expected) < 60
    assert [f["psnr"] for f in document["results"][0]["frames"]] == pytest.approx(expected, abs=1e-9)
    assert read_page("page.html").blocks["data"]["versions"][1]["psnr"] == pytest.approx(expected, abs=1e-6)


def decoded_luma(path):
    """By PyAV alone."""
    with av.open(str(path)) as container:
        return [f.to_ndarray()[: f.height].astype(np.float64) for f in container.decode(video=0)]
