"""Triangle meshes: read STL (binary and text), weld corners, measure; and one sample part."""

import re

import numpy as np

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("spare", "<u2")])
_VERTEX = re.compile(rb"vertex\s+(\S+)\s+(\S+)\s+(\S+)")


class BadMesh(ValueError):
    """A file that is no usable STL; the message says why."""


def read_stl(data):
    """Return the triangles of an STL file as an array of shape (n, 3, 3)."""
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    if count > 0 and len(data) == 84 + 50 * count:
        return np.frombuffer(data, _RECORD, count, 84)["corners"].astype(float)
    found = _VERTEX.findall(data)
    if not data.lstrip().startswith(b"solid") or not found or len(found) % 3:
        raise BadMesh("This is no STL file: neither binary nor text with whole triangles.")
    try:
        return np.array(found, dtype=float).reshape(-1, 3, 3)
    except ValueError:
        raise BadMesh("The STL file has a vertex that is no number.") from None


def write_stl(triangles):
    """Return triangles as a binary STL file."""
    rows = np.zeros(len(triangles), _RECORD)
    rows["corners"] = triangles
    return bytes(80) + len(rows).to_bytes(4, "little") + rows.tobytes()


def describe(triangles):
    """Vertices, faces, bounds, area and volume of a triangle soup."""
    corners = np.round(triangles.reshape(-1, 3), 5)
    vertices, faces = np.unique(corners, axis=0, return_inverse=True)
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    volume = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    return {
        "vertices": vertices.tolist(),
        "faces": faces.reshape(-1, 3).tolist(),
        "bounds": [vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist()],
        "area": round(float(area), 2),
        "volume": round(float(volume), 2),
    }


def _prism(outline, low, high):
    """Extrude a polygon (counter-clockwise, convex) from z=low to z=high."""
    n = len(outline)
    bottom = np.c_[outline, np.full(n, low)]
    top = np.c_[outline, np.full(n, high)]
    for i in range(n):
        j = (i + 1) % n
        yield bottom[i], bottom[j], top[j]
        yield bottom[i], top[j], top[i]
    for i in range(1, n - 1):
        yield bottom[0], bottom[i + 1], bottom[i]
        yield top[0], top[i], top[i + 1]


def bracket():
    """A sample part: an angle bracket with a boss."""
    plate = np.array([[0, 0], [60, 0], [60, 40], [0, 40]], dtype=float)
    wall = np.array([[0, 0], [6, 0], [6, 40], [0, 40]], dtype=float)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    boss = np.c_[38 + 11 * np.cos(turn), 20 + 11 * np.sin(turn)]
    parts = [*_prism(plate, 0, 6), *_prism(wall, 6, 46), *_prism(boss, 6, 18)]
    return np.array(parts, dtype=float)
