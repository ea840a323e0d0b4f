"""``detkit verify``: the certificate of exported files."""

from detkit.engine.commands.verify.verify_command import DESCRIPTION, verify_command

__all__ = ["DESCRIPTION", "verify_command"]
