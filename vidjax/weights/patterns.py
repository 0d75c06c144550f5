"""Key patterns and parameter paths with placeholders, such as `layer{s}.{b}.conv1.weight`."""

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{([a-z_]+)([+-]\d+)?\}")


def placeholders(text: str) -> list[tuple[str, int]]:
    """List the placeholders of a pattern or path, as `[(name, number added)]`.

    Raises:
      ValueError: if a brace does not belong to a placeholder.
    """
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        raise ValueError(f"{text!r}: a placeholder is {{name}}, {{name+1}} or {{name-1}}, in lower-case letters")
    return [(name, int(step or 0)) for name, step in _PLACEHOLDER.findall(text)]


def regex(pattern: str, numbers: set[str]) -> re.Pattern:
    """Regular expression for the keys of a pattern; placeholders in `numbers` match only digits."""
    seen: set[str] = set()

    def group(found: re.Match) -> str:
        name = found.group(1)
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{'[0-9]+' if name in numbers else '[^.]+'})"

    # Odd parts are placeholders, even ones literal text.
    parts = re.split(r"(\{[a-z_]+\})", pattern)
    return re.compile("".join(_PLACEHOLDER.sub(group, p) if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill in the placeholders of a pattern or path."""

    def value(found: re.Match) -> str:
        name, step = found.groups()
        return str(int(values[name]) + int(step)) if step else values[name]

    return _PLACEHOLDER.sub(value, text)


def unfill(text: str, filled: str) -> dict[str, str] | None:
    """Values of the placeholders of a pattern or path in `filled`; None if `filled` does not match it."""
    steps = dict(reversed(placeholders(text)))  # the first placeholder of a name counts
    seen: set[str] = set()

    def group(found: re.Match) -> str:
        name, step = found.groups()
        if name in seen:
            return "[^.]+"
        seen.add(name)
        return f"(?P<{name}>{'[0-9]+' if step else '[^.]+'})"

    parts = re.split(r"(\{[a-z_]+(?:[+-]\d+)?\})", text)
    pattern = "".join(_PLACEHOLDER.sub(group, p) if i % 2 else re.escape(p) for i, p in enumerate(parts))
    found = re.fullmatch(pattern, filled)
    if found is None:
        return None
    values = {name: str(int(v) - steps[name]) if steps[name] else v for name, v in found.groupdict().items()}
    return values if fill(text, values) == filled else None
