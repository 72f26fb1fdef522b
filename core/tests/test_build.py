"""A factory's signature is the schema: strict conversion, nested components, errors with their place."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Literal, Optional

import attrs
import pytest
from restore.build import Builder, asset_path, import_factory, schema
from restore.component import Component
from restore.contracts import Degradation, Loss, Schedule
from restore.convert import convert, describe_type
from restore.document import parse
from restore.errors import RequestError, RestoreError
from restore.plugins import PluginInfo, Registered, Registry

HERE = "core_tests_build_parts"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A module of toy factories that an import path can name."""
    (tmp_path / f"{HERE}.py").write_text(textwrap.dedent('''
        from __future__ import annotations
        import attrs
        from pathlib import Path
        from typing import TYPE_CHECKING, Literal
        from restore import Loss, Schedule
        if TYPE_CHECKING:
            import decimal

        class Toy(Loss):
            def __init__(self, n: int, names: list[str] = ["a"], pair: tuple[int, float] = (1, 2.0), rate: float = 1.0,
                         mode: Literal["soft", "hard"] = "soft", where: Path | None = None, on: bool = False,
                         amount: float | Schedule = 1.0, table: dict[str, float] | None = None, plain: int = None):
                self.__dict__.update({k: v for k, v in locals().items() if k != "self"})

        class Wrapper(Loss):
            def __init__(self, base: Loss, others: list[Loss] = ()):
                self.base, self.others = base, others

        @attrs.frozen
        class Frozen:
            n: int
            mode: Literal["soft", "hard"] = "soft"

        class Bare:
            pass

        def odd(x: decimal.Decimal): ...

        def refuses(n: int):
            raise ValueError("n is a bad number")

        constant = 3
    '''))  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def builder(parts):
    names = {"toy": "Toy", "wrapper": "Wrapper", "frozen": "Frozen", "bare": "Bare", "refuses": "refuses",
             "odd": "odd", "constant": "constant", "gone": "Nothing"}  # fmt: skip
    components = [Registered("t", "loss", Component(k, f"{HERE}:{v}")) for k, v in names.items()]
    components.append(Registered("t", "schedule", Component("linear", "restore.builtin.schedules.basic:Linear")))
    components.append(Registered("t", "loss", Component("nomodule", "surely_not_installed:X")))
    return Builder(Registry((PluginInfo("t"),), tuple(components)))


def make(builder, text):
    from restore.recipe import check

    return builder.build("loss", check(parse("[[losses]]\n" + text, "r.toml")).losses[0])


def wrong(builder, text):
    with pytest.raises(RequestError) as caught:
        make(builder, text)
    return str(caught.value)


def test_values_arrive_as_their_types(builder):
    values = """
        use = "toy"
        n = 3
        names = ["x", "y"]
        pair = [2, 5]
        rate = "25/255"
        mode = "hard"
        where = "~/x"
        on = true
        amount = { use = "linear", start = 0, end = 1 }
        table = { a = 1 }
    """
    toy = make(builder, values)
    assert (toy.n, toy.names, toy.mode, toy.on) == (3, ["x", "y"], "hard", True)
    assert toy.pair == (2, 5.0)
    assert isinstance(toy.pair[1], float)
    assert toy.rate == 25 / 255
    assert toy.where == Path("~/x").expanduser()
    assert type(toy.amount).__name__ == "Linear"
    assert isinstance(toy.amount.start, float)
    assert toy.table == {"a": 1.0}


def test_defaults_stay_as_they_are(builder):
    toy = make(builder, 'use = "toy"\nn = 3')
    assert (toy.names, toy.pair, toy.where, toy.amount, toy.plain) == (["a"], (1, 2.0), None, 1.0, None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("n = true", "r.toml:3: losses[0].n: needs a whole number, got True"),
        ("n = 2.0", "needs a whole number"),
        ('n = "2"', "needs a whole number"),
        ('n = 1\nnames = "abc"', "r.toml:4: losses[0].names: needs a list, got 'abc'"),
        ("n = 1\nnames = [1]", "losses[0].names[0]: needs text in quotes, got 1"),
        ("n = 1\npair = [1]", "needs 2 values, got 1"),
        ("n = 1\npair = [1, 2, 3]", "needs 2 values, got 3"),
        ("n = 1\nrate = true", "needs a number, got True"),
        ('n = 1\nrate = "fast"', "is not a number"),
        ('n = 1\nrate = "1/0"', "is not a number"),
        ('n = 1\nmode = "sofd"', "did you mean 'soft'"),
        ("n = 1\nmode = 1", "must be 'soft' or 'hard'"),
        ("n = 1\non = 1", "needs true or false, got 1"),
        ('n = 1\non = "true"', "needs true or false"),
        ("n = 1\nwhere = 3", "needs a path, got 3"),
        ("n = 1\ntable = [1]", "needs a table, got [1]"),
        ('n = 1\ntable = { a = "x" }', "table.a"),
        ('n = 1\namount = { use = "linaer", start = 0 }', "no schedule 'linaer'; did you mean 'linear'"),
        ('n = 1\namount = { use = "linear", start = 0 }', "t:linear needs 'end' (float)"),
        ('n = 1\namount = { use = "linear", start = 0, end = 1, x = 2 }', "losses[0].amount.x"),
        ('n = 1\namount = "quick"', "r.toml:4: losses[0].amount: needs float or Schedule"),
        ("names = []", "r.toml:1: losses[0]: t:toy needs 'n' (int)"),
        ("n = 1\nself = 1", "has no parameter 'self'"),
    ],
)
def test_wrong_values_are_refused_with_their_place(builder, line, said):
    assert said in wrong(builder, f'use = "toy"\n{line}\n')


