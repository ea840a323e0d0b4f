"""DeepLab: convolutions of several rates on one map, and a decoder."""
