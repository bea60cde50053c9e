"""Prints the interface as Python sees it, an item a line: ffi/api.txt. What only tests have is left out."""

import enum
import inspect

import peer_health as ph

FOR_TESTS = {"ManualClock", "HealthRegistry.on_manual_clock", "HealthRegistry.report", "HealthRegistry.panic_inside"}
FIELDS = {"self", "cls"}


def signature(function):
    given = inspect.signature(function)
    parts = [
        f"{name}: {value.annotation if value.annotation is not inspect.Parameter.empty else '?'}"
        + ("" if value.default is inspect.Parameter.empty else " = ..")  # UniFFI hides which
        for name, value in given.parameters.items()
        if name not in FIELDS
    ]
    back = given.return_annotation
    back = "" if back is inspect.Signature.empty else f" -> {getattr(back, '__name__', back)}"
    return f"({', '.join(parts)}){back}"


def members(name, value):
    if issubclass(value, enum.Enum):
        yield from (f"{name}.{one.name}" for one in value)
        return
    variants = [one for one in vars(value) if one.isupper() or (issubclass(value, Exception) and one[0].isupper())]
    if variants:
        yield from (f"{name}.{one}{signature(vars(value)[one].__init__)}" for one in variants)
        return
    if issubclass(value, Exception):
        yield name
        return
    yield f"{name}{signature(value.__init__)}"
    for method, function in inspect.getmembers(value, callable):
        if not method.startswith("_") and f"{name}.{method}" not in FOR_TESTS:
            wait = "async " if inspect.iscoroutinefunction(function) else ""
            yield f"{wait}{name}.{method}{signature(function)}"


def lines():
    for name, value in sorted(vars(ph).items()):
        if name.startswith("_") or name in FOR_TESTS or not str(getattr(value, "__module__", "")).startswith("peer_health"):
            continue
        if inspect.isclass(value):
            if not name.endswith("Protocol"):
                yield from members(name, value)
        elif inspect.isfunction(value):
            yield f"{name}{signature(value)}"


if __name__ == "__main__":
    print("\n".join(lines()))
