import collections
import hashlib
import os
import pickle

import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.models.weights.torch_files import read_tensors

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Storage:
    """Pickles as torch does: a reference instead of the numbers."""

    def __init__(self, key, values, kind="FloatStorage"):
        self.pid = ("storage", Global("torch", kind), key, "cpu", len(values), None)


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, module, name, *args):
        self.function, self.args = Global(module, name), args


class TorchPickler(pickle._Pickler):
    """Writes names of functions that need not exist here."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


def tensor(key, values, shape, stride, offset=0):
    storage = Storage(key, values)
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, stride, False)


def write(path, content, arrays, magic=MAGIC):
    with path.open("wb") as file:
        for header in (magic, PROTOCOL, {"little_endian": True}):
            pickle.dump(header, file, protocol=2)
        TorchPickler(file, protocol=2).dump(content)
        pickle.dump(list(arrays), file, protocol=2)
        for values in arrays.values():
            file.write(len(values).to_bytes(8, "little") + values.tobytes())
    return path


VALUES = np.arange(12, dtype="<f4")


def test_reads_tensors_whatever_their_strides(tmp_path):
    content = collections.OrderedDict(
        rows=tensor("0", VALUES, (3, 4), (4, 1)),
        columns=tensor("0", VALUES, (4, 3), (1, 4)),
        part=tensor("0", VALUES, (2,), (1,), offset=5),
        scalar=tensor("0", VALUES, (), (), offset=7),
    )
    found = read_tensors(write(tmp_path / "a.pth", content, {"0": VALUES}))
    np.testing.assert_array_equal(found["rows"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(found["columns"], VALUES.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [5, 6])
    assert found["scalar"] == 7


def test_a_file_that_calls_a_function_is_refused_and_nothing_is_called(tmp_path):
    touched = tmp_path / "touched"
    evil = collections.OrderedDict(weight=Call("os", "system", f"touch {touched}"))
    path = write(tmp_path / "evil.pth", evil, {})
    with pytest.raises(UserError, match=r"asks for os\.system, which is not allowed"):
        read_tensors(path)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "torch._utils._rebuild_parameter", "numpy.load"])
def test_other_names_are_refused(tmp_path, name):
    module, _, function = name.rpartition(".")
    path = write(tmp_path / "evil.pth", {"weight": Call(module, function, "1")}, {})
    with pytest.raises(UserError, match="not allowed"):
        read_tensors(path)


def test_the_first_pickles_are_read_with_the_same_care(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match="not allowed"):
        read_tensors(path)


def test_another_digest_is_refused(tmp_path):
    path = write(tmp_path / "a.pth", {"x": tensor("0", VALUES, (12,), (1,))}, {"0": VALUES})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_tensors(path, digest)["x"].shape == (12,)
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="not the file that was published"):
        read_tensors(path, digest)


@pytest.mark.parametrize(
    ("shape", "stride", "offset"), [((13,), (1,), 0), ((4,), (4,), 0), ((2,), (1,), 11), ((2,), (-1,), 3)]
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, shape, stride, offset):
    content = {"x": tensor("0", VALUES, shape, stride, offset)}
    with pytest.raises(UserError, match="beyond its storage"):
        read_tensors(write(tmp_path / "a.pth", content, {"0": VALUES}))


def test_files_that_are_cut_short_or_something_else_are_refused(tmp_path):
    content = {"x": tensor("0", VALUES, (12,), (1,))}
    path = write(tmp_path / "a.pth", content, {"0": VALUES})
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(UserError, match="ends too early"):
        read_tensors(path)
    with pytest.raises(UserError, match="header"):
        read_tensors(write(tmp_path / "b.pth", content, {"0": VALUES}, magic=1))
    (tmp_path / "c.pth").write_bytes(b"PK\3\4 a zip archive")
    with pytest.raises(UserError, match="not a file of tensors"):
        read_tensors(tmp_path / "c.pth")
