"""Names: taken ones, replaced ones, and those that other packages bring."""

import pytest

from tlkeras import registry
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES, Backbone
from tlkeras.models.backbones.construct import construct
from tlkeras.models.backbones.registry import Family
from tlkeras.models.backbones.small_networks import small_cnn
from tlkeras.registry import Registry


@pytest.fixture
def fresh():
    """Lets extensions be looked for again, before and after."""
    registry.load_extensions.cache_clear()
    yield
    registry.load_extensions.cache_clear()


def test_a_taken_name_gives_way_only_when_asked():
    things = Registry("thing")
    things.add("one", 1)
    with pytest.raises(ValueError, match="replace=True"):
        things.add("one", 2)
    things.register("one", replace=True)(3)
    assert things.get("one") == 3


def test_modules_of_the_environment_register_what_is_asked_for(tmp_path, monkeypatch, fresh):
    (tmp_path / "their_heads.py").write_text(
        "from tlkeras.models import HEADS\nHEADS.add('theirs', 'a head', replace=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TLKERAS_EXTENSIONS", "their_heads")
    from tlkeras.models import HEADS

    try:
        assert HEADS.get("theirs") == "a head" and "theirs" in HEADS.names("the*")
    finally:
        HEADS._entries.pop("theirs", None)


def test_packages_name_modules_as_entry_points(monkeypatch, fresh):
    class Point:
        def load(self):
            things.add("theirs", 5)

    things = Registry("thing")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Point()] * (group == "tlkeras"))
    assert things.get("theirs") == 5


def test_a_module_that_is_not_there_is_one_line(monkeypatch, fresh):
    monkeypatch.setenv("TLKERAS_EXTENSIONS", "no_such_module_here")
    with pytest.raises(UserError, match=r"TLKERAS_EXTENSIONS .*no_such_module_here"):
        Registry("thing").get("anything")


def test_a_backbone_is_built_by_a_function_as_by_its_name():
    named = BACKBONES.get("small_cnn")
    given = Backbone("mine", small_cnn, Family("unit", ()), 32, None, "", "")
    assert given.where == named.where and given.function is named.function is small_cnn
    assert construct(given, (32, 32, 3), {"filters": (4,)}).count_params() == 108 + 4 * 4
