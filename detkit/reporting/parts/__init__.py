"""The parts of sections: tables, charts, confusion matrices, the error browser."""
