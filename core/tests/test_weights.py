from __future__ import annotations

import json
import os
import pickle
import zipfile

import pytest
import torch
from restore.component import Component
from restore.errors import RequestError
from restore.plugins import PluginInfo, Registered, Registry
from restore.weights import find, load_into, read, save
from torch import nn


def net(width=3):
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 3))


def registry(**names):
    components = tuple(
        Registered(
            plugin,
            "model",
            Component("net", f"{plugin}:Net", weights={n: f"{plugin}:weights/{n}.safetensors" for n in own}),
        )
        for plugin, own in names.items()
    )
    return Registry(tuple(PluginInfo(p) for p in names), components)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_round_trip(tmp_path):
    one, two = net(), net()
    path = tmp_path / "w.safetensors"
    save(path, one.state_dict(), {"component": "a:b", "parameters": {"scale": 2}})
    found = read(path)
    assert found.metadata["component"] == "a:b"
    assert json.loads(found.metadata["parameters"]) == {"scale": 2}
    assert load_into(two, found) == []
    assert same(one, two)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_layout_in_memory_does_not_matter(tmp_path):
    one, two = net().to(memory_format=torch.channels_last), net()
    save(tmp_path / "w.safetensors", one.state_dict(), {})
    load_into(two, read(tmp_path / "w.safetensors"))
    assert same(one, two)


def test_half(tmp_path):
    one, two = net(), net()
    save(tmp_path / "h.safetensors", one.state_dict(), {}, half=True)
    save(tmp_path / "f.safetensors", one.state_dict(), {})
    found = read(tmp_path / "h.safetensors")
    assert found.tensors["0.weight"].dtype == torch.float16
    assert found.tensors["1.num_batches_tracked"].dtype == torch.int64
    load_into(two, found)
    assert two[0].weight.dtype == torch.float32
    assert torch.equal(two[0].weight, one[0].weight.half().float())
    assert (tmp_path / "h.safetensors").stat().st_size < (tmp_path / "f.safetensors").stat().st_size


def test_another_architecture_is_named(tmp_path):
    save(tmp_path / "w.safetensors", net(4).state_dict(), {"component": "a:net", "parameters": {"width": 4}})
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RequestError) as caught:
        load_into(model, read(tmp_path / "w.safetensors"))
    said = str(caught.value)
    assert "0.bias is (4,), the model's is (3,)" in said
    assert 'made for a:net {"width": 4}' in said
    assert "\n" not in said
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()), "nothing is half loaded"


def test_missing_and_extra_names(tmp_path):
    tensors = net().state_dict()
    del tensors["0.weight"]
    tensors["head.weight"] = torch.zeros(1)
    save(tmp_path / "w.safetensors", tensors, {})
    with pytest.raises(RequestError, match=r"lacks 0\.weight; has head\.weight that the model lacks"):
        load_into(net(), read(tmp_path / "w.safetensors"))
    save(tmp_path / "more.safetensors", {**net().state_dict(), "head.weight": torch.zeros(1)}, {})
    with pytest.raises(RequestError, match=r"Sequential: has head\.weight that the model lacks"):
        load_into(net(), read(tmp_path / "more.safetensors"))


def test_partial_loading_leaves_out_what_it_is_told(tmp_path):
    one, two = net(4), net(3)
    tensors = {**one.state_dict(), **{f"2.{k}": v for k, v in net(3)[2].state_dict().items()}}
    save(tmp_path / "w.safetensors", tensors, {})
    fresh = two[0].weight.clone()
    left = load_into(two, read(tmp_path / "w.safetensors"), ("0.*", "1.*"))
    assert set(left) == {n for n in two.state_dict() if n[0] in "01"}
    assert torch.equal(two[0].weight, fresh)
    assert torch.equal(two[2].weight, tensors["2.weight"])
    with pytest.raises(RequestError, match=r"'nothing\.\*' matches no parameter"):
        load_into(two, read(tmp_path / "w.safetensors"), ("nothing.*",))


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("how", ["torch", "zip", "pickle"])
def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path, suffix, how):
    trap, path = tmp_path / "trap", tmp_path / f"w{suffix}"
    content = {"a": torch.zeros(2), "b": Evil(trap)}
    if how == "torch":
        torch.save(content, path)
    elif how == "zip":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(RequestError, match="would run code|cannot be read") as caught:
        read(path)
    assert not trap.exists()
    assert "\n" not in str(caught.value)
    if how == "torch" and suffix != ".safetensors":
        assert "would run code when loaded; refused" in str(caught.value)


@pytest.mark.parametrize("wrap", [None, "state_dict", "params", "params_ema", "model"])
def test_plain_torch_files_are_read(tmp_path, wrap):
    one, two = net(), net()
    state = dict(one.state_dict())
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "w.pth")
    load_into(two, read(tmp_path / "w.pth"))
    assert same(one, two)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_cut_off_files_are_errors(tmp_path, suffix, keep):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(net().state_dict(), path)
    else:
        save(path, net().state_dict(), {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RequestError, match=f"w{suffix}"):
        read(path)


def test_files_without_tensors(tmp_path):
    for i, content in enumerate(({"epoch": 3}, [torch.zeros(1)], "text")):
        torch.save(content, tmp_path / f"{i}.pth")
        with pytest.raises(RequestError, match="no tensors by name"):
            read(tmp_path / f"{i}.pth")
    with zipfile.ZipFile(tmp_path / "z.pth", "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(RequestError, match="cannot be read"):
        read(tmp_path / "z.pth")


def test_names():
    known = registry(one=["net-x2", "net-x4"], two=["net-x4"])
    with pytest.raises(RequestError) as caught:
        find("net-x3", known)
    assert "did you mean 'net-x" in str(caught.value)
    assert "installed: one:net-x2, one:net-x4, two:net-x4" in str(caught.value)
    with pytest.raises(RequestError, match="ambiguous"):
        find("net-x4", known)
    for path in ("gone.safetensors", "folder/gone"):
        with pytest.raises(RequestError, match="does not exist"):
            find(path, known)


def test_paths(tmp_path):
    path = tmp_path / "w.safetensors"
    save(path, net().state_dict(), {})
    assert find(str(path), registry()) == path
