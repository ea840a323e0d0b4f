"""What ``detkit predict`` does after its arguments are parsed: batches, further inputs, files."""
