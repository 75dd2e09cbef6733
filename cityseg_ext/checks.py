"""The sentences in which this package complains: name, rule, value, cure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from numbers import Real


def expected(name: str, rule: str, value: object, cure: str = "") -> str:
    """The one form of an error message about an argument.

    Example:
        >>> expected("gamma", "at least 0", -1)
        'Expected `gamma` to be at least 0, but got -1.'
    """
    return f"Expected `{name}` to be {rule}, but got {value}." + (f" {cure}" if cure else "")


def file_problem(path: object, rule: str, value: str, cure: str = "") -> str:
    """The one form of an error message about a file.

    Example:
        >>> file_problem("a.png", "a colour mask (RGB or RGBA)", "mode L", "Set source='label_ids'.")
        "Expected file 'a.png' to be a colour mask (RGB or RGBA), but got mode L. Set source='label_ids'."
    """
    return f"Expected file '{path}' to be {rule}, but got {value}." + (f" {cure}" if cure else "")


def install_extra(extra: str) -> str:
    """How to get the packages of an extra of this package.

    Example:
        >>> install_extra("crf")
        "Install the extra `crf`: python -m pip install 'cityseg_ext[crf]', or '.[crf]' in a checkout."
    """
    return f"Install the extra `{extra}`: python -m pip install 'cityseg_ext[{extra}]', or '.[{extra}]' in a checkout."


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``; name the nearest one."""
    if value not in choices:
        raise ValueError(
            expected(name, f"one of {list(choices)}", repr(value), did_you_mean(str(value), map(str, choices)))
        )


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ``ValueError`` unless ``value`` is a number and ``value >= least`` (NaN fails too)."""
    if not isinstance(value, Real) or not value >= least:
        raise ValueError(expected(name, f"at least {least}", repr(value)))


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """``"Did you mean 'x'?"`` for the nearest of ``words``, or the empty string.

    Example:
        >>> did_you_mean("mDise", ["mDice", "aAcc"])
        "Did you mean 'mDice'?"
    """
    near = get_close_matches(word, list(words), n=1)
    return f"Did you mean '{near[0]}'?" if near else ""


def shorten(items: Sequence[object], limit: int = 5) -> str:
    """The first few of many items, and how many more there are.

    Example:
        >>> shorten([1, 2, 3], limit=2)
        '1, 2 and 1 more'
    """
    head = ", ".join(str(item) for item in items[:limit])
    return head if len(items) <= limit else f"{head} and {len(items) - limit} more"
