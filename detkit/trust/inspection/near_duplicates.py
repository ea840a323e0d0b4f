"""Images that are nearly equal: resized, compressed again, brightened, mirrored, or neighbors in a video.

Candidates have perceptual hashes that differ in few bits; Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions", 2010, section 3.2.1: the signs of the 64 lowest frequencies of a cosine transform against their median.
Two hashes with at most k different bits agree in at least one of k + 1 parts, so that only images with an equal part
are compared. The thumbnails of candidates must then agree as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MOST_BITS = 7
"""Hashes of nearly equal images differ in at most so many of their 64 bits."""

MOST_PAIRS = 200_000

_LOWEST = 8  # frequencies of each axis
_LEAST_CONTRAST = 3.0  # gray levels: of flatter images a hash says nothing
_LEAST_CORRELATION = 0.95  # of thumbnails; of 72 million pairs of Shapes with similar hashes none has more than 0.91
_CHUNK = 4096


def near_duplicates(thumbnails: np.ndarray) -> np.ndarray:
    """The pairs of images that are nearly equal, as they are or mirrored, at most about `MOST_PAIRS`.

    Args:
        thumbnails: uint8 ``(k, 32, 32)``.

    Returns:
        int64 ``(P, 2)`` positions, the smaller one first, sorted.
    """
    usable = np.flatnonzero(thumbnails.std(axis=(1, 2)) >= _LEAST_CONTRAST)
    both = np.concatenate([thumbnails[usable], thumbnails[usable, :, ::-1]])
    hashes = perceptual_hashes(both)
    found = [np.zeros((0, 2), np.int64)]
    total = 0
    for pairs in similar_hashes(hashes):
        own = pairs[(pairs[:, 0] < len(usable)) & (pairs[:, 1] - pairs[:, 0] != len(usable))]
        found.append(np.sort(usable[own[_are_alike(both, own)] % len(usable)], axis=1))
        total += len(found[-1])
        if total >= MOST_PAIRS:
            break
    unique: np.ndarray = np.unique(np.concatenate(found), axis=0)
    return unique


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:
    """uint64 ``(k,)`` of thumbnails ``(k, 32, 32)``; the lowest frequency is the first bit."""
    side = thumbnails.shape[1]
    frequencies, places = np.arange(_LOWEST)[:, None], np.arange(side)[None]
    basis = np.cos(np.pi * frequencies * (2 * places + 1) / (2 * side)).astype(np.float32)
    parts = [np.zeros(0, np.uint64)]
    for start in range(0, len(thumbnails), _CHUNK):
        images = thumbnails[start : start + _CHUNK].astype(np.float32)
        low = (basis @ images @ basis.T).reshape(len(images), -1)
        bits = low > np.median(low, axis=1, keepdims=True)
        parts.append(np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64))
    return np.concatenate(parts)


def similar_hashes(hashes: np.ndarray, most_bits: int = MOST_BITS) -> Iterator[np.ndarray]:
    """Pairs of positions ``(P, 2)`` of hashes that differ in at most some bits; a pair may come several times.

    Memory grows with the number of hashes and of pairs, not with its square.
    """
    bounds = np.linspace(0, 64, most_bits + 2).astype(int)
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for rows in np.split(order, edges):
            for start in range(0, len(rows) - 1, _CHUNK):
                block = rows[start : start + _CHUNK]
                for other_start in range(start, len(rows), _CHUNK):
                    others = rows[other_start : other_start + _CHUNK]
                    bits = np.bitwise_count(hashes[block][:, None] ^ hashes[others][None])
                    one, other = np.nonzero(bits <= most_bits)
                    is_pair = block[one] < others[other]  # rows ascend, so that each pair is met in this order
                    if is_pair.any():
                        yield np.stack((block[one[is_pair]], others[other[is_pair]]), axis=1)


def _are_alike(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Which pairs have thumbnails that are equal but for brightness, contrast and small differences, bool ``(P,)``."""
    alike = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        first, second = (_standardized(thumbnails[pairs[chunk, side]]) for side in (0, 1))
        alike[chunk] = (first * second).mean(axis=1) >= _LEAST_CORRELATION
    return alike


def _standardized(thumbnails: np.ndarray) -> np.ndarray:
    flat = thumbnails.reshape(len(thumbnails), np.prod(thumbnails.shape[1:])).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    standardized: np.ndarray = flat / flat.std(axis=1, keepdims=True).clip(1e-6)
    return standardized
