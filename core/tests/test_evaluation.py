"""PSNR, SSIM and the protocols: by definition, and against the published bicubic rows."""

from __future__ import annotations

import json
import math

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from restore.builtin.datasets.images import Images
from restore.builtin.degradations.bicubic import Bicubic
from restore.builtin.models.bicubic import BicubicUpscale, Identity
from restore.errors import RequestError, RestoreError
from restore.evaluation.evaluate import evaluate
from restore.evaluation.pairing import pair_up
from restore.evaluation.protocols import PROTOCOLS, protocol
from restore.functional.color import full_to_studio, rgb_to_y, rgb_to_ycbcr, studio_to_full, ycbcr_to_rgb
from restore.functional.quality import psnr, ssim


def random(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- definitions ------------------------------------------------------------------------------------------------------


def test_psnr_by_hand():
    a = torch.zeros(1, 4, 4)
    assert psnr(a, a) == math.inf
    assert psnr(a, a + 0.1) == pytest.approx(20.0, abs=1e-5)
    assert psnr(a, a + 10, peak=100) == pytest.approx(20.0)
    half = torch.zeros(1, 2, 2)
    half[0, 0] = 0.2
    assert psnr(torch.zeros_like(half), half) == pytest.approx(10 * math.log10(1 / 0.02), abs=1e-5)


def ssim_by_definition(a, b, padding):
    """Window by window, straight from the paper: weighted means, variances and covariance of each patch."""
    x = np.arange(11) - 5
    g = np.exp(-(x**2) / 4.5)
    w = np.outer(g, g) / np.outer(g, g).sum()
    if padding == "replicate":
        a, b = np.pad(a, 5, mode="edge"), np.pad(b, 5, mode="edge")
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (w * p).sum(), (w * q).sum()
            vp, vq = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum()
            cov = (w * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    return np.mean(values)


@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_ssim_by_definition(padding):
    a = random(15, 19)
    b = (a + 0.2 * random(15, 19, seed=1)).clamp(0, 1)
    assert ssim(a, b, padding=padding) == pytest.approx(ssim_by_definition(a.numpy(), b.numpy(), padding), abs=1e-12)
    assert ssim(255 * a, 255 * b, peak=255, padding=padding) == pytest.approx(ssim(a, b, padding=padding), abs=1e-12)
    assert ssim(a, a, padding=padding) == pytest.approx(1)
    planes = torch.stack([a, b]), torch.stack([b, b])
    assert ssim(*planes, padding=padding) == pytest.approx((ssim(a, b, padding=padding) + 1) / 2)


def test_ssim_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="11x11"):
        ssim(random(10, 20), random(10, 20))
    with pytest.raises(ValueError, match="equal shapes"):
        ssim(random(20, 20), random(20, 21))


def test_luma_is_studio_range():
    black, white = torch.zeros(3, 1, 1, dtype=torch.float64), torch.ones(3, 1, 1, dtype=torch.float64)
    assert float(rgb_to_y(black)) * 255 == pytest.approx(16)
    assert float(rgb_to_y(white)) * 255 == pytest.approx(235)
    red = torch.tensor([1.0, 0, 0], dtype=torch.float64).view(3, 1, 1)
    assert (rgb_to_ycbcr(red) * 255).flatten().tolist() == pytest.approx([81.481, 90.203, 240.0])
    x = random(2, 3, 4, 4)
    assert torch.allclose(ycbcr_to_rgb(rgb_to_ycbcr(x)), x, atol=1e-12)
    assert torch.allclose(rgb_to_ycbcr(x)[:, :1], rgb_to_y(x))
    assert full_to_studio(torch.tensor([0.0, 1.0])).mul(255).tolist() == pytest.approx([16, 235])
    assert torch.allclose(studio_to_full(full_to_studio(x)), x)


# --- protocols --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (7, 9, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "colour.png")
    Image.fromarray(smooth[..., 0]).save(tmp_path / "grey.png")
    return tmp_path


def run(folder, name="sr-y", scale=2, channels="rgb", **more):
    model = BicubicUpscale(scale, channels)
    return evaluate(model, Images(folder, channels="native"), Bicubic(scale), protocol(name), **more)


def test_a_constant_shift_scores_as_on_studio_range(folder):
    """The error of a grey shift shrinks by 219/255 on studio-range luma; on full range it would score 1.3 dB less."""

    class Shift(Identity):
        def forward(self, clip):
            return clip + 10 / 255

    Image.fromarray(np.full((30, 30, 3), 100, np.uint8)).save(folder / "flat.png")
    report = evaluate(Shift(), Images(folder / "flat.png"), Bicubic(1), protocol("sr-y"))
    before, after = (round(16 + 219 * v / 255) for v in (100, 110))
    assert report.results[0]["psnr"] == pytest.approx(20 * math.log10(255 / (after - before)), abs=1e-9)


def test_the_border_is_the_scale_and_the_protocol_says_everything(folder):
    report = run(folder, scale=3)
    said = report.protocol
    assert said["border"] == 3
    assert said["name"] == "sr-y"
    assert {"plane", "rounding", "ssim", "psnr", "crop", "data_range", "grey_images", "resized"} <= said.keys()
    assert [r["name"] for r in report.results] == ["colour", "grey"]
    assert report.mean["psnr"] == pytest.approx(sum(r["psnr"] for r in report.results) / 2)
    assert all(r["seconds"] > 0 for r in report.results)
    json.dumps(report.document())


def test_what_happens_in_the_border_is_not_scored(folder):
    class Frame(BicubicUpscale):
        def forward(self, clip):
            out = super().forward(clip).clone()
            out[..., :2, :] = out[..., -2:, :] = out[..., :, :2] = out[..., :, -2:] = 0
            return out

    plain = run(folder)
    framed = evaluate(Frame(2), Images(folder, channels="native"), Bicubic(2), protocol("sr-y"))
    assert [r["psnr"] for r in framed.results] == [r["psnr"] for r in plain.results]


def test_a_grey_image_is_scored_as_it_is_or_through_rgb(folder):
    """Through RGB its range shrinks to 219 levels, and the score rises by about 20 log10(255/219) = 1.32 dB."""
    plain, through = (run(folder / "grey.png", name).results[0]["psnr"] for name in ("sr-y", "lapsrn"))
    assert through - plain == pytest.approx(1.32, abs=0.1)


def test_luma_and_rgb_models_meet_the_same_protocol(folder):
    for name in PROTOCOLS:
        rgb, y = run(folder, name), run(folder, name, channels="y")
        for a, b in zip(rgb.results, y.results, strict=True):
            assert a["psnr"] == pytest.approx(b["psnr"], abs=0.15), name


def test_mismatched_scales_are_named(folder):
    with pytest.raises(RequestError, match=r"colour: the degradation makes 18x14 .* enlarges by 2; give both the same"):
        evaluate(BicubicUpscale(2), Images(folder), Bicubic(3), protocol("sr-y"))
    with pytest.raises(RequestError, match="degradation or observed"):
        evaluate(BicubicUpscale(2), Images(folder), None, protocol("sr-y"))


def test_answers_of_wrong_size_or_not_finite_are_failures(folder):
    class Cut(BicubicUpscale):
        def forward(self, clip):
            return super().forward(clip)[..., 1:]

    class Nan(BicubicUpscale):
        def forward(self, clip):
            return super().forward(clip) * float("nan")

    for cls, said in ((Cut, "differ in size"), (Nan, "not finite")):
        with pytest.raises(RestoreError, match=said):
            evaluate(cls(2), Images(folder), Bicubic(2), protocol("sr-y"))


def test_images_too_small_to_be_scored_are_named(tmp_path):
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(tmp_path / "tiny.png")
    with pytest.raises(RequestError, match="tiny cannot be scored"):
        run(tmp_path)


def test_unknown_protocols_name_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'lapsrn'"):
        protocol("lapsr")


# --- observed images --------------------------------------------------------------------------------------------------


def degraded(folder, out, scale=2, rename=lambda n: n):
    out.mkdir()
    for path in sorted(folder.glob("*.png")):
        picture = Image.open(path)
        picture.resize((picture.width // scale, picture.height // scale)).save(out / f"{rename(path.stem)}.png")
    return out


@pytest.mark.parametrize("ending", ["", "x2", "_x2", "_LR", "_SRF_2_LR"])
def test_observed_images_are_paired_by_name(folder, tmp_path, ending):
    out = degraded(folder, tmp_path / "out", rename=lambda n: n + ending)
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(out / "another.png")
    clean = Images(folder, exclude=["out/*"], channels="native")
    pairs = pair_up(clean, out)
    assert [tuple(pairs[i].shape) for i in range(len(pairs))] == [(1, 3, 21, 27), (1, 1, 21, 27)]
    report = evaluate(BicubicUpscale(2), clean, None, protocol("sr-y"), observed=pairs)
    assert len(report.results) == 2


def test_observed_images_without_common_names_go_by_order(folder, tmp_path):
    names = {"colour": "1", "grey": "2"}
    out = degraded(folder, tmp_path / "out", rename=names.get)
    clean = Images(folder, exclude=["out/*"], channels="native")
    assert len(pair_up(clean, out)) == 2
    (out / "2.png").unlink()
    with pytest.raises(RequestError, match="1 images for 2"):
        pair_up(clean, out)


def test_missing_and_double_observed_images_are_named(folder, tmp_path):
    out = degraded(folder, tmp_path / "out")
    (out / "grey.png").rename(out / "greyx2.png")
    clean = Images(folder, exclude=["out/*"])
    Image.open(out / "greyx2.png").save(out / "grey_x2.png")
    with pytest.raises(RequestError, match="several images for 'grey'"):
        pair_up(clean, out)
    (out / "greyx2.png").unlink()
    (out / "grey_x2.png").unlink()
    with pytest.raises(RequestError, match="no image for 'grey'"):
        pair_up(clean, out)


# --- command line -----------------------------------------------------------------------------------------------------


def test_eval_prints_json_and_a_table(cli, folder):
    answer = cli("eval", "--recipe", "bicubic", "--set", "model.scale=3", "--data", folder, "--json")
    document = json.loads(answer.out)
    assert answer.code == 0
    assert document.keys() == {"protocol", "results", "mean", "model"}
    assert document["protocol"]["border"] == 3
    assert document["protocol"]["observed"] == "core:bicubic (scale 3)"
    assert document["model"]["component"] == "core:bicubic"
    assert document["results"][0].keys() == {"name", "psnr", "ssim", "seconds"}
    answer = cli("eval", "--recipe", "bicubic", "--data", folder, "--protocol", "lapsrn")
    assert "colour" in answer.out
    assert "mean" in answer.out
    assert "name: lapsrn" in answer.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--recipe", "bicubic"), 2, "--data DIR"),
        (("--recipe", "bicubic", "--data", "no-such-folder"), 2, "no-such-folder does not exist"),
        (("--recipe", "bicubic", "--plugin", "core", "--data", "."), 2, "name one of"),
        (("--recipe", "bicubik", "--data", "."), 2, "did you mean"),
        (("--recipe", "identity", "--data", "DATA"), 2, "needs a [degradation] table"),
        (("--recipe", "bicubic", "--data", "DATA", "--protocol", "sry"), 2, "did you mean 'sr-y'"),
        (("--recipe", "bicubic", "--data", "DATA", "--set", "evaluation.protocol=x"), 2, "--set evaluation.protocol"),
        (("--recipe", "bicubic", "--data", "DATA", "--set", "degradation.scale=3"), 2, "give both the same scale"),
        (("--recipe", "bicubic", "--data", "DATA", "--device", "warp"), 2, "no device 'warp'"),
        (("--recipe", "bicubic", "--data", "DATA", "--set", "model.weights=none"), 2, "no weights named 'none'"),
    ],
)  # fmt: skip
def test_eval_says_what_is_wrong(cli, folder, arguments, code, said):
    answer = cli("eval", *(folder if a == "DATA" else a for a in arguments))
    assert answer.code == code
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) <= 2


