"""A command whose first argument is a file or a subcommand."""

from typer.core import TyperGroup

DEFAULT = "run"


class FirstWord(TyperGroup):
    """``sweep FILE`` is ``sweep run FILE``; a file of a command's name is written ``./status``."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]
        """Insert the default command before words that name no other."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)
