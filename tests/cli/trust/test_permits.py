"""Permits: which names a pattern allows; what is no pattern, and no bound, is in the tests of tokens and of JWT."""

from __future__ import annotations

import pytest

from muxado_py.cli.trust.permits import Permit, check_patterns


@pytest.mark.parametrize(
    ("patterns", "name", "allowed"),
    [
        (("blog",), "blog", True),
        (("blog",), "blogs", False),
        (("blog",), "", False),
        (("blog", "ssh"), "ssh", True),
        (("blog-*",), "blog-2", True),
        (("blog-*",), "blog-", True),
        (("blog-*",), "blog", False),
        (("*",), "blog", True),
        (("*",), "", True),
        (("*-*",), "a-b", True),
        (("a*b*c",), "axxbxxc", True),
        (("*a*a*a*a*a*a*a*a*a*a*a*a*b",), "a" * 63, False),
    ],
)
def test_a_star_stands_for_any_part_of_a_name(
    patterns: tuple[str, ...], name: str, allowed: bool
) -> None:
    assert Permit("laptop", check_patterns(patterns)).allows(name) is allowed