# --- the published rows -----------------------------------------------------------------------------------------------

ROWS = {
    ("sr-y", "Set5"): {2: (33.66, 0.9299), 4: (28.42, 0.8104), 8: (24.39, 0.658)},
    # x8 is published as .565. With the four-digit rows at x2 and x4 met by shaving first and valid windows after, that
    # number comes only with other borders; ours is .5627.
    ("sr-y", "Set14"): {2: (30.23, 0.8687), 4: (26.00, 0.7019), 8: (23.09, 0.5627)},
    ("lapsrn", "Set5"): {2: (33.65, 0.930), 4: (28.42, 0.810), 8: (24.40, 0.657)},
    ("lapsrn", "Set14"): {2: (30.34, 0.870), 4: (26.10, 0.704), 8: (23.19, 0.568)},
}


def published(shared_data, name, benchmark, scale):
    data = Images(shared_data / "sr_benchmarks" / benchmark / "HR", channels="native")
    mean = evaluate(BicubicUpscale(scale, "y"), data, Bicubic(scale), protocol(name)).mean
    db, similarity = ROWS[name, benchmark][scale]
    ours = (name, benchmark, scale) == ("sr-y", "Set14", 8)
    assert mean["psnr"] == pytest.approx(db, abs=0.01), (name, benchmark, scale)
    assert mean["ssim"] == pytest.approx(similarity, abs=5e-4 if ours else 1.5e-3), (name, benchmark, scale)


@pytest.mark.shared
@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_the_published_row_of_set5_x4(shared_data, name):
    published(shared_data, name, "Set5", 4)


@pytest.mark.shared
def test_all_other_published_rows(shared_data):
    for (name, benchmark), row in ROWS.items():
        for scale in row:
            if (benchmark, scale) != ("Set5", 4):
                published(shared_data, name, benchmark, scale)


@pytest.mark.shared
def test_the_recipe_bicubic_makes_that_row(shared_data, cli):
    folder = shared_data / "sr_benchmarks" / "Set5" / "HR"
    answer = cli("eval", "--recipe", "bicubic", "--set", "model.scale=2", "--data", folder, "--json")
    mean = json.loads(answer.out)["mean"]
    assert (mean["psnr"], mean["ssim"]) == (pytest.approx(33.66, abs=0.01), pytest.approx(0.9299, abs=1.5e-3))


def test_a_protocol_is_a_value():
    assert attrs.evolve(protocol("sr-y"), name="x") != protocol("sr-y")
