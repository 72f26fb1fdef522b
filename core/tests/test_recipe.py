from __future__ import annotations

import pytest
from restore.build import Builder
from restore.document import dumps, load, parse, toml
from restore.errors import RequestError
from restore.plugins import discover
from restore.recipe import check

RECIPE = """\
# a comment
recipe = 1

[model]
use = "bicubic"
scale = 2

[degradation]
use = "bicubic"
scale = "${model.scale}"

[[losses]]
use = "l1"

[[losses]]
use = "charbonnier"
eps = 1e-3
weight = 0.5

[optimizer]
use = "adam"
lr = { use = "cosine", start = 4e-4, end = 0.0 }

[training]
iterations = 10
"""


@pytest.fixture(scope="module")
def builder():
    return Builder(discover())


def use(text, overrides, build, builder):
    recipe = check(parse(text, "r.toml", overrides))
    if build is not None:
        kind, pick = build
        builder.build(kind, pick(recipe))


def message(text, *overrides, build=None, builder=None):
    with pytest.raises(RequestError) as caught:
        use(text, overrides, build, builder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_recipe_is_read():
    recipe = check(parse(RECIPE, "r.toml"))
    assert recipe.model.use == "bicubic"
    assert recipe.degradation.parameters == {"scale": 2}
    assert [loss.use for loss in recipe.losses] == ["l1", "charbonnier"]
    assert recipe.training.iterations == 10
    assert recipe.training.batch == 16
    assert recipe.evaluation.protocol == "sr-y"


def test_an_unknown_key_names_file_line_key_and_the_nearest():
    text = RECIPE.replace("iterations = 10", "iterations = 10\niteration = 20")
    said = message(text)
    assert said.startswith("r.toml:26: training.iteration:")
    assert "did you mean 'iterations'" in said
    assert message(RECIPE.replace("[optimizer]", "[optimiser]")).startswith(
        "r.toml:20: optimiser: unknown key; did you mean 'optimizer'"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("iterations = 10", 'iterations = "ten"', "r.toml:25: training.iterations: needs a whole number, got 'ten'"),
        ("iterations = 10", "iterations = true", "r.toml:25: training.iterations: needs a whole number, got True"),
        ("iterations = 10", "iterations = 1.5", "r.toml:25: training.iterations: needs a whole number, got 1.5"),
        ("iterations = 10", "", "r.toml:24: training: 'iterations' is missing"),
        ("iterations = 10", "iterations = 0", "r.toml:24: training: iterations must be at least 1"),
        ("recipe = 1", "recipe = 2", "upgrade restorekit"),
        ('use = "l1"', "weight = 1", 'r.toml:12: losses[0]: needs a table with use = "component"'),
        ('use = "charbonnier"', "use = 3", 'r.toml:15: losses[1]: needs a table with use = "component"'),
    ],
)
def test_wrong_values_name_their_place(old, new, said):
    assert said in message(RECIPE.replace(old, new))


def test_precision_is_one_of_a_few():
    said = message(RECIPE + 'precision = "bf16-mixd"\n')
    assert said.startswith("r.toml:26: training.precision: must be")
    assert "did you mean 'bf16-mixed'" in said


@pytest.mark.parametrize(
    ("old", "new", "kind", "pick", "said"),
    [
        ('use = "bicubic"\nscale = 2', 'use = "bicubik"\nscale = 2', "model", lambda r: r.model,
         "r.toml:5: model.use: no model 'bicubik'; did you mean 'bicubic'"),
        ("scale = 2", "scael = 2", "model", lambda r: r.model,
         "r.toml:6: model.scael: core:bicubic has no parameter 'scael'; did you mean 'scale'"),
        ("scale = 2", 'scale = "2"', "model", lambda r: r.model, "r.toml:6: model.scale: needs a whole number"),
        ("scale = 2", "scale = 0", "model", lambda r: r.model, "r.toml:4: model: core:bicubic: scale must be"),
        ('scale = "${model.scale}"', "", "degradation", lambda r: r.degradation,
         "r.toml:8: degradation: core:bicubic needs 'scale' (int)"),
        ("eps = 1e-3\nweight = 0.5", "epz = 1", "loss", lambda r: r.losses[1],
         "r.toml:17: losses[1].epz: core:charbonnier has no parameter 'epz'; did you mean 'eps'"),
    ],
)  # fmt: skip
def test_wrong_components_and_parameters_name_their_place(builder, old, new, kind, pick, said):
    text = RECIPE.replace(old, new, 1).replace('scale = "${model.scale}"', "scale = 2") if kind != "degradation" else (
        RECIPE.replace(old, new))  # fmt: skip
    assert message(text, build=(kind, pick), builder=builder).startswith(said)


