"""What a checkpoint records: checked before anything of it is used."""
