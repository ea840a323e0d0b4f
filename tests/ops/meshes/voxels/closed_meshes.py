"""Closed meshes for the tests of voxels, and the winding number that says what lies inside."""

import itertools

import torch

from detkit.structures.meshes import icosphere


def box(low, high):
    """Vertices and faces of an axis-aligned box, counterclockwise from outside."""
    corners = torch.tensor(list(itertools.product(*zip(low, high, strict=True))), dtype=torch.float64)
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return corners, quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def sphere(level, radius=1.0):
    mesh = icosphere(level)
    return torch.nn.functional.normalize(mesh.vertices.double(), dim=1) * radius, mesh.faces


def torus(radius, tube, around=64, across=32):
    """Its axis is z."""
    u, v = torch.meshgrid(torch.arange(around), torch.arange(across), indexing="ij")
    angle, other = 2 * torch.pi * u.double() / around, 2 * torch.pi * v.double() / across
    reach = radius + tube * other.cos()
    vertices = torch.stack([reach * angle.cos(), reach * angle.sin(), tube * other.sin()], dim=-1).view(-1, 3)
    rows = [(u + a) % around * across + (v + b) % across for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    return vertices, torch.stack(rows, dim=-1).view(-1, 4)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def tangle(generator, scale=1.0):
    """The faces of an icosahedron over random vertices: closed, and through itself in many layers."""
    vertices, faces = sphere(0)
    return (torch.rand(vertices.shape, generator=generator, dtype=torch.float64) * 2 - 1) * scale, faces


def packed(*meshes):
    """Vertices, faces and the counts of faces of several ``(vertices, faces)``."""
    firsts = itertools.accumulate([len(vertices) for vertices, _ in meshes], initial=0)
    faces = [faces + first for (_, faces), first in zip(meshes, firsts, strict=False)]
    counts = torch.tensor([len(own) for own in faces])
    return torch.cat([vertices for vertices, _ in meshes]), torch.cat(faces), counts


def centers(size):
    """Centers x y z of the cells of `cubify`'s grid, ``(D, H, W, 3)``."""
    depth, height, width = (2 * (torch.arange(n, dtype=torch.float64) + 0.5) / (n - 1) - 1 for n in size)
    z, y, x = torch.meshgrid(depth, height, width, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def winding_numbers(points, vertices, faces):
    """How often the surface winds around points ``(..., 3)``: the solid angles of its faces over 4 pi.

    Jacobson et al., "Robust Inside-Outside Segmentation using Generalized Winding Numbers", 2013, equation 5; the angle
    by van Oosterom and Strackee, "The Solid Angle of a Plane Triangle", 1983.
    """
    corners = vertices[faces] - points[..., None, None, :]
    a, b, c = corners.unbind(-2)
    la, lb, lc = corners.norm(dim=-1).unbind(-1)
    volume = (a * torch.linalg.cross(b, c)).sum(-1)
    cosine = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return torch.atan2(volume, cosine).sum(-1) / (2 * torch.pi)