def test_keys_of_inline_tables_have_a_line():
    text = '[optimizer]\nuse = "adam"\nlr = { use = "cosine", start = "x" }\n'
    where = parse(text, "r.toml").where
    assert where(("optimizer", "lr", "start")) == "r.toml:3: optimizer.lr.start"
    nested = parse("[a]\nb = { c = { d = 1 } }\n", "r.toml").where
    assert nested(("a", "b", "c", "d")) == "r.toml:2: a.b.c.d"


def test_lines_of_lists_of_tables_are_those_of_the_right_entry():
    text = '[[losses]]\nuse = "l1"\n\n[[losses]]\nuse = "mse"\n[losses.more]\nx = 1\n'
    where = parse(text, "r.toml").where
    assert where(("losses", 0, "use")) == "r.toml:2: losses[0].use"
    assert where(("losses", 1, "use")) == "r.toml:5: losses[1].use"
    assert where(("losses", 1, "more", "x")) == "r.toml:7: losses[1].more.x"


def test_unreadable_toml_names_file_and_line():
    said = message("[model]\nuse = bicubic\n")
    assert said.startswith("r.toml: ")
    assert "line 2" in said


def test_files_that_are_none(tmp_path):
    for path, said in ((tmp_path / "no.toml", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(RequestError, match=said):
            load(path)
    (tmp_path / "latin.toml").write_bytes(b"x = '\xe9'")
    with pytest.raises(RequestError, match="cannot be read"):
        load(tmp_path / "latin.toml")


def test_overrides_reach_every_kind_of_key():
    overrides = ["model.scale=4", "losses.1.eps=2e-3", "model.name=plain text", "run.tile=64"]
    overrides += ['data.test={ use = "images", root = "x" }', "training.start.exclude=['a.*']"]
    document = parse(RECIPE, "r", tuple(overrides))
    assert document.data["model"] == {"use": "bicubic", "scale": 4, "name": "plain text"}
    assert document.data["degradation"]["scale"] == 4, "references see overrides"
    assert document.data["losses"][1]["eps"] == 2e-3
    assert document.data["run"] == {"tile": 64}
    assert document.data["data"]["test"]["root"] == "x"
    assert document.data["training"]["start"]["exclude"] == ["a.*"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.iteration=5", "--set training.iteration: unknown key; did you mean 'iterations'"),
        ("training.iterations=many", "--set training.iterations: needs a whole number, got 'many'"),
        ("training.clip_norm=yes", "--set training.clip_norm: 'yes' is not a number"),
        ("model.scale", "write key.subkey=value"),
        ("=3", "write key.subkey=value"),
        ("losses.2.eps=1", "losses has entries 0 to 1, not '2'"),
        ("recipe.x=1", "recipe is a value, it has no key 'x'"),
    ],
)
def test_wrong_overrides_are_named(override, said):
    assert said in message(RECIPE, override)


def test_references():
    assert parse('[a]\nx = 3\n[b]\ny = "${a.x}"\nz = "n-x${a.x}"\n', "r").data["b"] == {"y": 3, "z": "n-x3"}
    assert parse('[a]\nx = [1, 2]\n[b]\ny = "${a.x}"\n', "r").data["b"]["y"] == [1, 2]
    said = message('[model]\nscale = 2\n[b]\ny = "${model.scael}"\n')
    assert said == "r.toml:4: b.y: ${model.scael} refers to a key that is not there; did you mean 'scale'?"
    assert "another reference" in message('x = "${y}"\ny = "${z}"\nz = 1\n')


def test_the_digest_is_of_the_meaning_not_of_the_layout():
    plain = parse(RECIPE, "a.toml").digest()
    assert plain == parse(RECIPE.replace("# a comment", "# another") + "\n\n", "b.toml").digest()
    assert plain == parse(RECIPE, "a.toml", ("model.scale=2",)).digest()
    assert plain != parse(RECIPE, "a.toml", ("model.scale=3",)).digest()
    assert plain == parse(dumps(parse(RECIPE, "a").data), "c").digest(), "the recipe.toml of a run resumes that run"


@pytest.mark.parametrize(
    "value",
    ["", "plain", 'quo"te', "back\\slash", "line\nbreak\ttab\x00\x7f", "größe 漢字 🎞 \u2028", 1e-4, 1e22, -0.0, 7, True,
     False, [], [1, [2, 3]], ["a", "b"], {}, {"k": {"deep": [1]}}, [{"a": 1}, {"b": {"c": 2}}],
     {"needs quotes": 1, "dotted.key": 2, "ü": 3}, [1, {"mixed": 2}], float("inf")],
    ids=repr,
)  # fmt: skip
def test_what_is_written_is_read_again(value):
    data = {"first": value, "table": {"inner": value, "list": [{"x": value}]}, "last": 1}
    again = parse(dumps(data), "r").data
    assert again == data
    assert dumps(again) == dumps(data), "types too: true is not 1"
    assert parse(f"x = {toml(value)}", "r").data["x"] == value
