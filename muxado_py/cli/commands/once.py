"""Once: a command whose options are given once, but for those that may be given more often.

What it is.  The class of every command here.

The rule.  click takes the last of two values and says nothing of the first.  A gateway that was given ``--http`` twice would have one
door, and whoever wrote the second ``--token-file`` behind the first would let nobody in of that.  So it is wrong usage, of whatever
kind the option is: of a flag and its opposite, one is not meant either.

The trap.  What the environment says is another source, which the command line overrides: that is no second time.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click import Context

__all__ = ("OnceCommand",)


class OnceCommand(click.Command):
    """One that refuses what is given twice and counts once."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:  # which completes a line that is not whole
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for one, times in Counter(given).items():
                if isinstance(one, click.Option) and times > 1 and not _may_repeat(one):
                    raise click.UsageError(
                        f"{_name(one)} is given {times} times, and counts once", ctx
                    )
        return super().parse_args(ctx, args)


def _may_repeat(option: click.Option) -> bool:
    return option.multiple or option.count or option.is_eager


def _name(option: click.Option) -> str:
    """All that it is called in words, for a flag and its opposite are two."""
    words = [one for one in (*option.opts, *option.secondary_opts) if one.startswith("--")]
    return " or ".join(words)
