"""What may be typed in place of full options: names of recipes, and short options; read before parsing, without torch."""