def test_nested_components(builder):
    made = make(builder, 'use = "wrapper"\nbase = { use = "toy", n = 1 }\nothers = [{ use = "toy", n = 2 }, "bare"]')
    assert made.base.n == 1
    assert [type(o).__name__ for o in made.others] == ["Toy", "Bare"]
    assert "r.toml:3: losses[0].base.m: t:toy has no parameter 'm'" in wrong(
        builder, 'use = "wrapper"\nbase = { use = "toy", m = 1 }'
    )
    assert "needs a loss: a table with use" in wrong(builder, 'use = "wrapper"\nbase = 3')


def test_attrs_classes_and_bare_ones_are_factories_too(builder):
    assert make(builder, 'use = "frozen"\nn = 3').n == 3
    assert "must be 'soft' or 'hard'" in wrong(builder, 'use = "frozen"\nn = 3\nmode = "x"')
    assert "it takes: nothing" in wrong(builder, 'use = "bare"\nn = 3')


def test_what_a_factory_refuses_names_the_component(builder):
    assert wrong(builder, 'use = "refuses"\nn = 3') == "r.toml:1: losses[0]: t:refuses: n is a bad number"


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone", "AttributeError"), ("nomodule", "surely_not_installed"), ("constant", "is not a class or function"),
     ("odd", "type hints")],
)  # fmt: skip
def test_broken_components_are_the_plugins_fault(builder, name, said):
    with pytest.raises(RestoreError, match=said) as caught:
        make(builder, f'use = "{name}"\n')
    assert not isinstance(caught.value, RequestError)


def test_the_caller_may_provide_what_recipes_may_not(builder):
    from restore.recipe import check

    use = check(parse('[[losses]]\nuse = "toy"\n', "r")).losses[0]
    assert builder.build("loss", use, n=5).n == 5
    with pytest.raises(RequestError, match="no parameter 'n'"):
        builder.build("loss", check(parse('[[losses]]\nuse = "toy"\nn = 1\n', "r")).losses[0], n=5)


def test_schema_and_names_of_types(parts):
    found = schema(import_factory(Registered("t", "loss", Component("toy", f"{HERE}:Toy"))))
    assert {n: p.type_name for n, p in found.items()} == {
        "n": "int", "names": "list of str", "pair": "list of int, float", "rate": "float", "mode": "'soft' or 'hard'",
        "where": "path", "on": "bool", "amount": "float or Schedule", "table": "dict", "plain": "int",
    }  # fmt: skip
    assert [n for n, p in found.items() if p.required] == ["n"]


def test_convert_by_itself():
    place = parse("x = 1", "r").root.child("x")
    assert convert(None, Optional[int], place) is None  # noqa: UP045 - plugins may write it so
    assert convert("auto", float | Literal["auto"], place) == "auto"
    assert convert("1/4", float | Literal["auto"], place) == 0.25
    assert convert([1, "a"], Any, place) == [1, "a"]
    assert convert(2, Literal[1, 2], place) == 2
    assert describe_type(tuple[int, ...]) == "list of int"
    for value, annotation in (
        (True, Literal[1, 2]),
        (1, Literal[True, "x"]),
        (1.0, Literal[1, 2]),
        (3, object),
        (b"x", str),
    ):
        with pytest.raises(RequestError):
            convert(value, annotation, place)


def test_an_attrs_class_refuses_what_it_does_not_know():
    @attrs.frozen
    class Table:
        n: int
        inner: Literal["a", "b"] = "a"

    place = parse("x = 1", "r").root
    assert convert({"n": 1}, Table, place) == Table(1)
    for table in ({"n": 1, "m": 2}, {}, {"n": "x"}, [1], "n"):
        with pytest.raises(RequestError):
            convert(table, Table, place)


def test_assets(tmp_path):
    assert asset_path("restore.builtin:recipes/bicubic.toml").is_file()
    with pytest.raises(RestoreError, match="missing from the installed package"):
        asset_path("restore.builtin:recipes/none.toml")
    with pytest.raises(RestoreError, match="surely_not_installed"):
        asset_path("surely_not_installed:x.toml")


@pytest.mark.parametrize("name", ["", "Upper", "with space", "a:b", "-x", None])
def test_component_names_are_checked(name):
    with pytest.raises((ValueError, TypeError)):
        Component(name, "a.b:C")


@pytest.mark.parametrize("path", ["", "a.b", "a b:C", ":C", None])
def test_component_paths_are_checked(path):
    with pytest.raises((ValueError, TypeError)):
        Component("x", path)


def test_contracts_are_told_from_one_another():
    from restore.build import CONTRACTS

    assert (CONTRACTS[Degradation], CONTRACTS[Loss], CONTRACTS[Schedule]) == ("degradation", "loss", "schedule")
