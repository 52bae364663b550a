"""Whether what a manifest says can all be true: of groups, of paths, and of files.

Pure. `deploy.bundle.manifest` reads one, and has it looked at here before anybody sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.bundle.format import GROUP, must
from store.manifest import blobs

LARGEST_DOCUMENT = 64 * 1024 * 1024
"""Bytes of what tells of a release; it is read into memory."""
LARGEST_TRUST = 1024 * 1024
"""Bytes of a file with keys, as `deploy.signers` takes it."""

if TYPE_CHECKING:
    from deploy.bundle.manifest import BundleManifest


def check(manifest: BundleManifest) -> None:
    """See that the parts of a manifest agree with each other.

    Raises:
        BadBundleError: they do not.
    """
    _check_groups(manifest)
    _check_paths(manifest)
    _check_files(manifest)


def _check_groups(manifest: BundleManifest) -> None:
    """See that files and patches fill the groups in order, each to its last byte."""
    raws: list[int] = []
    closed = True
    for blob in manifest.blobs.values():
        left = len(manifest.groups) - len(raws) + 1
        must(blob.size <= left * GROUP, "the files are larger than the groups")
        if blob.size > GROUP:
            must(blob.group == len(raws), "a large file does not begin a group")
            whole, rest = divmod(blob.size, GROUP)
            raws += [GROUP] * whole + ([rest] if rest else [])
            closed = True
        elif blob.group == len(raws):
            raws.append(blob.size)
            closed = False
        else:
            must(not closed and blob.group == len(raws) - 1, "files stand out of order")
            raws[-1] += blob.size
    for patch in manifest.patches.values():
        must(patch.group == len(raws), "what differs of a file has no group of its own")
        raws.append(patch.size)
    must(raws == [each.raw for each in manifest.groups], "the groups hold other files")


def _check_paths(manifest: BundleManifest) -> None:
    """See that paths stand behind what they refer to, and that the release is among them."""
    known = set(manifest.base.paths) if manifest.base else set()
    for path, listed in zip(manifest.store_paths(), manifest.paths, strict=True):
        must(path not in known, f"{path} is carried twice, or is there already")
        must(known.issuperset(listed.references), f"{path} refers to what is not there")
        known.add(path)
    if manifest.repairs is None:
        must(manifest.top in known, "the release is not in it")
    else:
        must(not known, "what replaces groups of a bundle brings no paths, and builds on none")


def _check_files(manifest: BundleManifest) -> None:
    """See that what the paths need is there, with the size that they say."""
    needed = blobs(manifest.paths)
    for sha256, file in needed.items():
        found = manifest.blobs.get(sha256) or manifest.patches.get(sha256)
        if found is None:
            must(manifest.base is not None, f"the file {sha256} is not in it")
        else:
            must(found.size == file.size, f"the file {sha256} has two sizes")
    must(manifest.blobs.keys().isdisjoint(manifest.patches), "a file is there in two ways")
    carried = manifest.blobs.keys() | manifest.patches.keys()
    others = {*manifest.documents.values(), *manifest.trust.values()}
    must(others <= carried | needed.keys(), "a document is not in it")
    sizes = {each: file.size for each, file in needed.items()}
    sizes |= {each: blob.size for each, blob in manifest.blobs.items()}
    sizes |= {each: patch.size for each, patch in manifest.patches.items()}
    for names, most in ((manifest.documents, LARGEST_DOCUMENT), (manifest.trust, LARGEST_TRUST)):
        must(all(sizes[each] <= most for each in names.values()), "a document is too large")
    if manifest.repairs is None:
        extra = carried - needed.keys() - others
        must(not extra, "it carries files that no path needs")
