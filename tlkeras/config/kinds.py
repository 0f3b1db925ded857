"""Parts of a config that have several kinds, each with its own fields."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Union, get_args

from pydantic import Discriminator, GetCoreSchemaHandler, Tag, TypeAdapter, ValidationError, model_validator

from tlkeras.config.base import Config, Override, meant
from tlkeras.config.renamed import RENAMED
from tlkeras.errors import nearest

ANY = ""  # the kind of all names that have no class of their own


class _MakesKinds(type(Config)):
    kind_for: Any  # class methods of `Kinds`, whose metaclass this is
    is_part: Any

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        kind = cls.kind_for(fields) if cls.is_part() and not args else cls
        return super(_MakesKinds, kind).__call__(*args, **fields)


class Kinds(Config, metaclass=_MakesKinds):
    """A part with several kinds, which are distinguished by the value of a field.

    A direct subclass is the part, and its subclasses are its kinds. A field with the type of the part accepts
    all kinds. A call of the part makes the kind that fits the given fields.

    A field that only another kind has is refused, unless it has its default value, as in a config that
    contains the fields of all kinds.

    Attributes:
        kinds: Classes by the value of the field `told_by`. `ANY` is the class for all other names.
        told_by: Name of the field that distinguishes the kinds.
        default: Value of this field if it is not given.

    Example:
        >>> class Shape(Kinds):
        ...     told_by, default = "name", "disc"
        >>> class Disc(Shape):
        ...     name: Literal["disc"] = "disc"
        ...     radius: float = 1.0
        >>> Shape(radius=2.0)
        Disc(name='disc', radius=2.0)
    """

    kinds: ClassVar[dict[str, type["Kinds"]]]
    told_by: ClassVar[str]
    default: ClassVar[str]

    if TYPE_CHECKING:
        # a value of the part has the fields of its kind, which only its value of `told_by` tells
        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if Kinds in cls.__bases__:
            cls.kinds = {}
            return
        names = get_args(cls.model_fields[cls.told_by].annotation) or (ANY,)
        cls.kinds.update(dict.fromkeys(names, cls))
        cls.part().model_rebuild(force=True)

    @classmethod
    def is_part(cls) -> bool:
        """Whether this class is a part and not one of its kinds."""
        return "kinds" in vars(cls)

    @classmethod
    def part(cls) -> type["Kinds"]:
        """Returns the part to which this kind belongs."""
        return next(base for base in cls.__mro__ if "kinds" in vars(base))

    @classmethod
    def asked_for(cls, fields: Mapping[str, Any]) -> Any:
        """Returns the value of the field `told_by` for the given fields."""
        return fields.get(cls.told_by, cls.default)

    @classmethod
    def kind_for(cls, fields: Mapping[str, Any]) -> type["Kinds"]:
        """Returns the class for these fields. An unknown name gives the default class, which refuses it."""
        name = cls.asked_for(fields)
        name = str(name) if isinstance(name, str) else cls.default
        return cls.kinds.get(name) or cls.kinds.get(ANY) or cls.kinds[cls.default]

    @model_validator(mode="before")
    @classmethod
    def _kind_is_known(cls, given: Any) -> Any:
        asked = cls.asked_for(given) if isinstance(given, Mapping) else cls.default
        if ANY not in cls.kinds and asked not in cls.kinds:
            raise ValueError(
                f"{cls.told_by} must be one of {', '.join(cls.kinds)}.{nearest(str(asked), cls.kinds)} "
                f"Received: {cls.told_by}={asked!r}"
            )
        return given

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        if not (cls.is_part() and cls.kinds):
            return handler(source)
        classes = dict.fromkeys(cls.kinds.values())
        members: Any = tuple(Annotated[kind, Tag(kind.__name__)] for kind in classes)
        told = Discriminator(
            lambda given: _class_of(cls, given),
            custom_error_type="no_part",
            custom_error_message="Input should be an object with the fields of one of its kinds",
        )
        return handler.generate_schema(Annotated[Union[members], told] if len(members) > 1 else members[0])  # noqa: UP007

    @classmethod
    def goes_without(cls, name: str, value: Any, kept: bool) -> bool:
        """Whether a field of another kind has no effect: it is None or the default, or is from an old run."""
        named = [(kind, RENAMED.get((kind.__name__, name), name)) for kind in cls.kinds.values()]
        fields = [kind.model_fields[now] for kind, now in named if now in kind.model_fields]
        if not fields or kept:
            return bool(fields)
        return value is None or any(_is_default(value, field) for field in fields)

    @classmethod
    def hint(cls, name: str, given: Mapping[str, Any]) -> str:
        """Returns a sentence that names the kinds with this field."""
        having = [kind for kind, of in cls.kinds.items() if name in of.model_fields]
        if not having:
            return super().hint(name, given)
        asked = cls.asked_for(given)
        known = [kind for kind in cls.kinds if kind != ANY]
        close = "" if asked in known else nearest(str(asked), known)
        names = " and ".join(f"{cls.told_by}={kind or 'ANOTHER'}" for kind in having)
        return f"It belongs to {names}. Received: {cls.told_by}={asked}, {name}={given[name]!r}.{close}"


def _class_of(part: type[Kinds], given: Any) -> str | None:
    if isinstance(given, part):
        return type(given).__name__
    return part.kind_for(given).__name__ if isinstance(given, Mapping) else None


def _is_default(value: Any, field: Any) -> bool:
    if field.is_required():
        return isinstance(value, Override) and value.lower() == "none"
    try:
        value = TypeAdapter(field.annotation).validate_python(meant(value, field.annotation))
    except ValidationError:
        return False
    return value == field.get_default(call_default_factory=True)
