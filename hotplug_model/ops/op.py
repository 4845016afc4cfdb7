"""Base class of all operations; defining a subclass registers it."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from typing import Any, ClassVar, Protocol, Self

from hotplug_model.errors import UserError
from hotplug_model.kernel import Kernel
from hotplug_model.pfn import PfnRange
from hotplug_model.registry import Registry, unknown
from hotplug_model.state import faults
from hotplug_model.steps import Steps

MAX_PFN = 1 << 52


class Chooser(Protocol):
    """Source of choices: Hypothesis, exhaustive search or a seeded generator."""

    def index(self, n: int) -> int:
        """Choose an index below *n*; 0 is the simplest."""
        ...


OPS: Registry[type[Op]] = Registry("operation")


@dataclasses.dataclass(frozen=True)
class Op:
    """One request to the kernel, as plain data.

    A subclass has fields of type int, bool, str, PfnRange, Op, or tuples of these; what
    the text form, the drivers and the trace need follows from them. One with a
    ``__post_init__()`` of its own calls that of its base.
    """

    weight: ClassVar[int] = 1
    """How many times as often as others it is drawn where it is enabled.

    What others have to come before, and what few machines are asked, is so drawn often
    enough to come right before and right behind each other operation.
    """
    on_request: ClassVar[bool] = False
    """Whether nothing is drawn but on a boot layout that has to be asked for."""
    fail_at: str | None = dataclasses.field(default=None, kw_only=True)
    """The allocation that fails while it is carried out, e.g. ``vmemmap_page:3``."""

    def __init_subclass__(cls) -> None:
        OPS.add(cls.op_name(), cls)

    def __post_init__(self) -> None:
        if self.fail_at is not None:
            faults.parse(self.fail_at)

    @classmethod
    def op_name(cls) -> str:
        """The class name in kernel spelling, e.g. ``memremap_pages``."""
        return _spelled(cls.__name__)

    @classmethod
    def enabled(cls, kernel: Kernel) -> bool:
        """Whether :meth:`draw` has something sensible to choose from."""
        return True

    @classmethod
    def promising(cls, kernel: Kernel) -> bool:
        """Whether :meth:`draw` has something that the kernel may well grant.

        Else it is drawn for the refusals only, a fourth as often.
        """
        return True

    @classmethod
    def draw(cls, kernel: Kernel, choose: Chooser) -> Self:
        """A request that makes sense now, and sometimes one that the kernel refuses."""
        raise TypeError(f"{cls.__name__} has no draw()")

    def steps(self, kernel: Kernel) -> Steps:
        """Carry the request out."""
        raise TypeError(f"{type(self).__name__} has no steps()")

    @classmethod
    def argument_names(cls) -> list[str]:
        """What is asked for; which allocation fails is no part of it."""
        return [f.name for f in dataclasses.fields(cls) if f.name != "fail_at"]

    @classmethod
    def optional(cls) -> dict[str, Any]:
        """What a trace may leave out, with what that means: younger than the traces."""
        fields = dataclasses.fields(cls)
        return {f.name: f.default for f in fields if f.metadata.get("optional")}

    def arguments(self) -> dict[str, Any]:
        """What is asked for, by name."""
        return {name: getattr(self, name) for name in self.argument_names()}

    def pfns_touched(self) -> list[PfnRange]:
        """Ranges that the request names, for people."""
        values = list(self.arguments().values())
        nested = [v for value in values if isinstance(value, tuple) for v in value]
        return [v for v in [*values, *nested] if isinstance(v, PfnRange)]

    def __str__(self) -> str:
        shown = [f"{name}={_shown(value)}" for name, value in self.arguments().items()]
        if self.fail_at is not None:
            shown.append(f"fail_at={self.fail_at}")
        return f"{self.op_name()}({', '.join(shown)})"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_json` gives the equal operation back."""
        usual = self.optional()
        asked = {n: v for n, v in self.arguments().items() if n not in usual or v != usual[n]}
        plain = {name: _encode(value) for name, value in asked.items()}
        return {"op": self.op_name()} | plain | {"fail_at": self.fail_at}

    @staticmethod
    def from_json(event: object) -> Op:
        """The operation that *event* describes; :class:`UserError` if it describes none."""
        if not isinstance(event, dict) or not isinstance(event.get("op"), str):
            raise UserError("an event must be an object with an 'op'")
        cls = OPS[event["op"]]
        kinds = typing.get_type_hints(cls)
        wanted = {name: kinds[name] for name in (*cls.argument_names(), "fail_at")}
        given = {name: value for name, value in event.items() if name != "op"}
        for name in given.keys() - wanted.keys():
            raise UserError(f"{cls.op_name()}: {unknown('field', str(name), wanted)}")
        for name in wanted:
            if name not in given and name not in cls.optional():
                raise UserError(f"{cls.op_name()}: field {name!r} is missing")
        return cls(**{n: _decode(wanted[n], v, f"{cls.op_name()}.{n}") for n, v in given.items()})


def drawn_ops() -> dict[str, type[Op]]:
    """Operations that can be drawn, by name; :class:`Interleave` only combines others."""
    return {n: cls for n, cls in OPS.items() if "draw" in vars(cls) and not cls.on_request}


def ops_on_request() -> dict[str, type[Op]]:
    """Operations that can be drawn where a boot layout is asked for that enables them."""
    return {name: cls for name, cls in OPS.items() if cls.on_request}


@functools.cache
def _spelled(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_shown, value)) + ")"
    return str(value)


def _encode(value: Any) -> Any:
    if isinstance(value, PfnRange):
        return [value.start_pfn, value.end_pfn]
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    return value.to_json() if isinstance(value, Op) else value


def _decode(kind: Any, value: object, where: str) -> Any:
    """*value* as a field of type *kind*, or a :class:`UserError` that names the field."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(k for k in kind.__args__ if k is not types.NoneType)
    if kind is Op:
        return Op.from_json(value)
    if kind is PfnRange:
        numbers = _decode(tuple[int, ...], value, where)
        if len(numbers) != 2:
            raise UserError(f"{where}: a pfn range is [start, end]")
        return PfnRange(*numbers)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) > 16:
            raise UserError(f"{where}: expected a list of at most 16, found {_found(value)}")
        inner = typing.get_args(kind)[0]
        return tuple(_decode(inner, each, where) for each in value)
    if type(value) is not kind:
        raise UserError(f"{where}: expected {kind.__name__}, found {_found(value)}")
    if isinstance(value, int) and not -MAX_PFN < value < MAX_PFN:
        raise UserError(f"{where}: {value:#x} is out of range"[:120])
    return value


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
