"""Parts as a CycloneDX 1.6 document, made by the CycloneDX library.

The same parts give the same text: without the time and the random number that the library puts
in. The artefact that the parts lie in is added by `builders.sbom_merge`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6

from builders.parts import FILE, Whole, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cyclonedx.model.bom_ref import BomRef
    from cyclonedx.model.license import License

    from builders.parts import Part

ROOT = "root"
"""What stands for the artefact until it is known."""
PREFIX = "sealift:"
"""Of the names of properties, as CycloneDX's taxonomy asks for one."""
_ALGORITHMS = {
    "sha256": HashAlgorithm.SHA_256,
    "sha384": HashAlgorithm.SHA_384,
    "sha512": HashAlgorithm.SHA_512,
}


def document(parts: Sequence[Part], direct: Iterable[str]) -> dict[str, Any]:
    """Describe parts; `direct` are the refs of those that the artefact itself asks for.

    What these do not lead to is taken as asked for by the artefact too, so that the graph is whole.
    """
    components = {part.ref: _component(part) for part in sorted(parts, key=lambda part: part.ref)}
    needs = {part.ref: part.needs for part in parts}
    root = Component(name=ROOT, type=ComponentType.APPLICATION, bom_ref=ROOT)
    needs[ROOT] = tuple(_asked(needs, direct))
    refs = {ROOT: root.bom_ref, **{ref: each.bom_ref for ref, each in components.items()}}
    bom = Bom(
        metadata=BomMetaData(component=root),
        components=components.values(),
        dependencies=[_dependency(ref, needs[ref], refs) for ref in sorted(needs)],
    )
    made: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del made["serialNumber"], made["metadata"]["timestamp"]
    return made | _compositions(parts)


def _compositions(parts: Iterable[Part]) -> dict[str, Any]:
    """Name the parts of which more is inside than is listed; the library has no words for it."""
    found = {
        whole: sorted({part.ref for part in parts if part.whole is whole})
        for whole in (Whole.INCOMPLETE, Whole.UNKNOWN)
    }
    rows = [{"aggregate": w.value, "assemblies": refs} for w, refs in found.items() if refs]
    return {"compositions": rows} if rows else {}


def _asked(needs: Mapping[str, Sequence[str]], direct: Iterable[str]) -> list[str]:
    """List what is asked for: what is said to be, what nobody needs, and one of each circle."""
    needed = {ref for wanted in needs.values() for ref in wanted}
    asked = [*direct, *(ref for ref in sorted(needs) if ref not in needed)]
    seen: set[str] = set()
    for ref in asked:
        _follow(ref, needs, seen)
    for ref in sorted(needs):
        if ref not in seen:
            asked.append(ref)
            _follow(ref, needs, seen)
    return asked


def _follow(start: str, needs: Mapping[str, Sequence[str]], seen: set[str]) -> None:
    waiting = [start]
    while waiting:
        ref = waiting.pop()
        if ref not in seen:
            seen.add(ref)
            waiting += needs.get(ref, ())


def _component(part: Part) -> Component:
    algorithm, digest = digest_of(part.integrity) if part.integrity else ("", "")
    return Component(
        name=part.name,
        group=part.namespace or None,
        version=part.version or None,
        type=ComponentType.FILE if part.type == FILE else ComponentType.LIBRARY,
        bom_ref=part.ref,
        purl=part.purl,
        cpe=part.cpe or None,
        scope=ComponentScope(part.scope.value),
        hashes=[HashType(alg=_ALGORITHMS[algorithm], content=digest)] if digest else [],
        licenses=_licences(part.licences),
        properties=[
            Property(name=PREFIX + name, value=value) for name, value in sorted(part.facts.items())
        ],
    )


def _licences(said: Sequence[str]) -> list[License]:
    """Spell licences: one may be an expression, of several each is an id or a name."""
    factory = LicenseFactory()
    if len(said) == 1:
        return [factory.make_from_string(said[0])]
    return [_one(factory, text) for text in said]


def _one(factory: LicenseFactory, text: str) -> License:
    found = factory.make_from_string(text)
    # The schema has either one expression or a list of ids and names.
    is_expression = getattr(found, "value", None) is not None
    return factory.make_with_name(text) if is_expression else found


def _dependency(ref: str, needs: Iterable[str], refs: dict[str, BomRef]) -> Dependency:
    known = sorted({each for each in needs if each in refs})
    return Dependency(refs[ref], [Dependency(refs[each]) for each in known])
