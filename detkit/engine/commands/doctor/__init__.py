"""``detkit doctor``: checks of a recipe on its data."""

from detkit.engine.commands.doctor.doctor_command import DESCRIPTION, doctor_command

__all__ = ["DESCRIPTION", "doctor_command"]
